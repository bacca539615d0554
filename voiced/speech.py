"""The words that every part shares: request, voice, segment, chunk, frame.

A *request* is what a client asks for; a *speech* is one request being spoken; a *segment* is text
spoken in one go; a *chunk* is samples from an engine; a *frame* is bytes for a wire.
Text positions are Unicode code points into all the text of the speech, sample positions count from
the first sample of the speech, mono.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int16 = NDArray[np.int16]

OPENAI_RATE = 24000
"""Hz of `pcm` for every OpenAI client, and our default everywhere."""

SAMPLE_RATES = (8000, 16000, 22050, 24000, 44100, 48000)
"""Hz that a WebSocket client may ask for."""


class AudioFormat(StrEnum):
    """What the audio of a speech may be encoded as."""

    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"
    FLAC = "flac"
    WAV = "wav"
    PCM = "pcm"


class MarkKind(StrEnum):
    """How finely a voice can tell which text is being heard."""

    WORD = "word"
    SEGMENT = "segment"


class Priority(IntEnum):
    """Who speaks first; the smaller one."""

    HIGH = 0
    NORMAL = 1


class EndReason(StrEnum):
    """Why a speech ended."""

    COMPLETE = "complete"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    FAILED = "failed"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Voice:
    """One voice of one backend."""

    id: str
    name: str
    languages: tuple[str, ...]  # BCP-47 in lower case, the main one first
    sample_rate: int  # Hz, of the chunks it gives
    marks: MarkKind = MarkKind.SEGMENT

    def fit(self, language: str) -> int:
        """Say how well it speaks a language: 3 it is its own, 2 one of its own, 1 nearly, 0 not."""
        wanted = language.lower()
        if wanted in self.languages:
            return 3 if wanted == self.languages[0] else 2
        wider_or_narrower = any(
            tag.startswith(f"{wanted}-") or wanted.startswith(f"{tag}-") for tag in self.languages
        )
        return int(wider_or_narrower)

    def speaks(self, language: str) -> bool:
        """Tell whether it speaks `language`: the same tag, or a wider or narrower one."""
        return self.fit(language) > 0


@dataclass(frozen=True, slots=True)
class Segment:
    """Text to be spoken in one go, with all that shapes its sound."""

    index: int
    text: str
    start: int  # code points, into the text of the speech
    end: int
    voice: Voice
    language: str | None
    speed: float  # within what the backend can do itself; the rest is time-stretch
    options: Any  # an instance of the backend's options_model
    instructions: str | None = None
    wants_words: bool = False  # marks by word were asked for, which may cost more
    priority: Priority = Priority.NORMAL
    due: float = 0.0  # event loop time at which its first sample should be heard
    on_retry: Callable[[], None] = lambda: None  # called where a provider is asked again


@dataclass(frozen=True, slots=True)
class WordMark:
    """A word and when it is heard."""

    start: int  # code points, into the segment's text
    end: int
    sample: int  # from the segment's first sample, at the voice's rate


@dataclass(frozen=True, slots=True)
class PcmChunk:
    """Samples as an engine makes them: float32, mono, +-1.0, at the voice's rate."""

    samples: Float32
    marks: tuple[WordMark, ...] = field(default=())


# --------------------------------------------------------------------------- what a speech gives


@dataclass(frozen=True, slots=True)
class SpeechStart:
    """The speech begins: who speaks it and what its audio is. Once, before all else."""

    model: str
    backend: str
    voice: str
    response_format: AudioFormat
    sample_rate: int


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """A segment begins at `position`; its frames follow."""

    index: int
    text_start: int
    text_end: int
    position: int
    pause: int = 0  # samples of silence that it begins with


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the speech's text and where it begins to be heard."""

    text_start: int
    text_end: int
    position: int


@dataclass(frozen=True, slots=True)
class Words:
    """The next words of the segment that has begun, before the audio that they are heard in.

    Estimated ones come at the segment's end, all at once.
    """

    words: tuple[Word, ...]
    is_estimated: bool


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """A segment ends before `position`; all its frames were given."""

    index: int
    position: int


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """Audio for a wire, in the speech's format."""

    data: bytes
    segment: int
    position: int  # the first sample; for an encoded format, the samples encoded before it
    samples: int  # how many samples went into the encoder since the last frame
    first: bool = False  # of the speech
    first_of_segment: bool = False
    last: bool = False  # of the speech; its data may be empty


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the client should know that ends nothing."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Flushed:
    """All text before a flush has been spoken, up to `position`."""

    number: int  # the flush's
    position: int


SpeechEvent = SpeechStart | SegmentStart | Words | AudioFrame | SegmentEnd | Notice | Flushed
