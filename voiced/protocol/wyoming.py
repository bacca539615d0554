"""Wyoming, Home Assistant's protocol: its events within bounds, and what each asks for. No I/O.

An event is a line of JSON, then `data_length` bytes of more JSON, then `payload_length` bytes. The
events are those of the package `wyoming`; the framing is ours, as its reader believes any length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict
from wyoming.event import Event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop

from voiced.errors import InvalidFormat, RequestError, ShuttingDown, TextTooLong, VoicedError
from voiced.request import Plan, SpeechRequest, check_length, parse
from voiced.speech import OPENAI_RATE, AudioFormat, Voice
from voiced.text import SpeechText

RATE = OPENAI_RATE
"""Hz of everything that is said, whichever voice says it: Home Assistant heeds the first only."""

LONGEST_LINE_BYTES = 64 * 1024
MOST_DATA_BYTES = 1024 * 1024
_PROGRAM = "voiced"


# ----------------------------------------------------------------------------------------- framing


@dataclass(frozen=True, slots=True)
class _Head:
    """The line of an event."""

    type: str
    data: dict[str, Any]
    data_length: int
    payload_length: int


class EventReader:
    """Takes bytes as they come, and gives events."""

    def __init__(self) -> None:
        self._held = b""
        self._head: _Head | None = None

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that are whole by now.

        Raises:
            InvalidFormat: what comes is no event, or too large; nothing after it can be read.
        """
        self._held += data
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> Event | None:
        if self._head is None:
            line, end, rest = self._held.partition(b"\n")
            if len(line) > LONGEST_LINE_BYTES:
                raise InvalidFormat(f"An event's line has more than {LONGEST_LINE_BYTES:,} bytes.")
            if not end:
                return None
            self._head, self._held = _head(line), rest
        head = self._head
        whole = head.data_length + head.payload_length
        if len(self._held) < whole:
            return None
        more = self._held[: head.data_length]
        payload = self._held[head.data_length : whole]
        self._head, self._held = None, self._held[whole:]
        return Event(head.type, head.data | (_object(more) if more else {}), payload or None)


def _head(line: bytes) -> _Head:
    found = _object(line)
    if not isinstance(kind := found.get("type"), str):
        raise InvalidFormat("An event has no type.")
    data = found.get("data") or {}
    if not isinstance(data, dict):
        raise InvalidFormat("The data of an event are no JSON object.")
    return _Head(kind, data, _length(found, "data_length"), _length(found, "payload_length"))


def _length(head: Mapping[str, Any], name: str) -> int:
    length = head.get(name) or 0
    if not isinstance(length, int) or not 0 <= length <= MOST_DATA_BYTES:
        raise InvalidFormat(f"{name} is no number of at most {MOST_DATA_BYTES:,}.")
    return length


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidFormat("This is no Wyoming: an event begins with a line of JSON.") from None
    if not isinstance(found, dict):
        raise InvalidFormat("An event is no JSON object.")
    return found


def encode(event: Event) -> bytes:
    """Return the bytes of an event; its data are not in its line, which clients read to a limit."""
    text = json.dumps(event.data, ensure_ascii=False) if event.data else ""
    data = text.encode(errors="replace")  # halves of surrogates, as a ping may have them
    head: dict[str, Any] = {"type": event.type}
    if data:
        head["data_length"] = len(data)
    if event.payload:
        head["payload_length"] = len(event.payload)
    return b"".join((json.dumps(head).encode(), b"\n", data, event.payload or b""))


# ----------------------------------------------------------------------------------- what there is


class Offer:
    """The voices that are offered."""

    def __init__(
        self, voices: Mapping[str, Sequence[Voice]], *, default: str, languages: Sequence[str]
    ) -> None:
        """Offer voices by backend id, those of the default one first and by their plain names.

        Only what speaks one of the languages is offered, unless nothing does.
        """
        self._default = default
        found = [
            (backend_id, voice, spoken)
            for backend_id in sorted(voices, key=lambda backend_id: backend_id != default)
            for voice in voices[backend_id]
            if (spoken := _spoken(voice, languages))
        ]
        self._voices = found or [
            (backend_id, voice, voice.languages)
            for backend_id, all_of_it in voices.items()
            for voice in all_of_it
        ]

    def info(self, version: str) -> Event:
        """Return the answer to `describe`."""
        by = Attribution(name=_PROGRAM, url="")
        voices = [
            TtsVoice(
                name=voice.id if backend_id == self._default else f"{backend_id}/{voice.id}",
                attribution=by,
                installed=True,
                description=voice.name
                if backend_id == self._default
                else f"{voice.name} ({backend_id})",
                version=None,
                languages=[_cased(tag) for tag in languages],
            )
            for backend_id, voice, languages in self._voices
        ]
        program = TtsProgram(
            name=_PROGRAM,
            attribution=by,
            installed=True,
            description="Speech of this home",
            version=version,
            voices=voices,
            supports_synthesize_streaming=True,
        )
        return Info(tts=[program]).event()


