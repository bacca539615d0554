"""`Pace`: how fast an engine is on this machine, by what it did lately."""

from __future__ import annotations

from collections import deque
from math import inf
from statistics import median_low

from voiced.reading.phonemes import count_phonemes

FAST_ENOUGH = 0.7
"""Real-time factor that an engine must keep to speak by itself: others listen, too."""

_KEPT = 5  # runs


class Pace:
    """Medians over the latest runs: one slow run says nothing, a machine that gets busy does."""

    def __init__(self) -> None:
        self._factors: deque[float] = deque(maxlen=_KEPT)
        self._phoneme_s: deque[float] = deque(maxlen=_KEPT)

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of audio; None where nothing was noted yet."""
        return median_low(self._factors) if self._factors else None

    def note(self, text: str, *, work_s: float, audio_s: float) -> None:
        """Take a whole run: of which text, how long it took, and how much it gave."""
        if text and audio_s > 0:
            self._phoneme_s.append(work_s / count_phonemes(text, 0, len(text)))
            self._factors.append(work_s / audio_s)

    def expected_s(self, text: str) -> float:
        """Say how long a run will take; infinitely long where nothing was noted yet."""
        if not self._phoneme_s:
            return inf
        return median_low(self._phoneme_s) * count_phonemes(text, 0, len(text))
