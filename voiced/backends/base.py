"""The contract of a backend: text in, pcm chunks out. `docs/backends.md` shows one in 30 lines.

Everything else is written once, above: encoding, trimming, stretching, resampling, scheduling,
cancelling, fallback. A remote backend is plain asyncio. A local one does its work in a function
that blocks and gives it to its lane, which runs it on a thread:

    def generate_speech_stream(self, segment):
        return self.lane.stream(segment, self._synthesize)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from voiced.errors import LanguageNotSupported, VoiceNotFound
from voiced.speech import PcmChunk, Segment, Voice

T = TypeVar("T")

FirstSegment = Literal["eager", "clause", "sentence"]
"""How much text the first sound waits for."""


class InterruptBy(Protocol):
    """Takes what ends a computation that takes more than some milliseconds."""

    def __call__(self, interrupt: Callable[[], None], /, *, may_overlap: bool = False) -> None:
        """Name the function that ends what is computed from now on, up to the next call of this.

        It is called on another thread, maybe after the computation has ended; one that was
        interrupted may raise. `may_overlap`: the next segment may begin, on a thread of its own,
        while this one ends.
        """
        ...


class Emit(Protocol):
    """Takes what an engine makes, and tells it when to end."""

    def __call__(self, chunk: PcmChunk, /) -> bool:
        """Hand a chunk over; False asks the engine to end, now."""
        ...

    @property
    def interrupt_by(self) -> InterruptBy:
        """What an engine tells how it is ended, if it computes for long between two chunks."""
        ...


Synthesize = Callable[[Segment, Emit], None]
"""Speaks a segment on a thread of the lane: blocks, and calls `Emit` as samples are made.

A segment may be run again from its start (after a full buffer, or when a more urgent one went
first): it must give the same samples, or all of them in one chunk.
"""


class EngineLane(Protocol):
    """The lane as a local backend sees it: its engine runs on it, one thing after the other."""

    threads: int
    """With how many threads an engine should compute."""

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of audio, as measured; None before it has spoken."""
        ...

    def stream(self, segment: Segment, synthesize: Synthesize) -> AsyncGenerator[PcmChunk, None]:
        """Run `synthesize` when it is the segment's turn and yield its chunks.

        Closing the generator stops the engine.
        """
        ...

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function that blocks between segments: to load, to close."""
        ...


class SharedOptions(BaseModel):
    """`model_specific_options` that every backend takes; a backend's own model extends it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    raw: bool = Field(False, description="Speak the text as it stands, markup and all.")
    strict: bool = Field(False, description="Fail rather than speak with a fallback.")
    lead_silence_ms: int = Field(0, ge=0, le=5000, description="Silence before the first word.")
    tail_silence_ms: int = Field(0, ge=0, le=5000, description="Silence after the last word.")
    first_segment: FirstSegment | None = Field(
        None, description="How much text the first sound waits for; default as configured."
    )


