"""The Kokoro backend: a small neural engine that sounds like a person, on the machine's lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from voiced.audio.loudness import even_out
from voiced.backends.base import BackendSettings, Emit, SegmentSizes, TTSBackendBase
from voiced.backends.espeak.phonemizer import Phonemizer
from voiced.backends.inference import growth
from voiced.backends.kokoro import onnx, torch
from voiced.backends.kokoro.model import MOST_TOKENS, Inferred, KokoroModel
from voiced.backends.kokoro.torch_files import CONFIG
from voiced.backends.kokoro.voices import SAMPLE_RATE, VoicePack
from voiced.backends.marks import mark_words
from voiced.backends.paths import expanded, is_there, stamp
from voiced.errors import BackendUnavailable
from voiced.models.published import KOKORO
from voiced.models.store import find
from voiced.reading.phonemes import without_phonemes
from voiced.speech import Float32, MarkKind, PcmChunk, Segment, Voice, WordMark

_RUNTIMES = {"onnx": onnx, "torch": torch}
_SENTENCE_SIGNS = ".!?…。！？"
_SENTENCE_TOKENS = 100  # of a sentence that is spoken in parts, as it usually is


class KokoroSettings(BackendSettings):
    """`[backends.ID]` with `type = "kokoro"`."""

    model_path: str = Field("", description="The model's file; empty: what `models pull` fetched.")
    voices_path: str = Field("", description="The voices' file or folder; empty: as above.")
    runtime: Literal["onnx", "torch"] = Field("onnx", description="What runs the model.")
    provider: str = Field("cpu", description="Of onnxruntime: cpu, cuda, openvino, ...")
    device: str = Field("cpu", description="Of PyTorch: cpu, cuda, cuda:1, ...")


class KokoroBackend(TTSBackendBase):
    """One model and its voices."""

    settings_model = KokoroSettings
    settings: KokoroSettings
    is_local = True
    is_slow = True
    reads_phonemes = True
    quality = 50
    default_voice = "af_heart"
    speeds = (0.5, 2.0)

    @classmethod
    def missing(cls, settings: BackendSettings) -> str | None:
        """Say what has to be installed or fetched before it can speak."""
        assert isinstance(settings, KokoroSettings)
        lack: str | None = _RUNTIMES[settings.runtime].missing_package()
        if lack:
            return lack
        try:
            _files(settings)
        except BackendUnavailable as problem:
            return problem.message
        return None

    @classmethod
    def model_files(cls, settings: BackendSettings) -> Sequence[Path]:
        """Return the model and the voices."""
        assert isinstance(settings, KokoroSettings)
        return _files(settings)

    @classmethod
    def import_packages(cls, settings: BackendSettings) -> None:
        """Import the runtime's packages."""
        assert isinstance(settings, KokoroSettings)
        with suppress(BackendUnavailable):  # `initialize` says so
            _RUNTIMES[settings.runtime].import_packages()

    async def initialize(self) -> None:
        """Load the model and its voices, on a thread of its own, and speak a word to nobody."""
        model_path, voices_path = _files(self.settings)
        self._stamp = await asyncio.to_thread(
            stamp, model_path, model_path.with_name(CONFIG), voices_path
        )
        self._phonemizer = Phonemizer()
        self._pack = await asyncio.to_thread(VoicePack.open, voices_path)
        try:
            starting = asyncio.create_task(asyncio.to_thread(self._phonemizer.start))
            try:
                self._model = await asyncio.to_thread(self._load_model, model_path)
            finally:
                await starting
            self._voices = tuple(map(self._marked, self._pack.voices()))
            if not self._model.takes_any_speed:
                self.speeds = (1.0, 1.0)
            await self.warm_up("Good morning.")
        except BaseException:
            await asyncio.to_thread(self._phonemizer.close)
            self._pack.close()
            raise
        self._growth = growth(self.lane.real_time_factor)

    def _load_model(self, path: Path) -> KokoroModel:
        threads = self.lane.threads
        if self.settings.runtime == "torch":
            return torch.TorchKokoro(path, device=self.settings.device, threads=threads)
        return onnx.OnnxKokoro(path, provider=self.settings.provider, threads=threads)

    def voices(self) -> Sequence[Voice]:
        """Return the voices without their blends: any may be spoken as `af_bella(2)+af_sky`."""
        return self._voices

    def identity(self, voice: Voice) -> str:
        """Tell the model and the voices by their files."""
        return f"{super().identity(voice)} {self._stamp}"

    def find_voice(self, name: str) -> Voice | None:
        """Know a voice or a blend, whatever its case."""
        voice = self._pack.find(name)
        return self._marked(voice) if voice else None

    def segment_sizes(self, options: Any, *, is_whole: bool) -> SegmentSizes:  # noqa: ARG002  # as the base has it
        """Return a short first segment, then ones that grow up to where inference is cheapest."""
        return SegmentSizes(
            preferred=60,
            largest=90,
            first=44,
            growth=self._growth,
            shortest=15,
            in_phonemes=True,
        )

    def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        """Yield the segment when its inference is done."""
        return self.lane.stream(segment, self._synthesize)

    async def close(self) -> None:
        """Let go of the model."""
        await self.lane.call(self._close)

    # ----------------------------------------------------------------------- on the lane's thread

    def _synthesize(self, segment: Segment, emit: Emit) -> None:
        phonemes = self._phonemizer.phonemes(segment.text, self._language(segment))
        known = " ".join(self._model.known(phonemes).split())
        # All that is read is read before the first inference: when that is told to end, the next
        # segment reads, too.
        styled = [(part, self._style(part, segment)) for part in _parts(known)]
        parts = [self._infer(part, style, segment, emit) for part, style in styled]
        if not parts:
            return
        samples = np.concatenate([part.samples for part in parts])
        marks: tuple[WordMark, ...] = ()
        if self._model.has_durations:
            marks = mark_words(without_phonemes(segment.text), known, _edges(parts))
        emit(PcmChunk(even_out(samples, SAMPLE_RATE), marks))

    def _language(self, segment: Segment) -> str:
        """Return the language that was asked for, with the voice's accent where none was."""
        asked = segment.language
        own = self._pack.espeak_language(segment.voice.id)
        if asked is None or ("-" not in asked and segment.voice.speaks(asked)):
            return own
        return asked

    def _style(self, phonemes: str, segment: Segment) -> Float32:
        return self._pack.style(segment.voice.id, _style_length(segment.text, phonemes))

    def _infer(self, phonemes: str, style: Float32, segment: Segment, emit: Emit) -> Inferred:
        return self._model.infer(
            phonemes, style, speed=segment.speed, interrupt_by=emit.interrupt_by
        )

    def _close(self) -> None:
        self._model.close()
        self._phonemizer.close()
        self._pack.close()

    def _marked(self, voice: Voice) -> Voice:
        return replace(voice, marks=MarkKind.WORD) if self._model.has_durations else voice

    def _unknown_voice(self, name: str) -> str:
        return self._pack.explain(name)


