"""`subscribe_status`: what the daemon does, told to whoever wants to know. Never what is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from voiced.errors import RequestError
from voiced.request import BackendState

_SPACING_S = 0.5  # between two events: at most two a second
_MOST = 8  # subscriptions of a session


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """What one backend could do if asked now."""

    id: str
    state: BackendState


@dataclass(frozen=True, slots=True)
class Status:
    """What the daemon does, over all doors and sessions."""

    state: Literal["ready", "degraded", "draining"]  # degraded: a backend is unavailable
    sessions: int
    speaking: int
    queued: int  # speeches that wait for an earlier one
    backends: tuple[BackendStatus, ...]


class Subscriptions:
    """Those of one session: each is told at once, then what has changed, not too often."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._told: dict[int, tuple[float, Status | None]] = {}

    def __len__(self) -> int:
        return len(self._told)

    def add(self, subscription: int) -> None:
        """Subscribe.

        Raises:
            RequestError: a session has enough of them.
        """
        if len(self._told) >= _MOST:
            raise RequestError(
                f"A session has at most {_MOST} subscriptions; unsubscribe from one."
            )
        self._told[subscription] = (-_SPACING_S, None)

    def remove(self, subscription: int) -> None:
        """Unsubscribe; from what never was does no harm."""
        self._told.pop(subscription, None)

    def tell(self, status: Status) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the subscriptions that are to hear of it, and the data for them."""
        now = self._now()
        for subscription, (at, told) in self._told.items():
            if told is None or (status != told and now - at >= _SPACING_S):
                self._told[subscription] = (now, status)
                yield subscription, asdict(status)
