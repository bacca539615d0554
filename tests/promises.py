"""What `voiced.v1` promises about every message, checked as the messages come.

Written from the wire contract alone, as `heard` is. `Checker` is told what the client sends and is
given all that it receives; it raises AssertionError at the first promise that is broken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from heard import LARGEST_ID, Frame, Message, Speech, check_error, code_units, integer, is_number

SAMPLE_RATES = frozenset({8000, 16000, 22050, 24000, 44100, 48000})
OPENERS = frozenset({"speak", "speech/open"})
FENCES = frozenset({"speech/cancel", "clear"})  # they ignore `quiet`
_ANSWERED_WITH_NULL = frozenset(
    "speech/text speech/end speech/progress subscribe_status supported_features "
    "unsubscribe_events".split()
)


@dataclass(slots=True)
class _Command:
    fields: dict[str, Any]
    is_answered: bool = False

    @property
    def type(self) -> str:
        return str(self.fields.get("type"))

    @property
    def may_be_silent(self) -> bool:
        return self.fields.get("quiet") is True and self.type not in FENCES


class Checker:
    """One session: what was sent, what came, and whether the two go together."""

    def __init__(self, *, default_rate: int) -> None:
        self.speeches: dict[int, Speech] = {}
        self.answers: dict[int, dict[str, Any]] = {}  # results and pongs by their command's id
        self.unidentified: list[dict[str, Any]] = []  # the errors of results without an id
        self.reused: list[int] = []  # ids that were answered with id_reuse
        self.statuses: dict[int, list[dict[str, Any]]] = {}
        self.may_coalesce = False
        self._default_rate = default_rate
        self._commands: dict[int, _Command] = {}
        self._last_id = 0
        self._expected_reused: Counter[int] = Counter()
        self._expected_unidentified = 0

    # ------------------------------------------------------------------------- what is sent

    def sent(self, text: str) -> None:
        """Take a text frame that the client is about to send."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            return
        for command in content if isinstance(content, list) else [content]:
            self._sent_command(command)

    def _sent_command(self, command: object) -> None:
        command_id = command.get("id") if isinstance(command, dict) else None
        if type(command_id) is not int or not 1 <= command_id <= LARGEST_ID:
            self._expected_unidentified += 1
            return
        assert isinstance(command, dict)
        if command_id <= self._last_id:
            self._expected_reused[command_id] += 1
            return
        self._last_id = command_id
        self._commands[command_id] = _Command(command)
        kind = str(command.get("type"))
        speech = self.speeches.get(_or_zero(command.get("speech")))
        if kind in OPENERS:
            text = command.get("input") if kind == "speak" else ""
            given = {command_id: text} if isinstance(text, str) else {}
            self.speeches[command_id] = Speech(command_id, command, self._default_rate, given)
        elif kind == "speech/text" and speech and isinstance(command.get("text"), str):
            speech.given[command_id] = command["text"]
        elif kind == "speech/progress" and speech and is_number(command.get("played_ms")):
            speech.played_ms = max(speech.played_ms, command["played_ms"])
        elif kind == "subscribe_status":
            self.statuses[command_id] = []

    # ------------------------------------------------------------------------- what arrives

    def received(self, data: str | bytes) -> list[Message]:
        """Take a message of the server; return what it holds."""
        if isinstance(data, bytes):
            frame = Frame.parse(data)
            self._speech(frame.speech, "a frame").take_frame(frame)
            self._check_turn(frame.speech)
            return [frame]
        content = json.loads(data, parse_constant=_refuse)
        if not isinstance(content, list):
            content = [content]
        else:
            assert self.may_coalesce, "an array for a client that did not ask for any"
        for message in content:
            self._take_text(message)
        return content

    def _take_text(self, message: dict[str, Any]) -> None:
        assert isinstance(message, dict), message
        match message["type"]:
            case "result":
                self._take_result(message)
            case "pong":
                command = self._commands[message["id"]]
                assert command.type == "ping", message
                self._answered(message["id"], message)
            case "event":
                self._take_event(message)

    def _take_event(self, message: dict[str, Any]) -> None:
        event = message["event"]
        assert isinstance(event["type"], str), message
        assert isinstance(event["data"], dict), message
        if message["id"] in self.statuses:
            if event["type"] == "status":
                _check_status(event["data"])
                is_known = message["id"] in self.answers
                is_known = is_known or self._commands[message["id"]].may_be_silent
                assert is_known, "a status before its subscription's result"
                self.statuses[message["id"]].append(event["data"])
            return
        speech = self._speech(message["id"], event["type"])
        speech.take_event(event["type"], event["data"])
        if event["type"] == "segment":
            self._check_turn(speech.id)

    def _speech(self, speech_id: int, what: str) -> Speech:
        assert speech_id in self.speeches, f"{what} of {speech_id}, which is no speech of ours"
        speech = self.speeches[speech_id]
        assert not speech.is_refused, f"{what} of speech {speech_id}, which was refused"
        if not speech.is_accepted:
            is_silent = self._commands[speech_id].may_be_silent
            assert is_silent, f"{what} of speech {speech_id} before its result"
            self._accept(speech)
        return speech

    def _accept(self, speech: Speech) -> None:
        speech.is_accepted = True
        if speech.asked.get("mode") == "replace":
            self._check_ended(self._before(speech.id), f"before the start of {speech.id}")

    def _check_turn(self, speech_id: int) -> None:
        """A queued speech speaks after the session's earlier ones.

        What `high` does to that order within one session the contract does not say.
        """
        speech = self.speeches[speech_id]
        if speech.is_queued and speech.asked.get("priority", "normal") == "normal":
            self._check_ended(self._before(speech_id), f"though {speech_id} waits for it")

    def _before(self, command: int) -> Iterable[Speech]:
        return [
            speech
            for speech in self.speeches.values()
            if speech.id < command and not speech.is_refused
        ]

    def _check_ended(self, speeches: Iterable[Speech], why: str) -> None:
        for speech in speeches:
            assert speech.end is not None, f"speech {speech.id} has not ended {why}"

    # ------------------------------------------------------------------------------- results

    def _take_result(self, message: dict[str, Any]) -> None:
        assert type(message["success"]) is bool, message
        if not message["success"]:
            check_error(message["error"])
            if self._is_about_no_command(message):
                return
        assert message["id"] in self._commands, f"a result of nothing: {message}"
        command = self._commands[message["id"]]
        assert command.type != "ping", message
        assert not (message["success"] and command.may_be_silent), f"not quiet: {message}"
        self._answered(message["id"], message)
        if message["success"]:
            self._check_value(message["id"], command, message["result"])
        else:
            self._refused(message["id"], command)

    def _is_about_no_command(self, message: dict[str, Any]) -> bool:
        if message["id"] is None:
            assert message["error"]["code"] == "invalid_format", message
            self._expected_unidentified -= 1
            assert self._expected_unidentified >= 0, f"a result of nothing: {message}"
            self.unidentified.append(message["error"])
            return True
        if message["error"]["code"] == "id_reuse":
            self._expected_reused[message["id"]] -= 1
            assert self._expected_reused[message["id"]] >= 0, message
            self.reused.append(message["id"])
            return True
        return False

    def _answered(self, command_id: int, message: dict[str, Any]) -> None:
        assert not self._commands[command_id].is_answered, f"a second answer: {message}"
        self._commands[command_id].is_answered = True
        self.answers[command_id] = message

    def _refused(self, command_id: int, command: _Command) -> None:
        if command.type in OPENERS:
            self.speeches[command_id].is_refused = True
        elif command.type == "speech/text":
            if speech := self.speeches.get(_or_zero(command.fields.get("speech"))):
                speech.given.pop(command_id, None)
        elif command.type == "subscribe_status":
            del self.statuses[command_id]

    def _check_value(self, command_id: int, command: _Command, value: Any) -> None:
        if command.type in OPENERS:
            assert value["speech"] == command_id, value
            self._accept(self.speeches[command_id])
        elif command.type in _ANSWERED_WITH_NULL:
            assert value is None, value
        elif command.type == "speech/flush":
            flush = integer(value, "flush")
            flushes = self.speeches[command.fields["speech"]].flushes
            assert not flushes or flushes[-1] < flush, "a flush without a number of its own"
            flushes.append(flush)
        elif command.type == "speech/cancel":
            self._check_cancelled(command_id, command.fields, value)
        elif command.type == "clear":
            self._check_ended(self._before(command_id), "by the time of clear's result")
            for cancelled in value["cancelled"]:
                assert self.speeches[cancelled].reason == "cancelled", value

    def _check_cancelled(
        self, command_id: int, fields: Mapping[str, Any], value: dict[str, Any]
    ) -> None:
        assert value["speech"] == fields["speech"], value
        assert value["state"] in {"cancelled", "inactive"}, value
        speech = self.speeches.get(_or_zero(fields["speech"]))
        if speech is None or speech.is_refused:
            assert value["state"] == "inactive", value
            return
        self._check_ended([speech], "by the time of its cancel's result")
        if value["state"] == "cancelled":
            assert speech.reason == "cancelled", value
            if fields.get("played_ms") is not None:
                assert type(value["exact"]) is bool, value
                whole = value["text_spoken"] + value["text_remaining"]
                assert code_units(whole) == code_units(speech.text_before(command_id))

    # --------------------------------------------------------------------------- at the end

    def unanswered(self) -> list[int]:
        """Return the commands whose result is still to come."""
        return [
            command_id
            for command_id, command in self._commands.items()
            if not command.is_answered and not command.may_be_silent
        ]

    def check_settled(self) -> None:
        """Check that nothing is still to come of what was sent before a `clear`."""
        assert not self.unanswered()
        assert not self._expected_unidentified, "commands without an id got no result"
        assert not +self._expected_reused, "commands with an id used before got no result"
        self._check_ended(self._before(LARGEST_ID + 1), "after clear")


def _check_status(data: dict[str, Any]) -> None:
    assert data["state"] in {"ready", "degraded", "draining"}, data
    for name in ("sessions", "speaking", "queued"):
        integer(data, name)
    for backend in data["backends"]:
        assert isinstance(backend["id"], str), data
        assert isinstance(backend["state"], str), data
        factor = backend.get("real_time_factor")
        assert factor is None or (is_number(factor) and factor >= 0), data


def _or_zero(value: object) -> int:
    return value if type(value) is int else 0


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
