"""`Patience`: how many failing commands a session may send before it counts as a flood."""

from __future__ import annotations

from collections.abc import Callable

_AT_ONCE = 200
_PER_S = 20  # for long


class Patience:
    """A bucket of failures that are forgiven, filled again as time goes by."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left = float(_AT_ONCE)
        self._at = now()

    def lose(self) -> bool:
        """Take down a failure; tell whether there is any patience left."""
        now = self._now()
        self._left = min(self._left + (now - self._at) * _PER_S, _AT_ONCE) - 1
        self._at = now
        return self._left > 0