class BackendSettings(BaseModel):
    """A `[backends.ID]` section; a backend's own model extends it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(description="Which backend this is.")
    voice: str = Field("", description="The voice where a request names none; empty: its own.")
    fallback: str | None = Field(
        None, description="The model that speaks when it cannot; empty: none; else the default's."
    )
    first_audio_timeout_s: float = Field(
        0, ge=0, description="Without audio for so long, the fallback speaks; 0: never."
    )


@dataclass(frozen=True, slots=True)
class SegmentSizes:
    """How much text a backend likes to get at once, in code points or in phonemes as guessed."""

    preferred: int  # sentences are joined up to this
    largest: int  # and a longer one is cut
    first: int | None = None  # the first segment is no larger, so that it is heard soon
    is_hasty: bool = True  # the first segment ends where `first_segment` says, however short
    growth: float = inf  # each one after it is at most so many times as large as those before
    shortest: int = 1  # what is shorter is spoken together with what stands beside it
    in_phonemes: bool = False


class TTSBackendBase(ABC):
    """One engine or provider, as configured under one backend id.

    Constructed on the event loop, without I/O. `initialize` comes first and once, `close` last and
    once; between them any number of streams may be open at the same time.
    """

    settings_model: ClassVar[type[BackendSettings]] = BackendSettings
    options_model: ClassVar[type[SharedOptions]] = SharedOptions
    is_local: ClassVar[bool]
    first_segment: ClassVar[FirstSegment | None] = None
    """Where its first segment ends unless a request says it; None: as configured."""
    is_slow: ClassVar[bool] = False
    """It makes a segment's audio all at once, after a while: the next one is made while this one is
    heard."""
    reads_phonemes: ClassVar[bool] = False
    """It takes `[word](/phonemes/)`, in IPA; others get the word alone."""
    reads_well: ClassVar[bool] = False
    """It says amounts, dates, units, addresses and the like as a person does."""
    quality: ClassVar[int] = 0
    """How good it sounds: `auto` means the highest of the local ones that can be used."""
    default_voice: ClassVar[str] = ""
    """Native name; empty: the first one."""
    learns_voices: bool = False
    """Others may come while it runs, which `refresh` looks for."""
    speeds: tuple[float, float] = (1.0, 1.0)
    """What the engine itself can do; beyond, its audio is stretched."""

    def __init__(self, settings: BackendSettings, *, lane: EngineLane) -> None:
        self.settings = settings
        self.lane = lane

    @classmethod
    def missing(cls, settings: Any) -> str | None:  # noqa: ARG003  # some need nothing
        """Say in a sentence what it lacks to be loaded, as a file, and the cure; None for nothing.

        Called often, on another thread: what it lacks may come while the daemon runs.
        """
        return None

    @classmethod
    def model_files(cls, settings: Any) -> Sequence[Path]:  # noqa: ARG003  # some have none
        """Return the files that it will hold in memory, where there are any. Blocks for a moment.

        Raises:
            BackendUnavailable: they are not there.
        """
        return ()

    def trouble(self) -> str | None:
        """Say in a sentence why it should not be asked now, though it is loaded; None for nothing.

        As long as it says so, the fallback speaks without a delay. Called often; instant.
        """
        return None

    @classmethod  # noqa: B027  # most have nothing that is slow to import
    def import_packages(cls, settings: Any) -> None:
        """Import what holds the interpreter for long, before anybody is served.

        Called only where the backend is to be loaded at start.
        """

    @abstractmethod
    async def initialize(self) -> None:
        """Load models, check keys.

        Raises:
            BackendUnavailable: it cannot work; the message says the cure in one sentence.
        """

    async def refresh(self) -> None:  # noqa: B027  # most have always the same
        """Look again which voices there are, if that can have changed.

        Called when voices are listed and when one is not found, and so maybe often. May raise what
        `generate_speech_stream` may; the voices are then those from before.
        """

    @abstractmethod
    def voices(self) -> Sequence[Voice]:
        """Return all voices. Called after `initialize`; cheap."""

    def identity(self, voice: Voice) -> str:  # noqa: ARG002  # some have a file for each
        """Return what tells it from any other that may sound otherwise: its model, its server.

        What was said is kept under that, beside the settings. Called for each segment; instant.
        """
        return self.settings.model_dump_json()

    @abstractmethod
    def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        """Speak one segment: float32, mono, +-1.0, at `segment.voice.sample_rate`.

        Chunks come as they are made. Closing the generator stops the engine or the request.

        Raises:
            BackendError: the engine or the provider failed.
        """

    async def warm_up(self, text: str) -> None:
        """Speak to nobody, when there is nobody else to be spoken to.

        The first inference takes a little longer, and each is measured by the lane.
        """
        voice, options = self.usual_voice(), self.options_model()
        segment = Segment(0, text, 0, len(text), voice, None, 1.0, options, due=inf)
        async with aclosing(self.generate_speech_stream(segment)) as chunks:
            async for _ in chunks:
                pass

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything. Called once, when no stream is open."""

    def segment_sizes(
        self,
        options: Any,  # noqa: ARG002  # some differ
        *,
        is_whole: bool,  # noqa: ARG002  # as above
    ) -> SegmentSizes | None:
        """Return how much text it likes at once, under these options; None: all, uncut.

        `is_whole`: all of the text came at once; else it grows while it is spoken.
        """
        return SegmentSizes(preferred=200, largest=600)

    def find_voice(self, name: str) -> Voice | None:
        """Return the voice of that native name, whatever its case."""
        wanted = name.lower()
        return next((voice for voice in self.voices() if voice.id.lower() == wanted), None)

    def choose_voice(self, name: str | None, language: str | None) -> Voice:
        """Return the named voice; without a name the default one, or one for the language.

        Raises:
            VoiceNotFound: nothing here has that name; the message has the nearest ones.
            LanguageNotSupported: nothing here speaks that language.
        """
        if name is not None:
            if voice := self.find_voice(name):
                return voice
            raise VoiceNotFound(self._unknown_voice(name), param="voice")
        default = self.usual_voice()
        if language is None or default.speaks(language):
            return default
        nearest = max(self.voices(), key=lambda voice: voice.fit(language))
        if nearest.speaks(language):
            return nearest
        raise LanguageNotSupported(f"No voice here speaks {language[:64]!r}.", param="language")

    def usual_voice(self) -> Voice:
        """Return the voice where nothing is asked for: the configured one, its own, the first."""
        for name in (self.settings.voice, self.default_voice):
            if name and (voice := self.find_voice(name)):
                return voice
        return self.voices()[0]

    def _unknown_voice(self, name: str) -> str:
        known = [voice.id for voice in self.voices()]
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}" if near else "voices/list has those there are"
        return f"There is no voice {name[:64]!r}; {hint}."
