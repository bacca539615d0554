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
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Any, Protocol

from voiced.errors import (
    BusyError,
    IdReuse,
    InvalidFormat,
    ShuttingDown,
    SpeechTimeout,
    TextTooLong,
    UnknownCommand,
    VoicedError,
)
from voiced.protocol import messages
from voiced.protocol.greeting import Greeting
from voiced.protocol.messages import (
    LARGEST_ID,
    CancelCommand,
    FeaturesCommand,
    ListVoicesCommand,
    OpenCommand,
    ProgressCommand,
    SpeakCommand,
    SpeechCommand,
    TextCommand,
    UnsubscribeCommand,
)
from voiced.protocol.patience import Patience
from voiced.protocol.speeches import Speeches, SpeechOrder, Start, Stop
from voiced.protocol.status import Status, Subscriptions
from voiced.request import ModelInfo, ModelVoice, Plan, SpeechRequest, check_length, parse
from voiced.speech import AudioFormat, EndReason, Priority, SpeechEvent

_FLUSHES = 256  # that may wait for the text before them to be spoken


class CloseCode(IntEnum):
    """Why a session is closed."""

    GOING_AWAY = 1001
    UNSUPPORTED_DATA = 1003
    INVALID_JSON = 4400
    UNAUTHORIZED = 4401
    AUTH_TIMEOUT = 4408
    FLOOD = 4429


@dataclass(frozen=True, slots=True)
class ListVoices:
    """Action: look up voices, which may take time; answer by `answer_voices` or `fail`."""

    command: int
    model: str | None
    language: str | None
    is_quiet: bool


