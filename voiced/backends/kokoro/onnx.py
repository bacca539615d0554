"""Kokoro by onnxruntime and kokoro-onnx."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from voiced.backends.espeak.files import EspeakFiles
from voiced.backends.kokoro.model import Inferred
from voiced.errors import BackendUnavailable
from voiced.speech import Float32

_INPUTS = ({"tokens", "style", "speed"}, {"input_ids", "style", "speed"})
_CURE = "run `voiced models pull kokoro` or correct model_path"
_NOT_INSTALLED = "kokoro-onnx is not installed; run `pip install 'voiced[kokoro]'`."
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "rocm": "onnxruntime-rocm",
    "openvino": "onnxruntime-openvino",
    "dml": "onnxruntime-directml",
}


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
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # on by default since 1.29, and read at the import
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

        self._session = _Interruptible(_load(path, provider, threads))
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
        interrupt_by: Callable[[Callable[[], None]], None],
    ) -> Inferred:
        """Speak; see `KokoroModel`."""
        interrupt_by(self._session.renew())
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


class _Interruptible:
    """A session whose runs can be ended; to kokoro-onnx it is the session."""

    def __init__(self, session: Any) -> None:
        import onnxruntime  # noqa: PLC0415

        self._new_options = onnxruntime.RunOptions
        self._session = session
        self._model_path = session._model_path  # noqa: SLF001  # what kokoro-onnx asks for
        self.get_inputs = session.get_inputs
        self.get_outputs = session.get_outputs
        self.get_modelmeta = session.get_modelmeta
        self.renew()

    def renew(self) -> Callable[[], None]:
        """Return what ends the runs from now on, up to the next `renew`."""
        options = self._options = self._new_options()
        options.log_severity_level = 4  # else each end is reported to standard error

        def end() -> None:
            options.terminate = True

        return end

    def run(self, names: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
        outputs: list[Any] = self._session.run(names, inputs, self._options)
        return outputs


def _load(path: Path, provider: str, threads: int) -> Any:
    import onnxruntime  # noqa: PLC0415

    onnxruntime.set_default_logger_severity(4)  # what goes wrong is raised, too
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A plan of the memory for each length of input: a quarter more of it, and no time gained.
    options.enable_mem_pattern = False
    # Threads that spin between two operators gain a few per cent and burn the others' time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    name = _provider(provider, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[name])
    except Exception as error:  # of kinds that its module does not export
        raise BackendUnavailable(
            f"{path.name!r} does not load as a model ({type(error).__name__}); {_CURE}."
        ) from error
    if {i.name for i in session.get_inputs()} not in _INPUTS:
        raise BackendUnavailable(f"{path.name!r} is a model, but not Kokoro; {_CURE}.")
    if name not in session.get_providers():
        raise BackendUnavailable(
            f"The provider {provider!r} does not start on this machine; check its driver, or set "
            'provider = "cpu".'
        )
    return session


def _provider(wanted: str, available: list[str]) -> str:
    """Return onnxruntime's name of a provider: `CUDAExecutionProvider` for `cuda`."""
    known = {name.removesuffix("ExecutionProvider").lower(): name for name in available}
    if found := known.get(wanted.lower().removesuffix("executionprovider")):
        return found
    package = _PACKAGES.get(wanted.lower())
    cure = f"run `pip install {package}`, or " if package else ""
    raise BackendUnavailable(
        f"onnxruntime has no provider {wanted[:64]!r} here, it has {', '.join(sorted(known))}; "
        f'{cure}set provider = "cpu".'
    )
