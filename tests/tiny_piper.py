"""Piper in miniature: voices with its inputs and outputs, whose audio says what was asked of them.

Each phoneme id is a tone of 512 samples at length scale 1; the speaker is how loud it is.
"""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tiny_kokoro import Graph

from voiced.backends.piper.backend import PiperSettings
from voiced.speech import Float32

RATE = 22050
FRAME = 512  # samples
VOICE = "en_US-tiny-low"
CHORUS = "de_DE-chorus-medium"
SPEAKERS = {"anna": 0, "03": 1}

_SYMBOLS = (
    "_^$ .,?!;:'abcdefghijklmnopqrstuvwxyzæçðøŋœɐɑɒɔɕəɚɛɜɡɣħɪɫɬɭɲɹɾʁʃʊʌʎʏʒʔˈˌːβθᵻ"
    "123456789\u0303\u0329"
)
IDS = {symbol: [number] for number, symbol in enumerate(_SYMBOLS)}


def write_tiny_piper(
    folder: Path,
    voice: str = VOICE,
    *,
    speakers: Sequence[str] = (),
    noise: float = 0.0,
    **changes: Any,
) -> Path:
    """Write a voice's model and its configuration; return the model's path.

    Inputs: input int64 [1, n], input_lengths int64 [1], scales float32 [3], and sid int64 [1] where
    it has several speakers. Output: audio float32 [1, 1, 1, samples].
    """
    graph = Graph()
    ids = graph.add("Reshape", "input", graph.constant([-1], np.int64))
    length_scale = graph.add("Gather", "scales", graph.constant(1, np.int64))
    size = graph.add("Mul", length_scale, graph.constant(FRAME))
    size = graph.add("Cast", graph.add("Round", size), to=TensorProto.INT64)
    end = graph.add("Cast", size, to=TensorProto.FLOAT)
    time = graph.add("Range", graph.constant(0.0), end, graph.constant(1.0))
    time = graph.add("Mul", time, graph.constant(2 * np.pi))
    time = graph.add("Div", time, end)
    cycles = graph.add("Cast", ids, to=TensorProto.FLOAT)
    cycles = graph.add("Unsqueeze", cycles, graph.constant([1], np.int64))
    audio = graph.add("Sin", graph.add("Mul", cycles, time))  # [n, frame]
    loudness = graph.constant(0.2)
    if speakers:
        sid = graph.add("Cast", "sid", to=TensorProto.FLOAT)
        loudness = graph.add("Add", graph.add("Mul", sid, graph.constant(0.1)), loudness)
    audio = graph.add("Mul", audio, loudness)
    random = graph.add("RandomNormalLike", audio)
    noise_scale = graph.add("Gather", "scales", graph.constant(0, np.int64))
    audio = graph.add("Add", audio, graph.add("Mul", random, noise_scale))
    graph.add("Reshape", audio, graph.constant([1, 1, 1, -1], np.int64), output="output")
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "n"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
    path = folder / f"{voice}.onnx"
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, 1, "samples"])
    graph.save(path, inputs=inputs, outputs=[output])
    code = voice.partition("-")[0]
    config: dict[str, Any] = {
        "audio": {"sample_rate": RATE, "quality": "low"},
        "espeak": {"voice": code.partition("_")[0] if code != "en_US" else "en-us"},
        "language": {"code": code},
        "phoneme_type": "espeak",
        "inference": {"noise_scale": noise, "length_scale": 1, "noise_w": 0.8},
        "phoneme_id_map": IDS,
        "num_symbols": 256,
        "num_speakers": max(1, len(speakers)),
        "speaker_id_map": {name: number for number, name in enumerate(speakers)},
    }
    text = json.dumps(config | changes, ensure_ascii=False)
    path.with_name(f"{path.name}.json").write_text(text, "utf-8")
    return path


@functools.cache
def tiny_piper_settings() -> PiperSettings:
    """Return the settings of a Piper backend with two tiny voices, which are made once."""
    folder = Path(tempfile.mkdtemp(prefix="voiced-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_tiny_piper(folder)
    write_tiny_piper(folder, CHORUS, speakers=list(SPEAKERS))
    return PiperSettings(type="piper", voices_path=str(folder), voice=VOICE)


def hear(audio: Float32, frame: int = FRAME) -> str:
    """Return the symbols of a voice's output, without those between them."""
    spectrum = np.abs(np.fft.rfft(audio[: audio.size // frame * frame].reshape(-1, frame), axis=1))
    loudest = np.where(spectrum.max(axis=1) > frame / 100, spectrum.argmax(axis=1), 0)
    return "".join(_SYMBOLS[number] for number in loudest).replace("_", "").strip("^$")
