"""Reads a `KModel` from its `.pth` and `config.json`, and refuses any that is not whole.

`KModel` can load them itself, but takes whatever fits of a file, and speaks noise with the rest;
without a file it downloads one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from voiced.backends.kokoro.model import MOST_TOKENS
from voiced.errors import BackendUnavailable

CONFIG = "config.json"
"""What says a model's dimensions and phonemes; it stands beside the model's file."""

_CURE = "fetch it again from its publisher, or correct model_path"
_SPARE = re.compile(r"(.*\.)?norm\.(weight|bias)|pooler\..*")
"""Parameters that a file may lack: those of the norms, which `KModel` has for the export to ONNX
and which change nothing, and those of an output that it does not use."""


def load_model(kind: Any, path: Path) -> Any:
    """Make a model of the class `KModel`, float32, and fill it from a file.

    Raises:
        BackendUnavailable: one of the files is not there, is damaged, or is not Kokoro's.
    """
    config = _read_config(path.with_name(CONFIG))
    weights = _read_weights(path)
    model = _make(kind, config)
    _fill(model, weights, path.name)
    return model


def _read_config(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BackendUnavailable(
            f"There is no {CONFIG!r} beside the file that model_path names; put the model's there."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BackendUnavailable(
            f"{CONFIG!r} cannot be read ({type(error).__name__}); put the model's beside it again."
        ) from error


def _read_weights(path: Path) -> Any:
    import torch  # noqa: PLC0415  # only for Kokoro

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises what it likes of a file that is none of its own
        raise BackendUnavailable(
            f"{path.name!r} does not load as a model ({type(error).__name__}); {_CURE}."
        ) from error


def _make(kind: Any, config: Any) -> Any:
    import torch  # noqa: PLC0415

    nothing = BytesIO()  # where KModel wants a file of weights
    torch.save({}, nothing)
    nothing.seek(0)
    try:
        model = kind(repo_id="none", config=config, model=nothing)
    except Exception as error:  # whatever a wrong key or dimension leads to
        raise BackendUnavailable(
            f"{CONFIG!r} describes no Kokoro ({type(error).__name__}); put that of the model there."
        ) from error
    if model.context_length < MOST_TOKENS + 2:
        raise BackendUnavailable(
            f"{CONFIG!r} describes a model for {model.context_length} tokens, and Kokoro has "
            f"{MOST_TOKENS + 2}; put that of the model there."
        )
    return model


def _fill(model: Any, weights: Any, name: str) -> None:
    for part, module in model.named_children():
        given = weights.get(part) if isinstance(weights, Mapping) else None
        if not isinstance(given, Mapping):
            raise BackendUnavailable(f"{name!r} has no {part!r}, so it is not Kokoro; {_CURE}.")
        # Published weights were kept as those of a model that was trained on several devices.
        given = {str(key).removeprefix("module."): value for key, value in given.items()}
        try:
            lacking = module.load_state_dict(given, strict=False).missing_keys
        except RuntimeError as error:  # other dimensions
            raise BackendUnavailable(
                f"The {part!r} in {name!r} does not fit what {CONFIG!r} says; {_CURE}."
            ) from error
        lacking = [key for key in lacking if not _SPARE.fullmatch(key)]
        if lacking:
            raise BackendUnavailable(
                f"The {part!r} in {name!r} lacks {len(lacking)} of its weights; {_CURE}."
            )
