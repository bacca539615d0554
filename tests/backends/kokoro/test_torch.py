"""Kokoro by PyTorch, over a tiny `KModel`; beside the gate: `./install.sh --test --torch`."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from tiny_kokoro import STYLE, tiny_voice
from tiny_torch import (
    CONFIG,
    MODEL,
    tiny_config,
    tiny_torch_settings,
    tiny_weights,
    write_tiny_torch,
)

from voiced.backends.kokoro.backend import KokoroBackend, KokoroSettings
from voiced.backends.kokoro.torch import InferenceEndedError, TorchKokoro
from voiced.errors import BackendUnavailable
from voiced.speech import MarkKind, PcmChunk, Segment
from voiced.synthesis.lane import Lane

FRAME = 600  # samples
PHONEMES = "ɡʊd mˈɔːnɪŋ, ðɪs ɪz ɐ sˈɛntəns."


@pytest.fixture
def model() -> Iterator[TorchKokoro]:
    made = TorchKokoro(Path(tiny_torch_settings().model_path), device="cpu", threads=1)
    yield made
    made.close()


def infer(
    model: TorchKokoro,
    phonemes: str = PHONEMES,
    *,
    speed: float = 1.0,
    interrupt_by: Any = lambda _: None,
) -> Any:
    style = tiny_voice(0)[len(phonemes) - 1]
    assert style.shape == (1, STYLE)
    return model.infer(model.known(phonemes), style, speed=speed, interrupt_by=interrupt_by)


@asynccontextmanager
async def kokoro(settings: KokoroSettings | None = None) -> AsyncIterator[KokoroBackend]:
    lane = Lane()
    backend = KokoroBackend(settings or tiny_torch_settings(), lane=lane.engine())
    try:
        await backend.initialize()
        yield backend
        await backend.close()
    finally:
        await lane.close()


def segment(backend: KokoroBackend, text: str, voice: str | None = None) -> Segment:
    chosen = backend.choose_voice(voice, None)
    return Segment(0, text, 0, len(text), chosen, None, 1.0, backend.options_model())


async def spoken(backend: KokoroBackend, wanted: Segment) -> PcmChunk:
    async with aclosing(backend.generate_speech_stream(wanted)) as chunks:
        parts = [chunk async for chunk in chunks]
    samples = np.concatenate([part.samples for part in parts])
    return PcmChunk(samples, tuple(mark for part in parts for mark in part.marks))


# ---------------------------------------------------------------------------------- inferences


def test_the_edges_are_the_durations(model: TorchKokoro) -> None:
    inferred = infer(model)
    known = model.known(PHONEMES)
    made = model._model(  # the same by KModel itself
        known, torch.tensor(tiny_voice(0)[len(PHONEMES) - 1]), 1.0, return_output=True
    )
    frames = made.pred_dur.numpy()
    assert len(frames) == len(known) + 2
    assert inferred.samples.dtype == np.float32
    assert inferred.samples.shape == (frames.sum() * FRAME,)
    assert len(inferred.edges) == len(known) + 1
    assert inferred.edges[0] == frames[0] * FRAME
    assert inferred.edges[-1] == inferred.samples.size
    assert list(np.diff(inferred.edges[:-1])) == list(frames[1:-2] * FRAME)


def test_the_longest_input_is_taken(model: TorchKokoro) -> None:
    assert len(infer(model, "a" * 510).edges) == 511


def test_speed_is_the_model_s_own(model: TorchKokoro) -> None:
    slow, normal, fast = (
        infer(model, PHONEMES * 4, speed=speed).samples.size for speed in (0.5, 1.0, 2.0)
    )
    assert slow / normal == pytest.approx(2, rel=0.1)
    assert fast / normal == pytest.approx(0.5, rel=0.1)


def test_phonemes_that_it_was_not_taught_are_left_out(model: TorchKokoro) -> None:
    assert model.known("a語b🙂c") == "abc"


def test_the_same_phonemes_give_the_same_samples(model: TorchKokoro) -> None:
    first = infer(model).samples
    infer(model, "ˈʌðɚ")
    torch.rand(7)  # by somebody else
    assert np.array_equal(infer(model).samples, first)


def test_it_computes_with_the_lane_s_threads(model: TorchKokoro) -> None:
    torch.set_num_threads(2)
    infer(model)
    assert torch.get_num_threads() == 1


# ------------------------------------------------------------------------------------ the abort


def test_an_interrupt_from_another_thread_ends_the_inference_at_once(model: TorchKokoro) -> None:
    interrupts: list[Callable[[], None]] = []
    interrupted_at = []
    ran_after: list[object] = []

    def interrupt(*_: object) -> None:
        thread = Thread(target=interrupts[0])
        thread.start()
        thread.join()
        interrupted_at.append(time.perf_counter())

    decoder = model._model.decoder
    hooks = [
        decoder.encode.register_forward_hook(interrupt),
        *(part.register_forward_hook(lambda *_: ran_after.append(_)) for part in decoder.decode),
    ]
    with pytest.raises(InferenceEndedError):
        infer(model, "a" * 510, interrupt_by=interrupts.append)
    assert time.perf_counter() - interrupted_at[0] < 1  # on a busy machine, too
    assert not ran_after
    for hook in hooks:
        hook.remove()
    assert infer(model).samples.size


def test_an_interrupt_ends_no_inference_of_another_model(model: TorchKokoro) -> None:
    other = TorchKokoro(Path(tiny_torch_settings().model_path), device="cpu", threads=1)
    with pytest.raises(InferenceEndedError):
        infer(other, interrupt_by=lambda interrupt: interrupt())
    assert infer(model).samples.size


def test_an_interrupt_before_the_inference_holds(model: TorchKokoro) -> None:
    with pytest.raises(InferenceEndedError):
        infer(model, interrupt_by=lambda interrupt: interrupt())


def test_an_interrupt_that_comes_late_leaves_the_next_inference_alone(model: TorchKokoro) -> None:
    interrupts: list[Callable[[], None]] = []
    infer(model, interrupt_by=interrupts.append)
    assert infer(model, interrupt_by=lambda _: interrupts[0]()).samples.size


# ---------------------------------------------------------------------------------- the backend


async def test_voices_of_pytorch_and_their_blends_speak() -> None:
    async with kokoro() as backend:
        assert [voice.id for voice in backend.voices()] == ["af_bella", "af_heart", "af_sky"]
        heard = [
            (await spoken(backend, segment(backend, "Good morning.", name))).samples
            for name in ("af_bella", "af_sky", "af_bella+af_sky")
        ]
        assert not np.array_equal(heard[0], heard[1])
        assert not np.array_equal(heard[0], heard[2])


async def test_words_are_marked() -> None:
    text = "It is 20.5 now."
    async with kokoro() as backend:
        assert {voice.marks for voice in backend.voices()} == {MarkKind.WORD}
        heard = await spoken(backend, segment(backend, text))
        assert [text[mark.start : mark.end] for mark in heard.marks] == ["It", "is", "20.5", "now"]


async def test_the_backend_s_speed_is_the_model_s() -> None:
    async with kokoro() as backend:
        wanted = segment(backend, "This is a sentence of some length.")
        normal = (await spoken(backend, wanted)).samples.size
        fast = (await spoken(backend, replace(wanted, speed=2.0))).samples.size
        assert fast / normal == pytest.approx(0.5, rel=0.1)


# ------------------------------------------------------------------------------------ bad files


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def without(part: str, name: str = "") -> Callable[[Path], None]:
    """Write the weights less a part, or less one weight of it."""

    def write(path: Path) -> None:
        weights = {key: dict(value) for key, value in tiny_weights().items()}
        if name:
            del weights[part][name]
        else:
            del weights[part]
        torch.save(weights, path)

    return write


def changed(part: str, name: str, value: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        weights = {key: dict(value) for key, value in tiny_weights().items()}
        weights[part][name] = value
        torch.save(weights, path)

    return write


def config(**values: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({**tiny_config(), **values}))


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        (MODEL, Path.unlink, "no file 'tiny.pth' where model_path says"),
        (MODEL, lambda path: path.write_bytes(b""), "does not load"),
        (MODEL, lambda path: path.write_bytes(b"PK\x03\x04 and so on"), "does not load"),
        (MODEL, cut, "does not load"),
        (MODEL, lambda path: torch.save([1, 2], path), "is not Kokoro"),
        (MODEL, lambda path: torch.save({"bert": 1}, path), "is not Kokoro"),
        (MODEL, without("decoder"), "has no 'decoder'"),
        (MODEL, without("predictor", "module.F0_proj.weight"), "lacks 1 of its weights"),
        (MODEL, changed("predictor", "module.F0_proj.weight", torch.zeros(3)), "does not fit"),
        (MODEL, changed("predictor", "module.F0_proj.weight", 3), "does not fit"),
        (CONFIG, Path.unlink, "no file 'config.json' where model_path says"),
        (CONFIG, lambda path: path.write_bytes(b"{"), "cannot be read"),
        (CONFIG, lambda path: path.write_bytes(b"\xff\xfe{"), "cannot be read"),
        (CONFIG, lambda path: path.write_text("[]"), "describes no Kokoro"),
        (CONFIG, lambda path: path.write_text("{}"), "describes no Kokoro"),
        (CONFIG, config(n_layer="many"), "describes no Kokoro"),
        (CONFIG, config(n_layer=2), "lacks"),
        (CONFIG, config(n_token=100), "does not fit"),
        (
            CONFIG,
            config(plbert={**tiny_config()["plbert"], "max_position_embeddings": 100}),
            "for 100 tokens",
        ),
    ],
)
async def test_a_file_that_is_not_kokoro_s_is_named_with_the_cure(
    tmp_path: Path, name: str, damage: Callable[[Path], object], problem: str
) -> None:
    settings = write_tiny_torch(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(BackendUnavailable, match=problem) as caught:
        async with kokoro(settings):
            pass
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
async def test_nothing_is_unpickled(tmp_path: Path, save: Callable[[object, Path], object]) -> None:
    settings = write_tiny_torch(tmp_path)
    trace = tmp_path / "trace"
    save({**tiny_weights(), "more": Evil(trace)}, tmp_path / MODEL)
    with pytest.raises(BackendUnavailable, match="does not load"):
        async with kokoro(settings):
            pass
    assert not trace.exists()


def test_weights_may_be_named_without_the_prefix_of_the_published_ones(tmp_path: Path) -> None:
    write_tiny_torch(tmp_path)
    bare = {
        part: {name.removeprefix("module."): value for name, value in weights.items()}
        for part, weights in tiny_weights().items()
    }
    torch.save(bare, tmp_path / MODEL)
    assert infer(TorchKokoro(tmp_path / MODEL, device="cpu", threads=1)).samples.size


# ------------------------------------------------------------------------ settings and packages


def test_the_files_have_to_be_named() -> None:
    lack = KokoroBackend.missing(KokoroSettings(type="kokoro", runtime="torch"))
    assert lack is not None
    assert "model_path" in lack
    assert CONFIG in lack


def test_with_its_files_nothing_is_missing() -> None:
    assert KokoroBackend.missing(tiny_torch_settings()) is None


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "xla"])
async def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    settings = tiny_torch_settings().model_copy(update={"device": device})
    with pytest.raises(BackendUnavailable, match=f'no device {device!r}.*device = "cpu"'):
        async with kokoro(settings):
            pass


@pytest.mark.parametrize("name", ["transformers", "loguru", "huggingface_hub", "attr", "kokoro"])
async def test_a_package_that_is_missing_is_named_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    cure = "pip install --no-deps kokoro" if name == "kokoro" else "pip install 'voiced\\[torch\\]'"
    with pytest.raises(BackendUnavailable, match=f"{name} is not installed.*{cure}"):
        async with kokoro():
            pass


def test_nothing_is_downloaded_or_said_and_the_package_s_own_code_does_not_run() -> None:
    program = f"""
import os, sys
os.environ.pop("HF_HUB_OFFLINE", None)
def watch(event, arguments):
    if event == "import" and arguments[0] == "huggingface_hub":
        assert os.environ.get("HF_HUB_OFFLINE") == "1"
    if event in {{"socket.connect", "socket.getaddrinfo", "socket.sendto"}}:
        os._exit(77)
sys.addaudithook(watch)
from pathlib import Path
import numpy
from voiced.backends.kokoro.torch import TorchKokoro
model = TorchKokoro(Path({tiny_torch_settings().model_path!r}), device="cpu", threads=1)
style = numpy.zeros((1, 256), numpy.float32)
made = model.infer("abc", style, speed=1.0, interrupt_by=lambda _: None)
print(made.samples.size > 0, "huggingface_hub" in sys.modules)
print([name for name in ("kokoro", "kokoro.pipeline", "misaki", "spacy") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.split("\n") == ["True True", "[]", ""]
