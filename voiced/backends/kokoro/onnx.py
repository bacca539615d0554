"""Kokoro by onnxruntime and kokoro-onnx."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from voiced.backends.base import InterruptBy
from voiced.backends.espeak.files import EspeakFiles
from voiced.backends.inference import InterruptibleSession, without_telemetry
from voiced.backends.kokoro.model import Inferred
from voiced.errors import BackendUnavailable
from voiced.speech import Float32

_INPUTS = ({"tokens", "style", "speed"}, {"input_ids", "style", "speed"})
_CURE = "run `voiced models pull kokoro` or correct model_path"
_NOT_INSTALLED = "kokoro-onnx is not installed; run `pip install 'voiced[kokoro]'`."


def missing_package() -> str | None:
    """Say in a sentence which package is missing, and the cure; None for none."""
    if find_spec("kokoro_onnx") is None:
        return _NOT_INSTALLED
    return None


def import_packages() -> None:
    """Import onnxruntime and kokoro-onnx, without onnxruntime's telemetry.

    Importing holds the interpreter for some 30 ms.

    Raises:
        BackendUnavailable: they are not installed.
    """
    without_telemetry()
    try:
        import kokoro_onnx  # noqa: F401, PLC0415  # only for Kokoro
    except ImportError:
        raise BackendUnavailable(_NOT_INSTALLED) from None


class OnnxKokoro:
    """The published exports, of both namings of the inputs, with or without durations."""

    def __init__(self, path: Path, *, provider: str, threads: int) -> None:
        """Load the model, which takes a second or two and does not hold the interpreter.

        Raises:
            BackendUnavailable: the file is not Kokoro, or the provider is not there.
        """
        import_packages()
        from kokoro_onnx import Kokoro  # noqa: PLC0415
        from kokoro_onnx.config import EspeakConfig  # noqa: PLC0415

        self._session = InterruptibleSession(path, provider=provider, threads=threads, cure=_CURE)
        if self._session.input_names() not in _INPUTS:
            raise BackendUnavailable(f"{path.name!r} is a model, but not Kokoro; {_CURE}.")
        files = EspeakFiles.find(os.environ)
        espeak = EspeakConfig(lib_path=str(files.library), data_path=str(files.data))
        # It wants an archive of voices, which it is given a voice from with each call instead.
        with tempfile.NamedTemporaryFile(suffix=".npz") as none:
            np.savez(none)
            none.flush()
            self._kokoro = Kokoro.from_session(self._session, none.name, espeak_config=espeak)
            self._kokoro.voices.close()
        self.has_durations: bool = self._kokoro.has_timings
        speed = next(i for i in self._session.get_inputs() if i.name == "speed")
        self.takes_any_speed = "int" not in speed.type

    def known(self, phonemes: str) -> str:
        """Return the phonemes that it was taught."""
        return str(self._kokoro.tokenizer.known(phonemes))

    def infer(
        self,
        phonemes: str,
        style: Float32,
        *,
        speed: float,
        interrupt_by: InterruptBy,
    ) -> Inferred:
        """Speak; see `KokoroModel`."""
        interrupt_by(self._session.renew(), may_overlap=True)
        samples, rate, timings = self._kokoro.create_timed(
            phonemes,
            style[np.newaxis],  # a voice of one row, so that it takes that one
            speed,
            is_phonemes=True,
            trim=False,
            sentence_pause=0,
            clause_pause=0,
        )
        edges = [round(timing.start * rate) for timing in timings]
        return Inferred(np.asarray(samples, np.float32), [*edges, samples.size] if edges else [])

    def close(self) -> None:
        """Let go of the session's memory."""
        del self._kokoro, self._session
