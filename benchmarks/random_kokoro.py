"""A Kokoro of full size with random weights: it costs what the real one does, and speaks noise.

    python benchmarks/random_kokoro.py FOLDER

Writes FOLDER/kokoro.onnx (fp32, 325 MB) and FOLDER/voices.bin, in some seconds. The file
`kokoro_graph/graph.onnx` is the graph of Kokoro v1.0 with its 82 million weights left out; for each
of them it says by which mean and deviation it is to be drawn. Unlike the published export it tells
durations, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

_GRAPH = Path(__file__).parent / "kokoro_graph" / "graph.onnx"
_VOICES = ("af_heart", "af_bella", "af_sky", "am_adam", "bf_emma", "ff_siwis")
_NOTE = "random_weights"  # in the graph's metadata


def make(folder: Path) -> tuple[Path, Path]:
    """Make both files where they are not there yet; return the model and the voices."""
    model, voices = folder / "kokoro.onnx", folder / "voices.bin"
    if model.exists() and voices.exists():
        return model, voices
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    with voices.open("wb") as file:
        styles = {n: 0.1 * chance.standard_normal((510, 1, 256), np.float32) for n in _VOICES}
        np.savez(file, **styles)  # type: ignore[arg-type]
    graph = onnx.load(_GRAPH)
    (note,) = (entry for entry in graph.metadata_props if entry.key == _NOTE)
    wanted = json.loads(note.value)
    graph.metadata_props.remove(note)
    for weights in graph.graph.initializer:
        if drawn := wanted.get(weights.name):
            values = chance.standard_normal(drawn["shape"], np.float32)
            values = values * np.float32(drawn["std"]) + np.float32(drawn["mean"])
            weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    part = model.with_suffix(".part")
    onnx.save(graph, part)
    part.rename(model)
    return model, voices


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(*make(Path(sys.argv[1])))
