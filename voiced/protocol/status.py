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
    real_time_factor: float | None = None  # as measured; none before it has spoken


@dataclass(frozen=True, slots=True)
class Status:
    """What the daemon does, over all doors and sessions."""

    state: Literal["ready", "degraded", "draining"]  # degraded: a backend is not what it should be
    sessions: int
    speaking: int
    queued: int  # speeches that wait for an earlier one
    backends: tuple[BackendStatus, ...]

    def as_dict(self) -> dict[str, Any]:
        """Say it on the wire."""
        told = asdict(self)
        for backend in told["backends"]:
            if backend["real_time_factor"] is None:
                del backend["real_time_factor"]
        return told


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
                yield subscription, status.as_dict()