@dataclass(frozen=True, slots=True)
class TellStatus:
    """Action: `tell` the status now, and from then on when it has changed."""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Action: the token was right; messages may now have their full size."""


@dataclass(frozen=True, slots=True)
class Close:
    """Action: send what waits in the outbox, then close. Nothing is received any more."""

    code: CloseCode
    reason: str


Action = Start | Stop | ListVoices | TellStatus | Authenticated | Close


class Planner(Protocol):
    """What a session needs to know of the manager."""

    def plan(
        self, request: SpeechRequest, *, default_format: AudioFormat, sample_rate: int
    ) -> Plan:
        """Look up who speaks a request, or raise why nobody does."""
        ...

    def models(self) -> list[ModelInfo]:
        """List the models."""
        ...


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
        self._planner = planner
        self._is_token_right = is_token_right
        self._now = now
        self._state = _State.NEW
        self._last_id = 0
        self._is_draining = False
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
        self._handlers: dict[str, Callable[[int, dict[str, Any]], list[Action]]] = {
            "ping": self._ping,
            "models/list": self._list_models,
            "voices/list": self._list_voices,
            "speak": self._speak,
            "speech/open": self._open,
            "speech/text": self._text,
            "speech/flush": self._flush,
            "speech/end": self._end_text,
            "speech/cancel": self._cancel,
            "speech/progress": self._progress,
            "clear": self._clear,
            "subscribe_status": self._subscribe,
            "unsubscribe_events": self._unsubscribe,
            "supported_features": self._support,
        }

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
        return min((due.at for due in self._speeches.due()), default=None)

    def wake(self) -> list[Action]:
        """Do what is due."""
        now = self._now()
        if self._state is _State.AUTH and now >= self._began_at + self._limits.auth_s:
            return self._close(CloseCode.AUTH_TIMEOUT, "no auth in time")
        actions: list[Action] = []
        for due in self._speeches.due():
            if now >= due.at and self._speeches.get(due.speech):
                error = self._late(due.reason)
                actions += self._speeches.end_early([due.speech], due.reason, error)
        return [*actions, *self._speeches.start_next()]

    def _late(self, reason: EndReason) -> SpeechTimeout:
        if reason is EndReason.STALLED:
            return SpeechTimeout(
                f"The window was closed for {self._limits.stalled_s:g} s; send speech/progress."
            )
        return SpeechTimeout(
            f"No text came for {self._limits.idle_text_ms / 1000:g} s; end a speech, or send "
            "empty text to keep it open."
        )

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

    def answer_voices(self, action: ListVoices, voices: list[ModelVoice]) -> None:
        """Answer `voices/list`."""
        listed = [entry.as_dict() for entry in voices]
        self._succeed(action.command, {"voices": listed}, is_quiet=action.is_quiet)

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
        self._is_draining = True

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
            if name not in self._handlers:
                raise UnknownCommand(f"There is no command {name[:64]!r}.", param="type")
            return self._handlers[name](command_id, command)
        except VoicedError as error:
            self.fail(command_id, error)
            return [] if self._patience.lose() else self._close(CloseCode.FLOOD, "only errors")

    def _ping(self, command_id: int, _fields: dict[str, Any]) -> list[Action]:
        self._put({"id": command_id, "type": "pong"})
        return []

    def _list_models(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        listed = [info.as_dict() for info in self._planner.models()]
        self._succeed(command_id, {"models": listed}, is_quiet=_is_quiet(fields))
        return []

    def _list_voices(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        wanted = parse(ListVoicesCommand, fields)
        return [ListVoices(command_id, wanted.model, wanted.language, _is_quiet(fields))]

    def _speak(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        return self._admit(command_id, fields, SpeakCommand)

    def _open(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        return self._admit(command_id, fields, OpenCommand)

    def _admit(
        self, command_id: int, fields: dict[str, Any], kind: type[SpeakCommand | OpenCommand]
    ) -> list[Action]:
        if self._is_draining:
            raise ShuttingDown("The daemon is stopping; connect again in a moment.")
        command = parse(kind, fields)
        plan = self._planner.plan(
            command, default_format=AudioFormat.PCM, sample_rate=command.sample_rate
        )
        replaced = self._speeches.ids() if command.mode == "replace" else []
        actions: list[Action] = [*self._speeches.end_early(replaced, EndReason.REPLACED)]
        self._speeches.open(
            command_id,
            plan,
            SpeechOrder(
                mode=command.mode,
                priority=Priority[command.priority.upper()],
                marks=command.marks,
                window_ms=command.window_ms,
            ),
        )
        self._succeed(command_id, {"speech": command_id}, is_quiet=_is_quiet(fields))
        return [*actions, *self._speeches.start_next()]

    def _text(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        command = parse(TextCommand, fields)
        speech = self._speeches.growing(command.speech)
        check_length(len(command.text), limit=self._limits.max_input_chars, param="text")
        if len(speech.plan.text) + len(command.text) > self._limits.max_speech_chars:
            raise TextTooLong(
                f"The speech would have more than {self._limits.max_speech_chars} characters; "
                "end it and open another one.",
                param="text",
            )
        self._speeches.append(speech, command.text)
        self._succeed(command_id, None, is_quiet=_is_quiet(fields))
        return []

    def _flush(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        text = self._speeches.growing(parse(SpeechCommand, fields).speech).plan.text
        if text.flushes_waiting >= _FLUSHES:
            raise BusyError(f"{_FLUSHES} flushes wait to be done; wait for their events.")
        self._succeed(command_id, {"flush": text.flush()}, is_quiet=_is_quiet(fields))
        return []

    def _end_text(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        self._speeches.growing(parse(SpeechCommand, fields).speech).plan.text.end()
        self._succeed(command_id, None, is_quiet=_is_quiet(fields))
        return []

    def _cancel(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        command = parse(CancelCommand, fields)
        answer: dict[str, Any] = {"speech": command.speech, "state": "inactive"}
        actions: list[Action] = []
        if speech := self._speeches.get(command.speech):
            answer["state"] = "cancelled"
            if command.played_ms is not None:
                answer |= speech.split(command.played_ms)
            actions += self._speeches.end_early([speech.id], EndReason.CANCELLED)
        self._succeed(command_id, answer)
        return [*actions, *self._speeches.start_next()]

    def _progress(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        command = parse(ProgressCommand, fields)
        if speech := self._speeches.get(
            command.speech
        ):  # it may just have ended, which is no error
            self._speeches.progress(speech, command.played_ms)
        self._succeed(command_id, None, is_quiet=_is_quiet(fields))
        return [*self._speeches.start_next()]

    def _clear(self, command_id: int, _fields: dict[str, Any]) -> list[Action]:
        cancelled = self._speeches.ids()
        actions = self._speeches.end_early(cancelled, EndReason.CANCELLED)
        self._succeed(command_id, {"cancelled": cancelled})
        return [*actions]

    def _subscribe(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        self._subscriptions.add(command_id)
        self._succeed(command_id, None, is_quiet=_is_quiet(fields))
        return [TellStatus()]

    def _unsubscribe(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        self._subscriptions.remove(parse(UnsubscribeCommand, fields).subscription)
        self._succeed(command_id, None, is_quiet=_is_quiet(fields))
        return []

    def _support(self, command_id: int, fields: dict[str, Any]) -> list[Action]:
        features = parse(FeaturesCommand, fields).features
        self._outbox.may_batch = features.get("coalesce_messages") == 1
        self._succeed(command_id, None, is_quiet=_is_quiet(fields))
        return []

    # ---------------------------------------------------------------------------- the outbox

    def _put(self, message: dict[str, Any]) -> None:
        self._outbox.put_control(messages.encode(message))

    def _succeed(self, command_id: int, value: Any, *, is_quiet: bool = False) -> None:
        if not is_quiet:
            self._put(messages.result(command_id, value))

    def _close(self, code: CloseCode, reason: str) -> list[Action]:
        self._state = _State.CLOSED
        stops = self._speeches.end_early(self._speeches.ids(), EndReason.CANCELLED)
        return [*stops, Close(code, reason)]


def _id_of(command: object) -> int | None:
    value = command.get("id") if isinstance(command, dict) else None
    return value if type(value) is int and 1 <= value <= LARGEST_ID else None


def _is_quiet(fields: dict[str, Any]) -> bool:
    return fields.get("quiet") is True
