"""Kokoro by PyTorch: `KModel` of the package `kokoro`, a drop-in for the ONNX exports.

The package is installed without its dependencies, and its `__init__` is never run: that imports
`misaki`, which brings spaCy and downloads a language model, and it takes loguru over for the whole
process. `KModel` itself needs what the extra `torch` has.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np

from voiced.backends.base import InterruptBy
from voiced.backends.kokoro.model import Inferred
from voiced.backends.kokoro.torch_files import load_model
from voiced.errors import BackendUnavailable
from voiced.speech import Float32

_EXTRA = "pip install 'voiced[torch]'"
_CURES = {
    "torch": _EXTRA,
    "transformers": _EXTRA,
    "huggingface_hub": _EXTRA,
    "loguru": _EXTRA,
    "attr": _EXTRA,
    "kokoro": "pip install --no-deps kokoro",
}
"""What `KModel` imports, and how to get it."""

_SEED = 0  # of the noise that is part of every voice: the same text sounds the same
_importing = Lock()


class InferenceEndedError(Exception):
    """An inference was interrupted."""


def missing_package() -> str | None:
    """Say in a sentence which package is missing, and the cure; None for none."""
    lacking = [name for name in _CURES if find_spec(name) is None]
    if not lacking:
        return None
    cures = " and ".join(dict.fromkeys(f"`{_CURES[name]}`" for name in lacking))
    return f"{lacking[0]} is not installed, which Kokoro by PyTorch needs; run {cures}."


def import_packages() -> Any:
    """Import PyTorch and Hugging Face's transformers, and return the class `KModel`.

    Importing takes seconds, and holds the interpreter for most of them.

    Raises:
        BackendUnavailable: they are not installed, or do not import.
    """
    if lack := missing_package():
        raise BackendUnavailable(lack)
    os.environ["HF_HUB_OFFLINE"] = "1"  # read at the import; nothing here is to be downloaded
    try:
        with _importing:
            _be_quiet()
            return _import_kmodel()
    except ImportError as error:
        raise BackendUnavailable(
            f"Kokoro by PyTorch does not import ({error.name}); run `{_EXTRA}` and "
            f"`{_CURES['kokoro']}` again."
        ) from error


def _be_quiet() -> None:
    from loguru import logger  # noqa: PLC0415  # only for Kokoro

    logger.disable("kokoro")  # it tells the phonemes that it reads
    # Both are about how KModel is written.
    for category, module in ((FutureWarning, "utils.weight_norm"), (UserWarning, "modules.rnn")):
        warnings.filterwarnings("ignore", category=category, module=rf"torch\.nn\.{module}")


def _import_kmodel() -> Any:
    """Import `kokoro.model` out of a package whose own code does not run.

    The empty package does not stay: others who import `kokoro` get the whole of it.
    """
    if "kokoro.model" not in sys.modules:
        spec = find_spec("kokoro")
        assert spec is not None
        sys.modules["kokoro"] = module_from_spec(spec)
        try:
            importlib.import_module("kokoro.model")
        finally:
            del sys.modules["kokoro"]
    return sys.modules["kokoro.model"].KModel


class TorchKokoro:
    """A published `.pth`, which has its `config.json` beside it."""

    has_durations = True
    takes_any_speed = True

    def __init__(self, path: Path, *, device: str, threads: int) -> None:
        """Load the model, which takes some seconds. Nothing is unpickled, nothing is downloaded.

        Raises:
            BackendUnavailable: a package is missing, a file is not Kokoro's, or the device is not
                there.
        """
        kind = import_packages()
        import torch  # noqa: PLC0415  # only for Kokoro

        self._torch = torch
        self._threads = threads
        place = _device(device)
        self._model = load_model(kind, path).to(place).eval()

    def known(self, phonemes: str) -> str:
        """Return the phonemes that it was taught."""
        return "".join(phoneme for phoneme in phonemes if phoneme in self._model.vocab)

    def infer(
        self,
        phonemes: str,
        style: Float32,
        *,
        speed: float,
        interrupt_by: InterruptBy,
    ) -> Inferred:
        """Speak; see `KokoroModel`.

        An interrupted inference ends before the next of its some 2400 operations. Of 90 phonemes,
        which take 5 s on one thread, it ended after 16 ms in the mean and 58 ms at most; the
        longest operations took 120 ms.

        Raises:
            InferenceEndedError: it was interrupted.
        """
        ended = Event()  # of its own: one that comes late does not end the next inference
        interrupt_by(ended.set)
        self._torch.set_num_threads(self._threads)  # of this thread, the lane's
        self._torch.manual_seed(_SEED)
        with self._torch.inference_mode(), _ending(ended):
            made = self._model(phonemes, self._torch.tensor(style), speed, return_output=True)
        samples: Float32 = made.audio.numpy()
        return Inferred(samples, _edges(made.pred_dur.numpy(), samples.size))

    def close(self) -> None:
        """Let go of the model's memory."""
        del self._model


def _ending(ended: Event) -> Any:
    """Return a context in which PyTorch's operations raise once `ended` is set, on this thread.

    Hooks on the modules would be simpler, but models share some of these, across threads.
    """
    from torch.overrides import TorchFunctionMode  # noqa: PLC0415  # only for Kokoro

    class Ending(TorchFunctionMode):  # type: ignore[misc]  # it has no types in the gate
        def __torch_function__(
            self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if ended.is_set():
                raise InferenceEndedError
            return function(*args, **(kwargs or {}))

    return Ending()


def _edges(frames: Any, size: int) -> list[int]:
    """Return where each phoneme begins, and the audio's end, from the frames of each token.

    There is a token more at each end: the pads.
    """
    ends = np.cumsum(frames)
    return [*(int(end) * size // int(ends[-1]) for end in ends[:-2]), size]


def _device(name: str) -> Any:
    import torch  # noqa: PLC0415

    try:
        return torch.zeros(0, device=name).device
    except Exception as error:  # each device refuses in its own way
        raise BackendUnavailable(
            f"PyTorch has no device {name[:64]!r} on this machine; check its driver and that this "
            'build of PyTorch is made for it, or set device = "cpu".'
        ) from error
