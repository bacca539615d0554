"""`SpeechText`: the text of one speech, whole from the start or growing while it is spoken."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable

_BLOCK = 4096  # code points kept as one string: an append copies less, and so does a read
_GRAIN_S = 0.01  # text that comes within this counts as come at once


class SpeechText:
    """Grows at its end and is read from its start. Positions are code points.

    For one event loop, one who writes and one who reads; `on_change` wakes the reader. All of it
    is kept, at about a byte for a code point of English.
    """

    def __init__(self, *, max_delay_s: float = 0) -> None:
        """Begin empty; text unspoken for `max_delay_s` is spoken as it stands, 0: never."""
        self.max_delay_s = max_delay_s
        self.is_ended = False
        self.is_whole = False  # all of it came at once
        self.on_change: Callable[[], None] = lambda: None
        self._blocks: list[str] = []  # each of _BLOCK code points
        self._tail = ""  # of fewer
        self._flushes: deque[tuple[int, int]] = deque()  # position, number
        self._flush_count = 0
        self._arrivals = array("q")  # positions at which text came,
        self._times = array("d")  # and when

    @classmethod
    def whole(cls, text: str) -> SpeechText:
        """Return a text that grows no more."""
        made = cls()
        made.append(text, at=0)
        made.end()
        made.is_whole = True
        return made

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK + len(self._tail)

    def append(self, text: str, *, at: float) -> None:
        """Let it grow; `at` is the time in seconds."""
        if text and self.max_delay_s and not (self._times and at < self._times[-1] + _GRAIN_S):
            self._arrivals.append(len(self))
            self._times.append(at)
        tail = self._tail + text
        whole = len(tail) - len(tail) % _BLOCK
        self._blocks += [tail[start : start + _BLOCK] for start in range(0, whole, _BLOCK)]
        self._tail = tail[whole:]
        self.on_change()

    def flush(self) -> int:
        """Let all text so far be spoken as it stands; return the number of this flush, from 1."""
        self._flush_count += 1
        self._flushes.append((len(self), self._flush_count))
        self.on_change()
        return self._flush_count

    def end(self) -> None:
        """Say that nothing more comes."""
        self.is_ended = True
        self.on_change()

    @property
    def flushes_waiting(self) -> int:
        """How many flushes the reader has not taken."""
        return len(self._flushes)

    @property
    def next_flush(self) -> int | None:
        """Where the next flush is that the reader has not taken."""
        return self._flushes[0][0] if self._flushes else None

    def take_flush(self) -> int:
        """Take the next flush; return its number."""
        return self._flushes.popleft()[1]

    def read(self, start: int, end: int) -> str:
        """Return the text between two positions."""
        first, last = start // _BLOCK, -(-end // _BLOCK)
        parts = self._blocks[first:last]
        if last > len(self._blocks):
            parts.append(self._tail)
        return "".join(parts)[start - first * _BLOCK : end - first * _BLOCK]

    def overdue_at(self, position: int) -> float | None:
        """Return when the code point at `position` has waited too long; None where none can."""
        if not self.max_delay_s:
            return None
        return self._times[bisect_right(self._arrivals, position) - 1] + self.max_delay_s
