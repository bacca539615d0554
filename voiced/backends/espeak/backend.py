"""The embedded backend: espeak-ng from a wheel. No download, 100+ languages, exact word marks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from voiced.backends.base import Emit, SegmentSizes, SharedOptions, TTSBackendBase
from voiced.backends.espeak.files import EspeakFiles
from voiced.backends.espeak.process import EspeakProcess, EspeakSound, EspeakVoice
from voiced.backends.paths import stamp
from voiced.errors import LanguageNotSupported
from voiced.reading.words import words
from voiced.speech import MarkKind, PcmChunk, Segment, Voice, WordMark


class EspeakOptions(SharedOptions):
    """What espeak can do beyond the shared options."""

    ssml: bool = Field(False, description="Read the text as SSML, in one segment.")
    pitch: int = Field(50, ge=0, le=100)
    word_gap: int = Field(0, ge=0, le=500, description="Pause between words, in 10 ms.")


class EspeakBackend(TTSBackendBase):
    """espeak-ng in its process, which the lane's thread asks and listens to."""

    options_model = EspeakOptions
    is_local = True
    default_voice = "en-us"
    speeds = (0.5, 2.5)  # 87-438 words a minute; its own bounds are 80 and 450

    async def initialize(self) -> None:
        """Load the library and list its voices."""
        files = EspeakFiles.find(os.environ)
        self._process = EspeakProcess(files)
        self._stamp = await asyncio.to_thread(stamp, files.library, files.data / "phontab")
        try:
            await self.lane.call(self._start)
        except BaseException:  # a cancel, too, which the thread knows nothing of
            await self.close()
            raise

    def _start(self) -> None:
        files, self._variants, self._rate = self._process.list_voices()
        self._files = {file.id: file for file in files}
        self._voices = tuple(self._voice(file) for file in files)

    def identity(self, voice: Voice) -> str:
        """Tell the library and its data by their files."""
        return f"{super().identity(voice)} {self._stamp}"

    def voices(self) -> Sequence[Voice]:
        """Return the voices without their variants: any may be spoken as `en-us+f3`."""
        return self._voices

    def find_voice(self, name: str) -> Voice | None:
        """Know `en-us`, `gmw/en-US`, any language tag of a voice, each also with `+variant`."""
        base, plus, variant = name.partition("+")
        file = self._file(base)
        if file is None or not plus:
            return self._voice(file) if file else None
        known = next((v for v in self._variants if v.lower() == variant.lower()), None)
        return self._voice(file, known) if known else None

    def choose_voice(self, name: str | None, language: str | None) -> Voice:
        """Return the voice; a language asked for beside it keeps the voice's variant."""
        voice = super().choose_voice(name, language)
        if language is None or voice.speaks(language):
            return voice
        _, plus, variant = voice.id.partition("+")
        spoken = self.find_voice(f"{super().choose_voice(None, language).id}{plus}{variant}")
        if spoken is None:
            raise LanguageNotSupported(f"No voice here speaks {language[:64]!r}.", param="language")
        return spoken

    def segment_sizes(
        self,
        options: Any,
        *,
        is_whole: bool,  # noqa: ARG002  # as the base has it
    ) -> SegmentSizes | None:
        """Return a sentence or two; SSML is one document."""
        return None if options.ssml else SegmentSizes(preferred=100, largest=400)

    def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        """Yield chunks of 60 ms as espeak makes them."""
        return self.lane.stream(segment, self._synthesize)

    async def close(self) -> None:
        """End the process."""
        await self.lane.call(self._process.close)

    def _synthesize(self, segment: Segment, emit: Emit) -> None:
        said = _Words(segment.text)

        def on_audio(samples: bytes, events: list[tuple[int, int]]) -> bool:
            pcm = np.frombuffer(samples, "<i2").astype(np.float32)
            pcm /= 32768
            return emit(PcmChunk(pcm, tuple(said.marks(events))))

        options = segment.options
        self._process.speak(
            segment.text,
            voice=self._identifier(segment.voice),
            sound=EspeakSound(segment.speed, options.pitch, options.word_gap, options.ssml),
            on_audio=on_audio,
            then=self._identifier(self.usual_voice()),
        )

    def _identifier(self, voice: Voice) -> str:
        base, plus, variant = voice.id.partition("+")
        return f"{self._files[base].identifier}{plus}{variant}"

    def _file(self, name: str) -> EspeakVoice | None:
        wanted = name.lower()
        if file := self._files.get(wanted):
            return file
        for file in self._files.values():
            if wanted == file.identifier.lower() or wanted in file.languages:
                return file
        return None

    def _voice(self, file: EspeakVoice, variant: str | None = None) -> Voice:
        return Voice(
            id=f"{file.id}+{variant}" if variant else file.id,
            name=f"{file.name}, {variant}" if variant else file.name,
            languages=tuple(tag.lower() for tag in file.languages),
            sample_rate=self._rate,
            marks=MarkKind.WORD,
        )


class _Words:
    """espeak's word events as marks.

    An event names a character, and several times for what it says in several words ("12.50"); the
    extent is the text's.
    """

    def __init__(self, text: str) -> None:
        self._extents = words(text)
        self._next = 0

    def marks(self, events: list[tuple[int, int]]) -> list[WordMark]:
        marks = []
        for position, sample in events:
            index = self._next
            while index < len(self._extents) and self._extents[index][1] <= position:
                index += 1
            if index < len(self._extents) and self._extents[index][0] <= position + 1:
                start, end = self._extents[index]
                marks.append(WordMark(start, end, sample))
                self._next = index + 1
        return marks
