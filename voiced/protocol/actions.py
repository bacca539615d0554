"""What a session asks of its owner, who has the sockets, the tasks and the clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from voiced.request import Plan
from voiced.speech import Priority


class CloseCode(IntEnum):
    """Why a session is closed."""

    GOING_AWAY = 1001
    UNSUPPORTED_DATA = 1003
    INVALID_JSON = 4400
    UNAUTHORIZED = 4401
    AUTH_TIMEOUT = 4408
    FLOOD = 4429


@dataclass(frozen=True, slots=True)
class Start:
    """Begin to speak; feed `deliver`, then `finish` once."""

    speech: int
    plan: Plan
    priority: Priority


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the engine of a speech that was started; its `finish` is not wanted."""

    speech: int


@dataclass(frozen=True, slots=True)
class ListVoices:
    """Look up voices, which may take time; answer by `answer_voices` or `fail`."""

    command: int
    model: str | None
    language: str | None
    is_quiet: bool


@dataclass(frozen=True, slots=True)
class TellStatus:
    """`tell` the status now, and from then on when it has changed."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The token was right; messages may now have their full size."""


@dataclass(frozen=True, slots=True)
class Close:
    """Send what waits in the outbox, then close. Nothing is received any more."""

    code: CloseCode
    reason: str


Action = Start | Stop | ListVoices | TellStatus | Authenticated | Close
