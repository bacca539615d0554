"""`Pace`: how fast an engine is on this machine, by what it did lately."""

from __future__ import annotations

from math import inf

_WEIGHT = 0.2  # of the latest run; some five runs are remembered


class Pace:
    """Means over the latest runs, so that it follows a machine that gets busy."""

    def __init__(self) -> None:
        self.real_time_factor: float | None = None  # seconds of work for a second of audio
        self._character_s: float | None = None

    def note(self, *, characters: int, work_s: float, audio_s: float) -> None:
        """Take a whole run: of how much text, how long it took, and how much it gave."""
        if characters and audio_s > 0:
            self._character_s = _mean(self._character_s, work_s / characters)
            self.real_time_factor = _mean(self.real_time_factor, work_s / audio_s)

    def expected_s(self, characters: int) -> float:
        """Say how long a run will take; infinitely long where nothing was noted yet."""
        return inf if self._character_s is None else self._character_s * characters


def _mean(past: float | None, latest: float) -> float:
    return latest if past is None else past + _WEIGHT * (latest - past)