def _files(settings: KokoroSettings) -> tuple[Path, Path]:
    """Return the model's file and the voices'.

    Raises:
        BackendUnavailable: one is not there; the message says the cure.
    """
    kept = find(KOKORO)
    kept_voices, kept_model = kept.paths if kept else (None, None)
    if settings.runtime == "torch":
        model_path = _torch_file(settings.model_path)
    else:
        model_path = _file("model_path", settings.model_path, kept_model)
    return (
        model_path,
        _file("voices_path", settings.voices_path, kept_voices),
    )


def _torch_file(given: str) -> Path:
    if not given:
        raise BackendUnavailable(
            'With runtime = "torch" Kokoro needs a model_path: a .pth file, with its '
            f"{CONFIG} beside it. What `voiced models pull kokoro` fetches is for onnx."
        )
    path = expanded("model_path", given)
    for file in (path, path.with_name(CONFIG)):
        if not is_there(file):
            raise BackendUnavailable(
                f"There is no file {file.name!r} where model_path says; put it there, or correct "
                "model_path."
            )
    return path


def _file(key: str, given: str, kept: Path | None) -> Path:
    path = expanded(key, given) if given else kept
    if path is None:
        raise BackendUnavailable("Kokoro has no files here; run `voiced models pull kokoro`.")
    if not is_there(path):
        raise BackendUnavailable(
            f"There is no file {path.name!r} where {key} says; correct it, or leave it out and run "
            "`voiced models pull kokoro`."
        )
    return path


def _style_length(text: str, phonemes: str) -> int:
    """Return for how many tokens the style should be: for those of the whole sentence.

    Of a sentence that is spoken in parts nobody knows yet how long it will be.
    """
    is_part = text.rstrip("\"'”’»)]}*_")[-1:] not in _SENTENCE_SIGNS
    return max(len(phonemes), _SENTENCE_TOKENS) if is_part else len(phonemes)


def _parts(phonemes: str) -> list[str]:
    """Cut phonemes that are too many for one inference, as those of a text full of numbers."""
    parts = []
    while len(phonemes) > MOST_TOKENS:
        space = phonemes.rfind(" ", 1, MOST_TOKENS + 1)
        end = space if space > 0 else MOST_TOKENS
        parts.append(phonemes[:end])
        phonemes = phonemes[end:].lstrip()
    return [*parts, phonemes] if any(map(str.isalpha, phonemes)) or parts else []


def _edges(parts: list[Inferred]) -> list[int]:
    """Return the edges of all parts, and so one for the space after each."""
    edges: list[int] = []
    offset = 0
    for part in parts:
        edges += (offset + edge for edge in part.edges)
        offset += part.samples.size
    return edges
