"""`Circuit`: not to ask a provider that failed again and again, until a while has passed."""

from __future__ import annotations

from collections.abc import Callable

_FAILURES = 3  # in a row, that open it
_FIRST_S = 15.0
_LONGEST_S = 300.0


class Circuit:
    """Opens after some failures in a row; once the time is over, the next request is the probe.

    Each failure of a probe doubles the time, up to five minutes.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Be closed; `now` is the time in seconds."""
        self._now = now
        self._failures = 0
        self._open_s = _FIRST_S
        self._until = 0.0
        self._why = ""

    def trouble(self) -> str | None:
        """Say in a sentence why the provider is not asked now, None where it may be."""
        left_s = self._until - self._now()
        if left_s <= 0:
            return None
        return f"{self._why} It is asked again in {left_s:.0f} s."

    def succeed(self) -> None:
        """Take a good answer."""
        self._failures, self._open_s, self._until = 0, _FIRST_S, 0.0

    def fail(self, why: str, *, at_once_for_s: float | None = None) -> None:
        """Take a failure, a sentence; one that will not pass soon opens it at once."""
        self._failures += 1
        self._why = why
        if at_once_for_s is not None:
            self._until = self._now() + at_once_for_s
        elif self._failures >= _FAILURES:
            self._until = self._now() + self._open_s
            self._open_s = min(2 * self._open_s, _LONGEST_S)
