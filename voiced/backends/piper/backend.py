"""The Piper backend: neural voices, each a file of its own, on the machine's lane."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from voiced.audio.loudness import even_out
from voiced.backends.base import BackendSettings, Emit, SegmentSizes, SharedOptions, TTSBackendBase
from voiced.backends.espeak.phonemizer import Phonemizer
from voiced.backends.inference import growth
from voiced.backends.paths import expanded, is_there
from voiced.backends.piper import model
from voiced.backends.piper.model import PiperModel
from voiced.backends.piper.voices import VoiceFile, find_voices, has_voices
from voiced.errors import BackendError, BackendUnavailable
from voiced.models.piper import NAME
from voiced.models.store import search_folders
from voiced.speech import PcmChunk, Segment, Voice

_LOADED = 2  # voices in memory, of some 100 MB each
_NO_VOICES = "Piper has no voice here; run `voiced models pull piper --voice en_US-lessac-medium`."


class PiperSettings(BackendSettings):
    """`[backends.ID]` with `type = "piper"`."""

    voices_path: str = Field(
        "", description="The voices' folder; empty: what `models pull` fetched."
    )
    provider: str = Field("cpu", description="Of onnxruntime: cpu, cuda, openvino, ...")


class PiperOptions(SharedOptions):
    """How lively a voice is, beyond the shared options."""

    noise_scale: float | None = Field(
        None, ge=0, le=2, description="How much the sound varies; default as the voice has it."
    )
    noise_w_scale: float | None = Field(
        None, ge=0, le=2, description="How much the rhythm varies; default as the voice has it."
    )


class PiperBackend(TTSBackendBase):
    """The voices of a folder, the latest used in memory."""

    settings_model = PiperSettings
    settings: PiperSettings
    options_model = PiperOptions
    is_local = True
    is_slow = True
    reads_phonemes = True
    quality = 30
    learns_voices = True
    speeds = (0.5, 2.0)

    @classmethod
    def missing(cls, settings: BackendSettings) -> str | None:
        """Say what has to be installed or fetched before it can speak."""
        assert isinstance(settings, PiperSettings)
        if lack := model.missing_package():
            return lack
        try:
            folders = _folders(settings)
        except BackendUnavailable as problem:
            return problem.message
        return None if has_voices(folders) else _NO_VOICES

    @classmethod
    def model_files(cls, settings: BackendSettings) -> Sequence[Path]:
        """Return the largest voice: few are in memory at a time."""
        assert isinstance(settings, PiperSettings)
        voices = find_voices(_folders(settings)).values()
        return sorted((voice.path for voice in voices), key=lambda path: path.stat().st_size)[-1:]

    @classmethod
    def import_packages(cls, settings: BackendSettings) -> None:  # noqa: ARG003  # as the base has it
        """Import piper-tts and onnxruntime."""
        with suppress(BackendUnavailable):  # `initialize` says so
            model.import_packages()

    async def initialize(self) -> None:
        """Find the voices, load the usual one, and speak a word to nobody."""
        self._loaded: dict[str, PiperModel] = {}  # the latest used last
        self._loading = asyncio.Lock()
        await self.refresh()
        if not self._files:
            raise BackendUnavailable(_NO_VOICES)
        self._phonemizer = Phonemizer()
        try:
            await asyncio.to_thread(self._phonemizer.start)
            await self.warm_up("Good morning.")
        except BaseException:
            await self.close()
            raise
        self._growth = growth(self.lane.real_time_factor)

    async def refresh(self) -> None:
        """Look into the folders again."""
        self._files = await asyncio.to_thread(find_voices, _folders(self.settings))
        self._voices = tuple(file.voice() for file in self._files.values())

    def voices(self) -> Sequence[Voice]:
        """Return the voices without their speakers: any may be spoken as `VOICE#SPEAKER`."""
        return self._voices

    def identity(self, voice: Voice) -> str:
        """Tell the voice by its files."""
        file = self._files.get(voice.id.partition("#")[0].lower())
        return f"{super().identity(voice)} {file.stamp if file else ''}"

    def find_voice(self, name: str) -> Voice | None:
        """Know `en_GB-aru-medium`, and each speaker of it by name or number, as `...#03`."""
        base, sign, wanted = name.partition("#")
        file = self._files.get(base.lower())
        if file is None or not sign:
            return file.voice() if file else None
        speaker = file.speaker(wanted)
        return file.voice(speaker) if speaker else None

    def segment_sizes(self, options: Any, *, is_whole: bool) -> SegmentSizes:  # noqa: ARG002  # as the base has it
        """Return a short first segment, then whole sentences, which it says best."""
        return SegmentSizes(
            preferred=60,
            largest=200,
            first=44,
            growth=self._growth,
            shortest=15,
            in_phonemes=True,
        )

    async def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        """Yield the segment when its inference is done."""
        voice, _, speaker = segment.voice.id.partition("#")
        synthesize = partial(self._synthesize, await self._model(voice), speaker)
        async with aclosing(self.lane.stream(segment, synthesize)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _model(self, voice: str) -> PiperModel:
        """Load a voice beside the lane, which others speak on meanwhile."""
        if (file := self._files.get(voice.lower())) is None:
            raise BackendError(f"The voice {voice!r} has been removed.")
        if not self._is_loaded(file):
            async with self._loading:
                if not self._is_loaded(file):  # meanwhile
                    self._loaded[file.id] = await asyncio.to_thread(self._load, file)
        found = self._loaded.pop(file.id)
        self._loaded[file.id] = found
        for oldest in list(self._loaded)[:-_LOADED]:
            del self._loaded[oldest]
        return found

    def _is_loaded(self, file: VoiceFile) -> bool:
        """Tell whether a voice is in memory, as its files are now."""
        found = self._loaded.get(file.id)
        return found is not None and found.file.stamp == file.stamp

    def _load(self, file: VoiceFile) -> PiperModel:
        return PiperModel(file, provider=self.settings.provider, threads=self.lane.threads)

    async def close(self) -> None:
        """Let go of the voices."""
        self._loaded.clear()
        await self.lane.call(self._phonemizer.close)

    # ----------------------------------------------------------------------- on the lane's thread

    def _synthesize(self, spoken: PiperModel, speaker: str, segment: Segment, emit: Emit) -> None:
        phonemes = spoken.phonemes(segment.text, self._phonemizer)
        if not any(map(str.isalpha, phonemes)):
            return
        samples = spoken.speak(
            phonemes,
            speaker=speaker,
            speed=segment.speed,
            noise=segment.options.noise_scale,
            rhythm_noise=segment.options.noise_w_scale,
            interrupt_by=emit.interrupt_by,
        )
        emit(PcmChunk(even_out(samples, segment.voice.sample_rate)))


def _folders(settings: PiperSettings) -> list[Path]:
    """Return where voices may lie.

    Raises:
        BackendUnavailable: the configured folder is not there; the message says the cure.
    """
    if not settings.voices_path:
        return [root / NAME for root in search_folders(os.environ)]
    folder = expanded("voices_path", settings.voices_path)
    if not is_there(folder):
        raise BackendUnavailable(
            f"There is no folder {folder.name!r} where voices_path says; correct it, or leave it "
            "out and run `voiced models pull piper --voice NAME`."
        )
    return [folder]