def _spoken(voice: Voice, languages: Sequence[str]) -> tuple[str, ...]:
    """Return the languages of a voice that are wanted."""
    return tuple(
        tag
        for tag in voice.languages
        if any(tag == wanted or tag.startswith(f"{wanted}-") for wanted in languages)
    )


def _cased(tag: str) -> str:
    """Write a language tag as BCP-47 recommends: "en-US"."""
    language, *others = tag.split("-")
    return "-".join([language, *(part.upper() if len(part) == 2 else part for part in others)])


# ------------------------------------------------------------------------------- what is asked for


class _Voice(BaseModel):
    """What a client says of the voice; what it does not know it leaves out."""

    model_config = ConfigDict(extra="ignore")

    name: str | None = None
    language: str | None = None
    speaker: str | None = None


class _Wanted(BaseModel):
    """The data of `synthesize` and `synthesize-start`."""

    model_config = ConfigDict(extra="ignore")

    text: str = ""
    voice: _Voice | None = None


class _Chunk(BaseModel):
    model_config = ConfigDict(extra="ignore")

    text: str


class StreamRequest(SpeechRequest):
    """A text that comes in parts. A voice that turns out to be none means the usual one."""

    may_take_another_voice: ClassVar[bool] = True


class SynthesizeRequest(StreamRequest):
    """A text that came whole; it may be empty."""

    input: str = ""

    def text(self) -> SpeechText:
        """Return the whole text."""
        return SpeechText.whole(self.input)


@dataclass(slots=True)
class Order:
    """A speech that is to be given, after those before it."""

    plan: Plan | None  # None: it failed before it began
    is_stream: bool  # its text comes in parts
    error: VoicedError | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An event that is sent at once."""

    event: Event


class Planner(Protocol):
    """Says who speaks; the manager does."""

    def plan(
        self, request: SpeechRequest, *, default_format: AudioFormat, sample_rate: int
    ) -> Plan:
        """Look up who is to speak a request."""
        ...

    def find_voice(self, name: str, speaker: str | None) -> tuple[str | None, str | None]:
        """Return the model and the voice that a name means; None for the usual ones."""
        ...


@dataclass(frozen=True, slots=True)
class TextLimits:
    """How much text is too much, in code points."""

    max_input_chars: int = 32768
    max_speech_chars: int = 1_000_000


@dataclass(slots=True)
class WyomingSession:
    """What one client asks for. Each event is taken by `receive`; unknown ones mean nothing."""

    planner: Planner
    offer: Callable[[], Offer]
    version: str
    now: Callable[[], float]
    limits: TextLimits = TextLimits()
    is_draining: bool = False
    _stream: Order | None = field(default=None, init=False)

    def receive(self, event: Event) -> Answer | Order | None:
        """Say what is to be done."""
        if Describe.is_type(event.type):
            return Answer(self.offer().info(self.version))
        if Ping.is_type(event.type):
            text = event.data.get("text")
            return Answer(Pong(text if isinstance(text, str) else None).event())
        if SynthesizeStart.is_type(event.type):
            self.end_stream()
            self._stream = self._order(event.data, is_stream=True)
            return self._stream
        if SynthesizeChunk.is_type(event.type):
            self._append(event.data)
        elif SynthesizeStop.is_type(event.type):
            self.end_stream()
        elif Synthesize.is_type(event.type) and self._stream is None:
            # Within a stream it is the whole text once more, for servers that know no streams.
            return self._order(event.data, is_stream=False)
        return None

    def _order(self, data: Mapping[str, Any], *, is_stream: bool) -> Order:
        try:
            if self.is_draining:
                raise ShuttingDown("The daemon is stopping; connect again in a moment.")
            wanted = parse(_Wanted, data)
            model, voice, language = None, None, None
            if wanted.voice is not None:
                language = wanted.voice.language
                if name := wanted.voice.name:
                    model, voice = self.planner.find_voice(name, wanted.voice.speaker)
            keys = {"model": model, "voice": voice, "language": language}
            check_length(len(wanted.text), limit=self.limits.max_input_chars, param="text")
            request = (
                StreamRequest.model_validate(keys)
                if is_stream
                else SynthesizeRequest.model_validate(keys | {"input": wanted.text})
            )
            plan = self.planner.plan(request, default_format=AudioFormat.PCM, sample_rate=RATE)
            return Order(plan, is_stream)
        except VoicedError as error:
            return Order(None, is_stream, error)

    def _append(self, data: Mapping[str, Any]) -> None:
        order = self._stream
        if order is None or order.plan is None or order.error:
            return
        try:
            chunk = parse(_Chunk, data)
            if len(order.plan.text) + len(chunk.text) > self.limits.max_speech_chars:
                raise TextTooLong(
                    f"The text has more than {self.limits.max_speech_chars} characters.",
                    param="text",
                )
        except RequestError as error:
            order.error = error
            order.plan.text.end()
        else:
            order.plan.text.append(chunk.text, at=self.now())

    def end_stream(self) -> None:
        """Let the text that came in parts end here, if one is open."""
        if self._stream is not None and self._stream.plan is not None:
            self._stream.plan.text.end()
        self._stream = None
