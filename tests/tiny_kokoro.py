"""Kokoro in miniature: models with its inputs and outputs, whose audio says what was asked of them.

Every frame of 600 samples is a whole number of cycles of a tone, one tone for each token id, so
that a Fourier transform of a frame says which token it belongs to; how loud it is says the style's
mean, which is the row of the voice that was taken; and a hum below it says which voice it was.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from voiced.backends.kokoro.backend import KokoroSettings
from voiced.speech import Float32

RATE = 24000  # Hz
FRAME = 600  # samples; what a duration counts
ROWS = 510  # of a voice: one for each number of tokens
STYLE = 256

PAD, SPACE = 0, 16
LOUDNESS = 0.1  # of a style whose mean is 0; the mean is added to it
ROW_STEP = 1 / 1024  # the mean of row i is (i + 1) of these
HUM_STEP = 1 / 128  # the hum of voice v is (v + 1) of these

VOICES = ("af_bella", "af_heart", "af_sky", "am_adam", "bf_emma", "bm_george", "ff_siwis")

_TOKENS = 178  # ids that Kokoro knows
_TONE = 5  # cycles in a frame of token 0, were it heard; each further token has one more
_HUM = 2  # cycles in a frame
_TURNS = 64  # nodes in a turn of the loop that burns time, each at once left when told to end


def frames_of(token: int, speed: float = 1.0) -> int:
    """Return how many frames a token lasts: 2, 4 or 6 at speed 1, and always one."""
    return max(1, round(float(_frames()[token]) / speed))


def write_tiny_kokoro(
    path: Path,
    *,
    tokens_input: Literal["tokens", "input_ids"] = "tokens",
    speed_type: DTypeLike = np.float32,
    with_durations: bool = True,
    slow_s: float = 0.0,
) -> None:
    """Write a model of a few kilobytes that runs within milliseconds.

    Inputs: tokens int64 [1, n], style float32 [1, 256], speed [1] (float32 or int32, by its type).
    Outputs: audio float32 [samples] at 24 kHz and, `with_durations`, duration int64 [n] in frames,
    which add up to the audio exactly.

    Args:
        path: Of the file.
        tokens_input: What the newer exports call the tokens differently.
        speed_type: What the older exports take as an integer.
        with_durations: The published model gives none.
        slow_s: Seconds that each token takes on one quiet core, roughly. The time goes into small
            nodes, between which a run can be told to end.
    """
    speed = helper.np_dtype_to_tensor_dtype(np.dtype(speed_type))
    graph = Graph()
    ids = graph.add("Reshape", tokens_input, graph.constant([-1], np.int64))
    audio, duration = _spoken(graph, ids, loudness=_loudness(graph, ids, slow_s))
    graph.add("Identity", audio, output="audio")
    outputs = [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["samples"])]
    if with_durations:
        graph.add("Identity", duration, output="duration")
        outputs.append(helper.make_tensor_value_info("duration", TensorProto.INT64, ["n"]))
    graph.save(
        path,
        inputs=[
            helper.make_tensor_value_info(tokens_input, TensorProto.INT64, [1, "n"]),
            helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, STYLE]),
            helper.make_tensor_value_info("speed", speed, [1]),
        ],
        outputs=outputs,
    )


def tiny_voice(number: int, rows: int = ROWS) -> Float32:
    """Return a voice, float32 [rows, 1, 256], whose rows and number can be heard and read."""
    means = (np.arange(rows, dtype=np.float32) + 1) * np.float32(ROW_STEP)
    hum = np.float32((number + 1) * HUM_STEP)
    signs = np.where(np.arange(STYLE) % 2, -1, 1).astype(np.float32)
    voice: Float32 = (means[:, None, None] + hum * signs).astype(np.float32)
    return voice


def write_tiny_voices(path: Path, names: Sequence[str] = VOICES) -> None:
    """Write an archive of voices as published: name -> float32 [510, 1, 256]."""
    voices: dict[str, Any] = {name: tiny_voice(number) for number, name in enumerate(names)}
    with path.open("wb") as file:  # given a name, numpy would end it in .npz
        np.savez(file, **voices)


@functools.cache
def tiny_settings() -> KokoroSettings:
    """Return the settings of a Kokoro backend with a tiny model, which is made once."""
    folder = Path(tempfile.mkdtemp(prefix="voiced-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model, voices = folder / "tiny.onnx", folder / "tiny.bin"
    write_tiny_kokoro(model)
    write_tiny_voices(voices)
    return KokoroSettings(type="kokoro", model_path=str(model), voices_path=str(voices))


@dataclass(frozen=True, slots=True)
class Tone:
    """A token as it is heard."""

    token: int  # `PAD` for any that is quiet
    frames: int
    row: int  # of the voice; -1 while quiet
    voice: float  # its number; between two of them for a blend, -1 while quiet


def hear(audio: Float32) -> list[Tone]:
    """Return the tokens of a model's whole output; equal neighbours are one."""
    spectrum = np.abs(np.fft.rfft(audio.reshape(-1, FRAME), axis=1)) * 2 / FRAME
    frames = [_hear_frame(frame) for frame in spectrum]
    return [Tone(token, len(list(run)), row, voice) for (token, row, voice), run in groupby(frames)]


def load(path: Path) -> Any:
    """Return an onnxruntime session for a model, on one thread and without telemetry."""
    ort = _onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _hear_frame(spectrum: NDArray[np.floating[Any]]) -> tuple[int, int, float]:
    bin_ = _TONE + 1 + int(np.argmax(spectrum[_TONE + 1 :]))
    if spectrum[bin_] < LOUDNESS / 10:
        return PAD, -1, -1.0
    row = round((float(spectrum[bin_]) - LOUDNESS) / ROW_STEP) - 1
    return bin_ - _TONE, row, round(float(spectrum[_HUM]) / HUM_STEP - 1, 2)


