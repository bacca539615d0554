"""The words of `voiced.v1`: JSON text frames both ways, binary audio frames to the client."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from enum import IntFlag
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from voiced.errors import VoicedError
from voiced.request import AnyText, OpenAISpeechRequest, SpeechRequest
from voiced.speech import OPENAI_RATE, SAMPLE_RATES, AudioFormat, AudioFrame
from voiced.text import SpeechText

PROTOCOL_VERSION = 1
SUBPROTOCOL = "voiced.v1"
LARGEST_ID = 2**32 - 1
LARGEST_PAYLOAD = 8192  # bytes of audio in one frame
AUDIO = 1  # the kind of a binary frame

_HEADER = struct.Struct(">BBHIQ")


class FrameFlag(IntFlag):
    """The second byte of a binary frame."""

    FIRST = 1  # of the speech
    LAST = 2  # of the speech
    FIRST_OF_SEGMENT = 4


# ----------------------------------------------------------------------------------- commands


class Command(BaseModel):
    """What every command has beside its own fields; unknown ones are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _known_rate(value: object) -> int:
    if type(value) is not int or value not in SAMPLE_RATES:
        raise ValueError(f"Input should be one of {', '.join(map(str, SAMPLE_RATES))}")
    return value


class SessionFields(BaseModel):
    """What only a session can ask for, beside the fields of a request."""

    marks: Literal["none", "segment", "word"] = "none"
    mode: Literal["queue", "replace", "parallel"] = "queue"
    priority: Literal["normal", "high"] = "normal"
    window_ms: int | None = Field(None, ge=200, le=60000)
    sample_rate: Annotated[int, PlainValidator(_known_rate)] = OPENAI_RATE


class SpeakCommand(SessionFields, OpenAISpeechRequest):
    """`speak`: a request and its text."""


class OpenCommand(SessionFields, SpeechRequest):
    """`speech/open`: a request whose text comes piece by piece."""

    max_delay_ms: int = Field(3000, ge=0, le=5000)

    def text(self) -> SpeechText:
        """Return the text that is to grow."""
        return SpeechText(max_delay_s=self.max_delay_ms / 1000)


class SpeechCommand(Command):
    """`speech/flush`, `speech/end`: what is about one speech."""

    speech: int


class TextCommand(SpeechCommand):
    """`speech/text`: more of its text."""

    text: AnyText


class CancelCommand(SpeechCommand):
    """`speech/cancel`: stop one speech; `played_ms` is what was heard of it."""

    played_ms: float | None = Field(None, ge=0, allow_inf_nan=False)


class ProgressCommand(SpeechCommand):
    """`speech/progress`: what was played of it so far."""

    played_ms: float = Field(ge=0, allow_inf_nan=False)


class ListVoicesCommand(Command):
    """`voices/list`."""

    model: str | None = None
    language: str | None = None


class UnsubscribeCommand(Command):
    """`unsubscribe_events`: the id of the command that subscribed."""

    subscription: int


class FeaturesCommand(Command):
    """`supported_features`: what the client can do."""

    features: dict[str, Any] = Field(default_factory=dict)


# ------------------------------------------------------------------------------- text frames


def decode(text: str) -> Any:
    """Parse a text frame.

    Raises:
        ValueError: it is not JSON (NaN and Infinity are none), or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def encode(message: dict[str, Any]) -> str:
    """Write a text frame, compact: in UTF-8, or escaped where halves of surrogates forbid it."""
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(message, separators=(",", ":"))
    return text


def result(command_id: int, value: Any) -> dict[str, Any]:
    """Answer a command that succeeded."""
    return {"id": command_id, "type": "result", "success": True, "result": value}


def failure(command_id: int | None, error: VoicedError) -> dict[str, Any]:
    """Answer a command that did not."""
    return {"id": command_id, "type": "result", "success": False, "error": error.as_dict()}


def event(command_id: int, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Tell something that belongs to the command which opened the speech."""
    return {"id": command_id, "type": "event", "event": {"type": kind, "data": data}}


# ----------------------------------------------------------------------------- binary frames


def audio_frames(
    speech: int, frame: AudioFrame, response_format: AudioFormat
) -> Iterator[tuple[bytes, int]]:
    """Write a frame as the binary frames that carry it, at most 8 KiB of audio in each.

    Yields each with the number of samples it stands for. Of an encoded format nobody knows how
    many samples a part holds, so the first part counts for all.
    """
    parts = [
        frame.data[at : at + LARGEST_PAYLOAD] for at in range(0, len(frame.data), LARGEST_PAYLOAD)
    ] or [b""]
    position, left = frame.position, frame.samples
    for index, part in enumerate(parts):
        flags = FrameFlag(0)
        if index == 0:
            flags |= FrameFlag.FIRST if frame.first else 0
            flags |= FrameFlag.FIRST_OF_SEGMENT if frame.first_of_segment else 0
        if index == len(parts) - 1:
            flags |= FrameFlag.LAST if frame.last else 0
        samples = min(left, len(part) // 2) if response_format is AudioFormat.PCM else left
        # Segments are counted in 16 bits here, in full in the events.
        yield _HEADER.pack(AUDIO, flags, frame.segment & 0xFFFF, speech, position) + part, samples
        if response_format is AudioFormat.PCM:
            position += samples
        left -= samples


def parse_frame(data: bytes) -> tuple[int, FrameFlag, int, int, int, bytes]:
    """Read a binary frame: kind, flags, segment, speech, position, payload.

    Raises:
        ValueError: it is shorter than its header.
    """
    if len(data) < _HEADER.size:
        raise ValueError(f"a binary frame has at least {_HEADER.size} bytes, this one {len(data)}")
    kind, flags, segment, speech, position = _HEADER.unpack_from(data)
    return kind, FrameFlag(flags), segment, speech, position, data[_HEADER.size :]
