"""A WebSocket session of `voiced.v1`, without I/O.

The owner feeds `receive` with each message and does the actions that it returns; it feeds
`deliver` and `finish` with what speeches give; it sends what `pop` returns, one message at a
time, whenever there is something; and it calls `wake` when it is `due_at`. Nothing here waits,
has a clock of its own or touches a socket, so every path can be tested in an instant.

    state    what happens            next
    -------  ----------------------  -------
    NEW      open(), authenticated   READY    sends auth_ok
    NEW      open()                  AUTH     sends auth_required
    AUTH     auth, right token       READY    sends auth_ok
    AUTH     anything else           CLOSED   sends auth_invalid, closes 4401
    AUTH     no auth in time         CLOSED   closes 4408
    READY    a command, or an array  READY    each gets one result
    READY    errors without end      CLOSED   closes 4429
    any      not JSON                CLOSED   closes 4400
    any      a binary frame          CLOSED   closes 1003
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

from voiced.errors import IdReuse, InvalidFormat, VoicedError
from voiced.protocol import messages
from voiced.protocol.actions import Action, Authenticated, Close, CloseCode
from voiced.protocol.commands import Commands, Planner
from voiced.protocol.greeting import Greeting
from voiced.protocol.messages import LARGEST_ID
from voiced.protocol.patience import Patience
from voiced.protocol.speeches import Speeches
from voiced.protocol.status import Status, Subscriptions
from voiced.speech import EndReason, SpeechEvent


class _State(Enum):
    NEW = auto()
    AUTH = auto()
    READY = auto()
    CLOSED = auto()


class Session:
    """One client. See the module's table, and `docs/protocol.md` for the words."""

    def __init__(
        self,
        greeting: Greeting,
        *,
        planner: Planner,
        is_token_right: Callable[[str], bool],
        now: Callable[[], float],
    ) -> None:
        """Begin in state NEW; `now` is a clock in seconds."""
        self.name = greeting.session
        self._greeting = greeting
        self._limits = greeting.limits
        self._is_token_right = is_token_right
        self._now = now
        self._state = _State.NEW
        self._last_id = 0
        self._began_at = now()
        self._patience = Patience(now)
        self._subscriptions = Subscriptions(now)
        self._speeches = Speeches(
            limit=self._limits.max_speeches,
            idle_text_s=self._limits.idle_text_ms / 1000,
            stalled_s=self._limits.stalled_s,
            now=now,
        )
        self._outbox = self._speeches.outbox
        self.has_room = self._speeches.has_room
        self.pop = self._speeches.pop
        self._commands = Commands(
            planner,
            self._limits,
            outbox=self._outbox,
            speeches=self._speeches,
            subscriptions=self._subscriptions,
        )
        self.answer_voices = self._commands.answer_voices

    # ------------------------------------------------------------------------- what happens

    def open(self, *, is_authenticated: bool) -> None:
        """Begin: greet the client, or ask for its token."""
        if is_authenticated:
            self._greet()
        else:
            self._state = _State.AUTH
            self._put(self._greeting.auth_required())

    def due_at(self) -> float | None:
        """Return when `wake` must be called next, unless something else happens before."""
        if self._state is _State.AUTH:
            return self._began_at + self._limits.auth_s
        return self._speeches.due_at()

    def wake(self) -> list[Action]:
        """Do what is due."""
        now = self._now()
        if self._state is _State.AUTH and now >= self._began_at + self._limits.auth_s:
            return self._close(CloseCode.AUTH_TIMEOUT, "no auth in time")
        return [*self._speeches.end_late()]

    def receive(self, message: str | bytes) -> Iterator[list[Action]]:
        """Take a message from the client; yield what is to be done, for each command in it.

        A command is handled when it is asked for: a long array need not be done in one go.
        """
        if self._state is _State.CLOSED:
            return
        if isinstance(message, bytes):
            yield self._close(CloseCode.UNSUPPORTED_DATA, "binary frames are for the client")
            return
        try:
            content = messages.decode(message)
        except ValueError:
            yield self._close(CloseCode.INVALID_JSON, "not valid JSON")
            return
        if self._state is _State.AUTH:
            yield self._authenticate(content)
            return
        for command in content if isinstance(content, list) else [content]:
            if self._state is not _State.READY:
                return
            yield self._handle(command)

    def deliver(self, speech: int, event: SpeechEvent) -> None:
        """Take what a started speech gives; what comes after its end is ignored."""
        self._speeches.deliver(speech, event)

    def finish(self, speech: int, error: VoicedError | None = None) -> list[Action]:
        """Take the end of a started speech: complete, or failed with `error`."""
        return [*self._speeches.finish(speech, error)]

    def fail(self, command: int | None, error: VoicedError) -> None:
        """Answer a command that failed."""
        self._put(messages.failure(command, error))

    def tell(self, status: Status) -> None:
        """Tell the subscribers what has changed. A client that reads slowly hears less often."""
        if not self._outbox.control_backlog:
            for subscription, data in self._subscriptions.tell(status):
                self._put(messages.event(subscription, "status", data))

    def drain(self) -> None:
        """Refuse new speeches from now on."""
        self._commands.is_draining = True

    def shut_down(self) -> list[Action]:
        """End every speech with `shutdown`, and the session."""
        stops = self._speeches.end_early(self._speeches.ids(), EndReason.SHUTDOWN)
        return [*stops, *self._close(CloseCode.GOING_AWAY, "the daemon is stopping")]

    @property
    def is_subscribed(self) -> bool:
        """Whether anybody wants to be told of the status."""
        return len(self._subscriptions) > 0

    @property
    def speaking(self) -> int:
        """How many speeches have not ended."""
        return len(self._speeches)

    @property
    def queued(self) -> int:
        """How many speeches wait for an earlier one."""
        return self._speeches.queued

    @property
    def underruns(self) -> int:
        """How often its client had played all that it was sent, and more was to come."""
        return self._speeches.underruns

    @property
    def backlog(self) -> int:
        """How many answers wait to be sent; the owner stops receiving while they are many."""
        return self._outbox.control_backlog

    # ----------------------------------------------------------------------- authentication

    def _authenticate(self, content: object) -> list[Action]:
        fields = content if isinstance(content, dict) else {}
        token = fields.get("access_token")
        is_right = isinstance(token, str) and self._is_token_right(token)
        if fields.get("type") == "auth" and is_right:
            self._greet()
            return [Authenticated()]
        self._put({"type": "auth_invalid", "message": "The access token is missing or wrong."})
        return self._close(CloseCode.UNAUTHORIZED, "unauthorized")

    def _greet(self) -> None:
        self._state = _State.READY
        self._put(self._greeting.auth_ok())

    # ----------------------------------------------------------------------------- commands

    def _handle(self, command: object) -> list[Action]:
        command_id = _id_of(command)
        try:
            if not isinstance(command, dict) or command_id is None:
                raise InvalidFormat(
                    f"A command is an object with an integer id from 1 to {LARGEST_ID}.", param="id"
                )
            if command_id <= self._last_id:
                raise IdReuse(f"Ids rise; the last one was {self._last_id}.", param="id")
            self._last_id = command_id
            name = command.get("type")
            if not isinstance(name, str):
                raise InvalidFormat("A command has a type, which is a string.", param="type")
            return self._commands.handle(name, command_id, command)
        except VoicedError as error:
            self.fail(command_id, error)
            return [] if self._patience.lose() else self._close(CloseCode.FLOOD, "only errors")

    # ---------------------------------------------------------------------------- the outbox

    def _put(self, message: dict[str, Any]) -> None:
        self._outbox.put_control(messages.encode(message))

    def _close(self, code: CloseCode, reason: str) -> list[Action]:
        self._state = _State.CLOSED
        stops = self._speeches.end_early(self._speeches.ids(), EndReason.CANCELLED)
        return [*stops, Close(code, reason)]


def _id_of(command: object) -> int | None:
    value = command.get("id") if isinstance(command, dict) else None
    return value if type(value) is int and 1 <= value <= LARGEST_ID else None
