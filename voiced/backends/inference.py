"""What neural engines on onnxruntime have in common: sessions, how to end a run, and growth."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voiced.errors import BackendUnavailable

_SPIN_US = "50"
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "rocm": "onnxruntime-rocm",
    "openvino": "onnxruntime-openvino",
    "dml": "onnxruntime-directml",
}
_GROWTH = ((0.24, 2.5), (0.3, 2.0), (0.4, 1.5), (0.7, 1.2), (0.85, 1.1))


def growth(real_time_factor: float | None) -> float:
    """Return how many times as long as the longest before it a segment may be.

    What is heard meanwhile must last, with two fifths to spare, or less on the slowest. Those too
    grow: a phoneme of a short segment costs a tenth more than one of a long one.
    """
    factor = real_time_factor or 0
    return next((growth for most, growth in _GROWTH if factor <= most), 1.0)


def without_telemetry() -> None:
    """Turn onnxruntime's telemetry off: on by default since 1.29, and read at the import."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


class InterruptibleSession:
    """A session of onnxruntime whose runs can be ended; to others it is the session.

    A thread may begin a run while that of another one, which was told to end, does so.
    """

    def __init__(self, path: Path, *, provider: str, threads: int, cure: str) -> None:
        """Load a model, which takes a second or two and does not hold the interpreter.

        Args:
            path: The model's file.
            provider: What computes, as onnxruntime calls it without "ExecutionProvider".
            threads: With how many threads.
            cure: What to do about a file that is no model.

        Raises:
            BackendUnavailable: the file is no model, or the provider is not there.
        """
        import onnxruntime  # noqa: PLC0415  # only for neural engines

        self._new_options = onnxruntime.RunOptions
        self._own = threading.local()
        self._session = session = _load(path, provider, threads, cure)
        self._model_path = session._model_path  # noqa: SLF001  # what kokoro-onnx asks for
        self.get_inputs = session.get_inputs
        self.get_outputs = session.get_outputs
        self.get_modelmeta = session.get_modelmeta

    def renew(self) -> Callable[[], None]:
        """Return what ends this thread's runs from now on, up to its next `renew`."""
        options = self._own.options = self._new_options()
        options.log_severity_level = 4  # else each end is reported to standard error

        def end() -> None:
            options.terminate = True

        return end

    def run(self, names: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
        """Compute; raises when it is ended."""
        outputs: list[Any] = self._session.run(names, inputs, self._own.options)
        return outputs

    def input_names(self) -> set[str]:
        """Return what the model takes."""
        return {i.name for i in self.get_inputs()}


def _load(path: Path, provider: str, threads: int, cure: str) -> Any:
    import onnxruntime  # noqa: PLC0415

    onnxruntime.set_default_logger_severity(4)  # what goes wrong is raised, too
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait a moment for the next operator before they sleep save time and work; those
    # that wait for long take the others' time.
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    name = _provider(provider, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[name])
    except Exception as error:  # of kinds that its module does not export
        raise BackendUnavailable(
            f"{path.name!r} does not load as a model ({type(error).__name__}); {cure}."
        ) from error
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
