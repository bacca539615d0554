"""`PiperModel`: a voice of Piper in memory, by piper-tts and onnxruntime."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np

from voiced.backends.base import InterruptBy
from voiced.backends.espeak.phonemizer import Phonemizer
from voiced.backends.inference import InterruptibleSession, without_telemetry
from voiced.backends.piper.voices import VoiceFile
from voiced.errors import BackendUnavailable
from voiced.reading.phonemes import GIVEN
from voiced.speech import Float32

_INPUTS = {"input", "input_lengths", "scales"}
_NOT_INSTALLED = "piper-tts is not installed; run `pip install 'voiced[piper]'`."


def missing_package() -> str | None:
    """Say in a sentence that the package is missing, and the cure; None where it is there."""
    return _NOT_INSTALLED if find_spec("piper") is None else None


def import_packages() -> None:
    """Import piper-tts and onnxruntime, without onnxruntime's telemetry.

    Raises:
        BackendUnavailable: they are not installed.
    """
    without_telemetry()
    try:
        import piper  # noqa: F401, PLC0415  # only for Piper
    except ImportError:
        raise BackendUnavailable(_NOT_INSTALLED) from None


class PiperModel:
    """A loaded voice. Its calls block, and are for one thread at a time.

    piper-tts turns phonemes into samples. The phonemes come from our own espeak-ng, whose process
    may break on a text: piper-tts's breaks the daemon.
    """

    def __init__(self, file: VoiceFile, *, provider: str, threads: int) -> None:
        """Load it, which takes half a second and does not hold the interpreter.

        Raises:
            BackendUnavailable: the file is not of Piper, or the provider is not there.
        """
        import_packages()
        from piper import PiperConfig, PiperVoice  # noqa: PLC0415

        cure = f"run `voiced models pull piper --voice {file.id}`"
        session = InterruptibleSession(file.path, provider=provider, threads=threads, cure=cure)
        speakers = {"sid"} if file.config.num_speakers > 1 else set()
        if session.input_names() != _INPUTS | speakers:
            raise BackendUnavailable(f"{file.path.name!r} is a model, but not Piper; {cure}.")
        beside = file.path.with_name(f"{file.path.name}.json").read_text("utf-8")
        self.file = file
        self._session = session
        self._piper = PiperVoice(session=session, config=PiperConfig.from_dict(json.loads(beside)))
        clusters = sorted(self._piper.config.vowel_clusters or (), key=len, reverse=True)
        pattern = "|".join([*(re.escape("".join(cluster)) for cluster in clusters), "."])
        self._phoneme = re.compile(pattern, re.DOTALL)

    def phonemes(self, text: str, phonemizer: Phonemizer) -> list[str]:
        """Return the phonemes of a text that the voice was taught."""
        config = self.file.config
        if config.phoneme_type == "espeak":
            if config.espeak.voice == "ar":
                text = self._with_vowels(text)
            text = phonemizer.phonemes(text, config.espeak.voice)
        else:
            text = GIVEN.sub(lambda given: given["word"], text)
        known = config.phoneme_id_map
        return [p for p in self._phoneme.findall(unicodedata.normalize("NFD", text)) if p in known]

    def speak(
        self,
        phonemes: list[str],
        *,
        speaker: str,
        speed: float,
        noise: float | None,
        rhythm_noise: float | None,
        interrupt_by: InterruptBy,
    ) -> Float32:
        """Return the samples; it raises when it is interrupted."""
        from piper import SynthesisConfig  # noqa: PLC0415

        interrupt_by(self._session.renew(), may_overlap=True)
        samples: Any = self._piper.phoneme_ids_to_audio(
            self._piper.phonemes_to_ids(phonemes),
            SynthesisConfig(
                speaker_id=self.file.speaker_id(speaker),
                length_scale=self._piper.config.length_scale / speed,
                noise_scale=noise,
                noise_w_scale=rhythm_noise,
            ),
        )
        return np.clip(np.asarray(samples, np.float32).reshape(-1), -1, 1)

    def _with_vowels(self, text: str) -> str:
        said: str = self._tashkeel(text, taskeen_threshold=self._piper.taskeen_threshold)
        return said

    @cached_property
    def _tashkeel(self) -> Any:
        """What adds the short vowels that Arabic does not write."""
        from piper.tashkeel import TashkeelDiacritizer  # noqa: PLC0415  # loads a model of its own

        return TashkeelDiacritizer()
