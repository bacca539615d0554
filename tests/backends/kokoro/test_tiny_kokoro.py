"""The miniature models are what the tests of the real backend believe of them."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_kokoro
from numpy.typing import DTypeLike
from tiny_kokoro import FRAME, PAD, RATE, SPACE, frames_of, hear, tiny_voice

from voiced.backends.espeak.files import EspeakFiles
from voiced.speech import Float32

TOKENS = [PAD, 43, 44, SPACE, 45, 177, 1, PAD]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tiny")
    tiny_kokoro.write_tiny_kokoro(made / "timed.onnx")
    tiny_kokoro.write_tiny_kokoro(made / "plain.onnx", with_durations=False)
    tiny_kokoro.write_tiny_kokoro(
        made / "whole.onnx", tokens_input="input_ids", speed_type=np.int32
    )
    tiny_kokoro.write_tiny_voices(made / "voices.bin")
    return made


def run(
    session: Any,
    tokens: list[int] | None = None,
    *,
    style: Float32 | None = None,
    speed: float = 1.0,
    speed_type: DTypeLike = np.float32,
    options: Any = None,
) -> list[Any]:
    name = session.get_inputs()[0].name
    inputs = {
        name: np.array([tokens or TOKENS], np.int64),
        "style": tiny_voice(0)[0] if style is None else style,
        "speed": np.array([speed], speed_type),
    }
    outputs: list[Any] = session.run(None, inputs, options)
    return outputs


def test_inputs_and_outputs_are_those_of_kokoro(folder: Path) -> None:
    timed = tiny_kokoro.load(folder / "timed.onnx")
    whole = tiny_kokoro.load(folder / "whole.onnx")
    plain = tiny_kokoro.load(folder / "plain.onnx")
    assert [(i.name, i.type) for i in timed.get_inputs()] == [
        ("tokens", "tensor(int64)"),
        ("style", "tensor(float)"),
        ("speed", "tensor(float)"),
    ]
    assert [(i.name, i.type) for i in whole.get_inputs()] == [
        ("input_ids", "tensor(int64)"),
        ("style", "tensor(float)"),
        ("speed", "tensor(int32)"),
    ]
    assert [o.name for o in timed.get_outputs()] == ["audio", "duration"]
    assert [o.name for o in plain.get_outputs()] == ["audio"]


@pytest.mark.parametrize("speed", [0.5, 0.7, 1.0, 1.3, 2.0])
def test_durations_add_up_to_the_audio(folder: Path, speed: float) -> None:
    audio, duration = run(tiny_kokoro.load(folder / "timed.onnx"), speed=speed)
    assert audio.dtype == np.float32
    assert duration.dtype == np.int64
    assert list(duration) == [frames_of(token, speed) for token in TOKENS]
    assert audio.shape == (duration.sum() * FRAME,)


def test_the_same_input_has_the_same_samples(folder: Path) -> None:
    session = tiny_kokoro.load(folder / "timed.onnx")
    first, _ = run(session)
    run(session, [PAD, 100, PAD])
    again, _ = run(session)
    assert np.array_equal(first, again)
    other, _ = run(session, [PAD, *reversed(TOKENS[1:-1]), PAD])
    assert not np.array_equal(first, other)


def test_each_token_is_heard_in_its_place(folder: Path) -> None:
    audio, duration = run(tiny_kokoro.load(folder / "timed.onnx"), style=tiny_voice(3)[200])
    heard = hear(audio)
    assert [tone.token for tone in heard] == [PAD, 43, 44, PAD, 45, 177, 1, PAD]
    assert [tone.frames for tone in heard] == list(duration)
    assert {(tone.row, tone.voice) for tone in heard} == {(-1, -1.0), (200, 3.0)}
    assert np.abs(audio).max() < 1


def test_every_token_can_be_told_from_every_other(folder: Path) -> None:
    tokens = [token for token in range(178) if token not in {PAD, SPACE}]
    audio, _ = run(tiny_kokoro.load(folder / "timed.onnx"), tokens)
    assert [tone.token for tone in hear(audio)] == tokens


@pytest.mark.parametrize("row", [0, 1, 254, 508, 509])
def test_the_row_and_the_voice_are_heard(folder: Path, row: int) -> None:
    session = tiny_kokoro.load(folder / "timed.onnx")
    for voice in (0, 6, 11):
        audio, _ = run(session, [50], style=tiny_voice(voice)[row])
        assert [(tone.row, tone.voice) for tone in hear(audio)] == [(row, voice)]


def test_twice_the_speed_takes_half_the_time_with_either_type(folder: Path) -> None:
    timed = tiny_kokoro.load(folder / "timed.onnx")
    whole = tiny_kokoro.load(folder / "whole.onnx")
    normal, _ = run(timed)
    assert run(timed, speed=2.0)[0].size * 2 == normal.size
    assert run(timed, speed=0.5)[0].size == normal.size * 2
    assert run(whole, speed=2, speed_type=np.int32)[0].size * 2 == normal.size


def test_a_pad_and_a_space_are_silent(folder: Path) -> None:
    audio, _ = run(tiny_kokoro.load(folder / "timed.onnx"), [PAD, SPACE, PAD])
    assert audio.size
    assert not audio.any()


@pytest.mark.parametrize("model", ["timed.onnx", "plain.onnx", "whole.onnx"])
def test_kokoro_onnx_speaks_with_it(folder: Path, tmp_path: Path, model: str) -> None:
    session = tiny_kokoro.load(folder / model)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    from kokoro_onnx import Kokoro  # noqa: PLC0415  # after that line: it imports onnxruntime
    from kokoro_onnx.config import EspeakConfig  # noqa: PLC0415  # as above

    # It keeps the library loaded for good, and espeak's backend needs to load its own anew.
    library = EspeakFiles.find({}).library
    shutil.copy(library, tmp_path)
    config = EspeakConfig(lib_path=str(tmp_path / library.name))
    kokoro = Kokoro.from_session(session, str(folder / "voices.bin"), espeak_config=config)
    audio, rate, timings = kokoro.create_timed(
        "aɪ noʊ", "af_sky", speed=2.0, is_phonemes=True, trim=False
    )
    vocabulary = kokoro.tokenizer.vocab
    assert rate == RATE
    tokens = [vocabulary[phoneme] if phoneme != " " else PAD for phoneme in "aɪ noʊ"]
    heard = hear(audio)
    assert [tone.token for tone in heard] == [PAD, *tokens, PAD]
    assert {(tone.row, tone.voice) for tone in heard if tone.token != PAD} == {(5, 2.0)}
    assert len(timings) == (0 if model == "plain.onnx" else 6)


def test_voices_have_the_published_shape(folder: Path) -> None:
    with np.load(folder / "voices.bin") as voices:
        assert tuple(voices) == tiny_kokoro.VOICES
        for number, name in enumerate(voices):
            assert voices[name].shape == (510, 1, 256)
            assert voices[name].dtype == np.float32
            assert np.array_equal(voices[name], tiny_voice(number))


def test_a_slow_one_says_the_same_and_takes_its_time(folder: Path, tmp_path: Path) -> None:
    tiny_kokoro.write_tiny_kokoro(tmp_path / "slow.onnx", slow_s=0.01)
    slow = tiny_kokoro.load(tmp_path / "slow.onnx")
    began = time.perf_counter()
    audio, _ = run(slow, TOKENS * 2)
    took_s = time.perf_counter() - began
    assert took_s > 0.16 / 3  # the clock of a shared machine is no better
    assert np.array_equal(audio, run(tiny_kokoro.load(folder / "timed.onnx"), TOKENS * 2)[0])


def test_a_slow_one_can_be_aborted_and_works_again(tmp_path: Path) -> None:
    tiny_kokoro.write_tiny_kokoro(tmp_path / "slow.onnx", slow_s=0.1)
    session = tiny_kokoro.load(tmp_path / "slow.onnx")
    options = _quiet_options()
    asked_at: list[float] = []

    def abort() -> None:
        asked_at.append(time.perf_counter())
        options.terminate = True

    timer = threading.Timer(0.1, abort)
    timer.start()
    with pytest.raises(Exception, match="terminate flag"):
        run(session, TOKENS * 100, options=options)  # 80 s
    took_s = time.perf_counter() - asked_at[0]
    timer.join()
    assert took_s < 0.5  # below 1 ms on a quiet machine
    assert run(session, [SPACE])[0].size == frames_of(SPACE) * FRAME


def _quiet_options() -> Any:
    import onnxruntime  # noqa: PLC0415  # after tiny_kokoro has switched its telemetry off

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # it logs an abort as an error
    return options
