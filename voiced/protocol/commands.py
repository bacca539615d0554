"""What each command of `voiced.v1` does, once its envelope was found to be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from voiced.errors import BusyError, ShuttingDown, TextTooLong, UnknownCommand
from voiced.protocol import messages
from voiced.protocol.actions import Action, ListVoices, TellStatus
from voiced.protocol.greeting import SessionLimits
from voiced.protocol.messages import (
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
from voiced.protocol.outbox import Outbox
from voiced.protocol.speeches import Speeches, SpeechOrder
from voiced.protocol.status import Subscriptions
from voiced.request import ModelInfo, ModelVoice, Plan, SpeechRequest, check_length, parse
from voiced.speech import AudioFormat, EndReason, Priority

_FLUSHES = 256  # that may wait for the text before them to be spoken


class Planner(Protocol):
    """What a session needs to know of the manager."""

    def plan(
        self,
        request: SpeechRequest,
        *,
        default_format: AudioFormat,
        sample_rate: int,
        wants_words: bool,
    ) -> Plan:
        """Look up who speaks a request, or raise why nobody does."""
        ...

    def models(self) -> list[ModelInfo]:
        """List the models."""
        ...


class Commands:
    """The commands of one session, over its speeches and subscriptions."""

    def __init__(
        self,
        planner: Planner,
        limits: SessionLimits,
        *,
        outbox: Outbox,
        speeches: Speeches,
        subscriptions: Subscriptions,
    ) -> None:
        self.is_draining = False  # no new speeches
        self._planner = planner
        self._limits = limits
        self._outbox = outbox
        self._speeches = speeches
        self._subscriptions = subscriptions
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

    def handle(self, name: str, command_id: int, fields: dict[str, Any]) -> list[Action]:
        """Do a command, put its result into the outbox, and return what is to be done for it.

        Raises:
            VoicedError: nothing was done; the result that says so is the caller's to send.
        """
        if name not in self._handlers:
            raise UnknownCommand(f"There is no command {name[:64]!r}.", param="type")
        return self._handlers[name](command_id, fields)

    def answer_voices(self, action: ListVoices, voices: list[ModelVoice]) -> None:
        """Answer `voices/list`."""
        listed = [entry.as_dict() for entry in voices]
        self._succeed(action.command, {"voices": listed}, is_quiet=action.is_quiet)

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
        if self.is_draining:
            raise ShuttingDown("The daemon is stopping; connect again in a moment.")
        command = parse(kind, fields)
        plan = self._planner.plan(
            command,
            default_format=AudioFormat.PCM,
            sample_rate=command.sample_rate,
            wants_words=command.marks == "word",
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

    def _put(self, message: dict[str, Any]) -> None:
        self._outbox.put_control(messages.encode(message))

    def _succeed(self, command_id: int, value: Any, *, is_quiet: bool = False) -> None:
        if not is_quiet:
            self._put(messages.result(command_id, value))


def _is_quiet(fields: dict[str, Any]) -> bool:
    return fields.get("quiet") is True