def _frames() -> NDArray[np.float32]:
    frames = 2 + 2 * (np.arange(_TOKENS) % 3)  # even, so that speeds 0.5 and 2 are exact
    frames[[PAD, SPACE]] = 2, 4
    return frames.astype(np.float32)


class Graph:
    """Nodes in a row, with names made up for what is between them."""

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._prefix = prefix
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{self._prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any, dtype: DTypeLike = np.float32) -> str:
        name = f"{self._prefix}constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def build(
        self,
        inputs: Iterable[onnx.ValueInfoProto],
        outputs: Iterable[onnx.ValueInfoProto],
    ) -> onnx.GraphProto:
        return helper.make_graph(
            self.nodes, "tiny", list(inputs), list(outputs), initializer=self._constants
        )

    def save(
        self,
        path: Path,
        inputs: Iterable[onnx.ValueInfoProto],
        outputs: Iterable[onnx.ValueInfoProto],
    ) -> None:
        model = helper.make_model(
            self.build(inputs, outputs),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,  # of opset 17: every onnxruntime that we take reads it
        )
        onnx.checker.check_model(model)
        onnx.save(model, path)


def _spoken(graph: Graph, ids: str, *, loudness: str) -> tuple[str, str]:
    """Add what makes the audio [samples] and the durations [n] of token ids [n]."""
    speed = graph.add("Cast", "speed", to=TensorProto.FLOAT)
    lengths = graph.add("Div", graph.add("Gather", graph.constant(_frames()), ids), speed)
    rounded = graph.add("Max", graph.add("Round", lengths), graph.constant([1.0]))
    duration = graph.add("Cast", rounded, to=TensorProto.INT64)

    # Frame f is of the token before which as many tokens have ended by f: [frames, n], summed.
    zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
    first, last = graph.constant([0], np.int64), graph.constant([1], np.int64)
    ends = graph.add("Unsqueeze", graph.add("CumSum", duration, zero), first)
    count = graph.add("ReduceSum", duration, keepdims=0)
    frames = graph.add("Unsqueeze", graph.add("Range", zero, count, one), last)
    ended = graph.add("Cast", graph.add("GreaterOrEqual", frames, ends), to=TensorProto.INT64)
    token = graph.add("Gather", ids, graph.add("ReduceSum", ended, last, keepdims=0))

    cycle = 2 * np.pi * np.arange(FRAME) / FRAME
    audible = np.ones((_TOKENS, 1))
    audible[[PAD, SPACE]] = 0
    cycles = graph.add("Gather", graph.constant(_TONE + np.arange(_TOKENS)[:, None]), token)
    tone = graph.add("Sin", graph.add("Mul", cycles, graph.constant(cycle)))
    hum = graph.add("Mul", _hum(graph), graph.constant(np.sin(_HUM * cycle)))
    voice = graph.add("Add", graph.add("Mul", tone, loudness), hum)
    heard = graph.add("Mul", voice, graph.add("Gather", graph.constant(audible), token))
    return graph.add("Reshape", heard, graph.constant([-1], np.int64)), duration


def _loudness(graph: Graph, ids: str, slow_s: float) -> str:
    mean = graph.add("ReduceMean", "style", keepdims=0)
    loudness = graph.add(
        "Clip",
        graph.add("Add", mean, graph.constant(LOUDNESS)),
        graph.constant(0.02),
        graph.constant(0.9),
    )
    if not slow_s:
        return loudness
    turns = graph.constant(max(1, round(slow_s / _turn_s())), np.int64)
    burnt = _burn(graph, graph.add("Mul", graph.add("Size", ids), turns))
    return graph.add("Add", loudness, graph.add("Mul", burnt, graph.constant(0.0)))


def _hum(graph: Graph) -> str:
    signs = np.where(np.arange(STYLE) % 2, -1, 1) / STYLE
    mean = graph.add("ReduceSum", graph.add("Mul", "style", graph.constant(signs)), keepdims=0)
    return graph.add("Clip", mean, graph.constant(0.0), graph.constant(0.3))


def _burn(graph: Graph, turns: str) -> str:
    """Add a loop of so many turns that does nothing of use; its result is a number of about 1."""
    inner = Graph("inner_")
    inner.add("Identity", "more", output="go_on")
    value = "value"
    for _ in range(_TURNS - 2):
        value = inner.add("Cos", value)
    inner.add("Identity", value, output="burnt")
    body = inner.build(
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("burnt", TensorProto.FLOAT, []),
        ],
    )
    return graph.add("Loop", turns, "", graph.constant(1.0), body=body)


@functools.cache
def _turn_s() -> float:
    """Measure how long a turn of the loop takes here: the best of a few, as cores are shared."""
    graph = Graph()
    graph.add("Identity", _burn(graph, "turns"), output="burnt")
    model = helper.make_model(
        graph.build(
            [helper.make_tensor_value_info("turns", TensorProto.INT64, [])],
            [helper.make_tensor_value_info("burnt", TensorProto.FLOAT, [])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    session = _onnxruntime().InferenceSession(model.SerializeToString())
    turns = np.array(100, np.int64)
    times = [time.perf_counter()]
    for _ in range(5):
        session.run(None, {"turns": turns})
        times.append(time.perf_counter())
    return min(after - before for before, after in pairwise(times)) / int(turns)


def _onnxruntime() -> ModuleType:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read at the import
    import onnxruntime  # noqa: PLC0415  # after the line above

    module: ModuleType = onnxruntime
    return module
