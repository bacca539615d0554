"""Kokoro by PyTorch in miniature: a `KModel` with random weights that mumbles, and voices for it.

`KModel` has some 30 million weights of fixed dimensions; the rest is as small as it can be.
"""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from tiny_kokoro import VOICES, tiny_voice

from voiced.backends.kokoro.backend import KokoroSettings
from voiced.backends.kokoro.torch import import_packages

MODEL, CONFIG, VOICES_FOLDER = "tiny.pth", "config.json", "voices"


def tiny_config() -> dict[str, Any]:
    """Return what `config.json` holds; the phonemes are the published ones."""
    published = json.loads(files("kokoro_onnx").joinpath("config.json").read_text("utf-8"))
    return {
        "hidden_dim": 512,  # fixed in KModel
        "style_dim": 128,  # likewise
        "n_token": 178,
        "n_layer": 1,
        "n_mels": 80,
        "dropout": 0.0,
        "text_encoder_kernel_size": 5,
        "max_dur": 8,  # frames of a token at the most, and half of it in the mean
        "istftnet": {
            "upsample_rates": [2, 3, 2, 5],  # more steps than the published two: half the work
            "upsample_kernel_sizes": [4, 5, 4, 9],
            "upsample_initial_channel": 512,  # fixed, too
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3, 5]],
            "gen_istft_n_fft": 20,
            "gen_istft_hop_size": 5,
        },
        "plbert": {
            "hidden_size": 16,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "max_position_embeddings": 512,
            "num_hidden_layers": 1,
        },
        "vocab": published["vocab"],
    }


@functools.cache
def tiny_weights() -> Mapping[str, Mapping[str, torch.Tensor]]:
    """Return random weights, named and left out as the published ones are."""
    nothing = BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    kind = import_packages()
    torch.manual_seed(1)
    model = kind(repo_id="none", config=tiny_config(), model=nothing)
    return {
        part: {
            f"module.{name}": value.half()  # half the file
            for name, value in module.state_dict().items()
            if ".norm." not in name
        }
        for part, module in model.named_children()
    }


def write_tiny_torch(folder: Path) -> KokoroSettings:
    """Write a model of 60 MB, its config and its voices, and return the settings for it."""
    torch.save(tiny_weights(), folder / MODEL)
    (folder / CONFIG).write_text(json.dumps(tiny_config()))
    (folder / VOICES_FOLDER).mkdir()
    for number, name in enumerate(VOICES[:3]):
        torch.save(torch.tensor(tiny_voice(number)), folder / VOICES_FOLDER / f"{name}.pt")
    return KokoroSettings(
        type="kokoro",
        runtime="torch",
        model_path=str(folder / MODEL),
        voices_path=str(folder / VOICES_FOLDER),
    )


@functools.cache
def tiny_torch_settings() -> KokoroSettings:
    """Return the settings of a Kokoro backend with a tiny model, which is made once."""
    folder = Path(tempfile.mkdtemp(prefix="voiced-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_tiny_torch(folder)
