"""The backend over a tiny model, whose audio says which tokens and style it was asked for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from support import INSTALLED, eventually, request, running_manager, speak
from tiny_kokoro import (
    VOICES,
    frames_of,
    hear,
    tiny_settings,
    write_tiny_kokoro,
    write_tiny_voices,
)

from voiced.backends.inference import growth
from voiced.backends.kokoro.backend import KokoroBackend, KokoroSettings
from voiced.errors import BackendUnavailable, VoiceNotFound
from voiced.request import BackendState, OpenAISpeechRequest, Plan
from voiced.speech import AudioFormat, MarkKind, PcmChunk, Segment, Words
from voiced.synthesis.catalogue import SpeechDefaults
from voiced.synthesis.lane import Lane
from voiced.synthesis.manager import TTSBackendManager

FRAME = 600
TEXT = "Good morning, this is a sentence of some length."


@asynccontextmanager
async def kokoro(settings: KokoroSettings | None = None) -> AsyncIterator[KokoroBackend]:
    lane = Lane()
    backend = KokoroBackend(settings or tiny_settings(), lane=lane.engine())
    try:
        await backend.initialize()
        yield backend
        await backend.close()
    finally:
        await lane.close()


def segment(backend: KokoroBackend, text: str = TEXT, voice: str | None = None) -> Segment:
    chosen = backend.choose_voice(voice, None)
    return Segment(0, text, 0, len(text), chosen, None, 1.0, backend.options_model())


async def spoken(backend: KokoroBackend, wanted: Segment) -> PcmChunk:
    async with aclosing(backend.generate_speech_stream(wanted)) as chunks:
        parts = [chunk async for chunk in chunks]
    samples = np.concatenate([np.zeros(0, np.float32), *(part.samples for part in parts)])
    return PcmChunk(samples, tuple(mark for part in parts for mark in part.marks))


def exports(folder: Path, **model: object) -> KokoroSettings:
    paths = folder / "model.onnx", folder / "voices.bin"
    write_tiny_kokoro(paths[0], **model)  # type: ignore[arg-type]
    write_tiny_voices(paths[1], VOICES[:3])
    return KokoroSettings(type="kokoro", model_path=str(paths[0]), voices_path=str(paths[1]))


# ----------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("tokens_input", ["tokens", "input_ids"])
@pytest.mark.parametrize("with_durations", [True, False])
async def test_both_exports_speak(
    tmp_path: Path, tokens_input: str, *, with_durations: bool
) -> None:
    settings = exports(tmp_path, tokens_input=tokens_input, with_durations=with_durations)
    async with kokoro() as backend, kokoro(settings) as other:
        expected = await spoken(backend, segment(backend))
        heard = await spoken(other, segment(other))
        assert np.array_equal(heard.samples, expected.samples)
        kind = MarkKind.WORD if with_durations else MarkKind.SEGMENT
        assert {voice.marks for voice in other.voices()} == {kind}
        assert heard.marks == (expected.marks if with_durations else ())


async def test_an_export_with_whole_speeds_is_stretched(tmp_path: Path) -> None:
    settings = exports(tmp_path, speed_type=np.int32)
    async with running_manager({"kokoro": KokoroBackend}, settings={"tiny": settings}) as manager:
        _, normal = await speak(manager, TEXT, model="tiny")
        _, slow = await speak(manager, TEXT, model="tiny", speed=0.5)
        assert len(slow) / len(normal) == pytest.approx(2, rel=0.1)


async def test_the_engine_s_own_speed(tmp_path: Path) -> None:
    async with kokoro() as backend:
        normal = await spoken(backend, segment(backend))
        double = await spoken(backend, replace(segment(backend), speed=2.0))
        assert normal.samples.size == 2 * double.samples.size


async def test_words_are_marked_where_they_begin() -> None:
    async with kokoro() as backend:
        heard = await spoken(backend, segment(backend, "It is 20.5 now."))
        words = ["It is 20.5 now."[mark.start : mark.end] for mark in heard.marks]
        assert words == ["It", "is", "20.5", "now"]
        frames = hear(heard.samples)
        quiet = [  # after the pad, and after each space
            sum(tone.frames for tone in frames[: index + 1]) * FRAME
            for index, tone in enumerate(frames)
            if tone.token == 0
        ]
        assert {mark.sample for mark in heard.marks} <= set(quiet)


async def test_marks_reach_the_client() -> None:
    async with running_manager(
        {"kokoro": KokoroBackend}, settings={"tiny": tiny_settings()}
    ) as manager:
        events, _ = await speak(manager, "It is now.", model="tiny")
        (words,) = (event for event in events if isinstance(event, Words))
        assert not words.is_estimated
        assert [word.text_start for word in words.words] == [0, 3, 6]


async def test_phonemes_may_be_given() -> None:
    async with kokoro() as backend:
        given = await spoken(backend, segment(backend, "Say [tomato](/ɑ/)."))
        said = await spoken(backend, segment(backend, "Say tomato."))
        assert given.samples.size < said.samples.size
        assert [mark.start for mark in given.marks] == [0, 5]


async def test_given_phonemes_pass_through_the_markup() -> None:
    async with running_manager(
        {"kokoro": KokoroBackend}, settings={"tiny": tiny_settings()}
    ) as manager:
        _, given = await speak(manager, "**Say** [tomato](/ɑ/).", model="tiny")
        _, said = await speak(manager, "Say tomato.", model="tiny")
        _, other = await speak(manager, "**Say** [tomato](http://a).", model="tiny")
        assert len(given) < len(said) == len(other)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("One, two, three.", None),  # that of its own length
        ("One, two, three", 99),  # a part of a sentence nobody knows the end of
        ("word " * 30 + ".", None),
    ],
)
async def test_the_style_is_that_of_the_sentence_s_length(text: str, row: int | None) -> None:
    async with kokoro() as backend:
        # Uneven, so that the rows can be read.
        phonemes = backend._model.known(
            await backend.lane.call(backend._phonemizer.phonemes, text, "en-us")
        )
        wanted = segment(backend, text)
        style = backend._style(phonemes, wanted)
        inferred = backend._infer(phonemes, style, wanted, _Nobody())
        rows = {tone.row for tone in hear(inferred.samples)} - {-1}
        assert rows == {len(phonemes) - 1 if row is None else row}


class _Nobody:
    def __call__(self, chunk: PcmChunk) -> bool:
        return True

    def interrupt_by(self, interrupt: object, /, *, may_overlap: bool = False) -> None: ...


async def test_more_phonemes_than_the_model_takes_are_spoken_in_parts() -> None:
    text = "1234567890 " * 30
    async with kokoro() as backend:
        phonemes = backend._model.known(
            await backend.lane.call(backend._phonemizer.phonemes, text, "en-us")
        )
        assert len(phonemes) > 2 * 510
        heard = await spoken(backend, segment(backend, text))
        assert len(heard.marks) == 30
        # All of them, less the spaces at which they were cut, and with pads around each part.
        tokens = backend._model._kokoro.tokenizer.tokenize(  # type: ignore[attr-defined]
            phonemes, limit=None
        )
        frames = sum(map(frames_of, tokens))
        assert heard.samples.size / FRAME == pytest.approx(frames, rel=0.02)


@pytest.mark.parametrize("text", ["...", "(", "\ud800", "—"])
async def test_text_without_phonemes_says_nothing(text: str) -> None:
    async with kokoro() as backend:
        assert not (await spoken(backend, segment(backend, text))).samples.size


# ---------------------------------------------------------------------------------- the voices


async def test_voices_speak_their_languages() -> None:
    async with kokoro() as backend:
        american = await spoken(backend, segment(backend, "tomato", "af_bella"))
        british = await spoken(backend, segment(backend, "tomato", "bf_emma"))
        assert american.samples.size != british.samples.size
        french = replace(segment(backend, "tomato", "af_bella"), language="fr")
        assert (await spoken(backend, french)).samples.size != american.samples.size
        assert backend.choose_voice(None, "fr").id == "ff_siwis"
        assert backend.choose_voice(None, None).id == "af_heart"


async def test_a_wide_language_leaves_the_voice_its_accent() -> None:
    async with kokoro() as backend:
        wanted = segment(backend, "tomato", "bf_emma")
        british = await spoken(backend, wanted)
        same = await spoken(backend, replace(wanted, language="en"))
        american = await spoken(backend, replace(wanted, language="en-us"))
        assert same.samples.size == british.samples.size != american.samples.size


async def test_blends_are_voices() -> None:
    async with kokoro() as backend:
        voice = backend.choose_voice("AF_BELLA(2) + af_sky", None)
        assert voice.id == "af_bella(2)+af_sky"
        assert voice.marks is MarkKind.WORD
        with pytest.raises(VoiceNotFound, match="af_bella"):
            backend.choose_voice("af_bela+af_sky", None)
        bella, sky, blend = [
            (await spoken(backend, segment(backend, TEXT, name))).samples
            for name in ("af_bella", "af_sky", "af_bella+af_sky")
        ]
        assert not np.array_equal(blend, bella)
        assert not np.array_equal(blend, sky)


# ------------------------------------------------------------------------------------- failures


async def test_a_cancel_ends_the_inference(tmp_path: Path) -> None:
    settings = exports(tmp_path, slow_s=0.05)
    async with kokoro(settings) as backend:
        text = "word " * 60  # some 15 s
        waiting = asyncio.create_task(spoken(backend, segment(backend, text)))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(5):
            assert (await spoken(backend, segment(backend, "Yes."))).samples.size


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("model.onnx", b"", "does not load"),
        ("model.onnx", b"\x08\x08" * 1000, "does not load"),
        ("model.onnx", None, "no file 'model.onnx'"),
        ("voices.bin", b"PK\x03\x04 cut off", "'voices.bin' cannot be read"),
        ("voices.bin", None, "no file 'voices.bin'"),
    ],
)
async def test_a_broken_file_is_named_with_the_cure(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    settings = exports(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BackendUnavailable, match=problem) as caught:
        async with kokoro(settings):
            pass
    assert "voiced models pull kokoro" in caught.value.message
    assert str(tmp_path) not in caught.value.message


async def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    settings = exports(tmp_path)
    model = tmp_path / "model.onnx"
    model.write_bytes(model.read_bytes()[:-2000])
    with pytest.raises(BackendUnavailable, match="does not load"):
        async with kokoro(settings):
            pass


async def test_another_model_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save  # noqa: PLC0415  # here alone

    settings = exports(tmp_path)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model.onnx")
    with pytest.raises(BackendUnavailable, match="not Kokoro"):
        async with kokoro(settings):
            pass


async def test_a_provider_that_is_not_there_is_refused() -> None:
    settings = tiny_settings().model_copy(update={"provider": "cuda"})
    with pytest.raises(BackendUnavailable, match="pip install onnxruntime-gpu"):
        async with kokoro(settings):
            pass


@pytest.mark.parametrize(
    ("runtime", "package", "cure"),
    [
        ("onnx", "kokoro_onnx", "pip install 'voiced[kokoro]'"),
        ("torch", "torch", "pip install 'voiced[torch]'"),
        ("torch", "kokoro", "pip install --no-deps kokoro"),
    ],
)
def test_a_missing_package_of_a_runtime_is_named_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, runtime: Literal["onnx", "torch"], package: str, cure: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    lack = KokoroBackend.missing(KokoroSettings(type="kokoro", runtime=runtime))
    assert cure in (lack or "")


# --------------------------------------------------------------------------------- in the daemon


async def test_without_files_it_is_unavailable_and_comes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voiced.synthesis.pool._LOOK_AFTER_S", 0)
    settings = exports(tmp_path)
    model = tmp_path / "model.onnx"
    away = model.rename(tmp_path / "away")
    async with running_manager({"kokoro": KokoroBackend}, settings={"tiny": settings}) as manager:
        assert not manager.is_whole()  # the files were named
        info = manager.model("tiny")
        assert info.state is BackendState.UNAVAILABLE
        assert "model_path" in (info.cure or "")
        away.rename(model)
        await eventually(lambda: manager.model("tiny").state is not BackendState.UNAVAILABLE)
        assert (await speak(manager, TEXT, model="tiny"))[1]


@asynccontextmanager
async def both_engines(language: str = "") -> AsyncIterator[TTSBackendManager]:
    types = {name: INSTALLED.load(name) for name in ("espeak", "kokoro")}
    settings = {
        "espeak": types["espeak"].settings_model(type="espeak"),
        "tiny": tiny_settings(),
    }
    defaults = SpeechDefaults(language=language)
    async with running_manager(types, settings=settings, defaults=defaults) as manager:
        for backend_id in settings:
            await manager.get_backend(backend_id)
        yield manager


@pytest.mark.parametrize(
    ("fields", "backend"),
    [
        ({}, "tiny"),
        ({"language": "fr"}, "tiny"),
        ({"language": "de"}, "espeak"),  # no voice of Kokoro speaks it
        ({"voice": "af_bella+af_sky"}, "tiny"),
        ({"voice": "alloy"}, "tiny"),  # by its usual voice: it has no af_alloy
        ({"voice": "nova", "language": "de"}, "espeak"),
        ({"voice": "k_bella"}, "tiny"),
        ({"voice": "de+f2"}, "espeak"),
        ({"voice": "nobody"}, "tiny"),  # which says so
    ],
)
async def test_auto_is_the_best_engine_that_has_the_voice_and_the_language(
    fields: dict[str, str], backend: str
) -> None:
    async with both_engines() as manager:
        for model in ({}, {"model": "auto"}):
            wanted = request("One.", **fields, **model)
            if fields.get("voice") == "nobody":
                with pytest.raises(VoiceNotFound):
                    plan_of(manager, wanted)
                continue
            assert plan_of(manager, wanted).backend_ids[0] == backend


async def test_auto_heeds_the_language_of_the_house() -> None:
    async with both_engines(language="de") as manager:
        assert plan_of(manager, request("Eins.")).backend_ids[0] == "espeak"
        assert plan_of(manager, request("One.", language="en")).backend_ids[0] == "tiny"


def plan_of(manager: TTSBackendManager, wanted: OpenAISpeechRequest) -> Plan:
    return manager.plan(wanted, default_format=AudioFormat.PCM, sample_rate=24000)


async def test_what_nobody_fetched_is_missed_by_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    types = {name: INSTALLED.load(name) for name in ("espeak", "kokoro")}
    settings = {name: kind.settings_model(type=name) for name, kind in types.items()}
    async with running_manager(types, settings=settings, unasked=types) as manager:
        assert manager.states()["kokoro"] is BackendState.UNAVAILABLE
        assert manager.is_whole()
        assert manager.real_time_factor("espeak") is None
        await speak(manager, TEXT, model="espeak")
        factor = manager.real_time_factor("espeak")
        assert factor is not None
        assert 0 <= factor < 0.7


async def test_auto_speaks_at_once_and_loads_the_better_one() -> None:
    types = {name: INSTALLED.load(name) for name in ("espeak", "kokoro")}
    settings = {
        "espeak": types["espeak"].settings_model(type="espeak"),
        "tiny": tiny_settings(),
    }
    async with running_manager(types, settings=settings) as manager:
        await manager.get_backend("espeak")
        assert plan_of(manager, request("One.")).backend_ids[0] == "espeak"
        await eventually(lambda: manager.model("auto").backend == "tiny", seconds=10)


@pytest.mark.parametrize("factor", [0.01, 0.2, 0.3, 0.45, 0.6, 0.7])
def test_segments_grow_and_each_is_made_while_the_one_before_is_heard(factor: float) -> None:
    assert 1.0 < growth(factor) < 1 / factor


async def test_a_path_of_a_user_that_is_none_is_named() -> None:
    async with running_manager(
        {"kokoro": KokoroBackend},
        settings={"tiny": KokoroSettings(type="kokoro", model_path="~nosuchuser/x")},
    ) as manager:
        with pytest.raises(BackendUnavailable, match="no such user as model_path"):
            await manager.get_backend("tiny")


def test_where_the_engine_is_too_slow_to_keep_up_segments_do_not_grow() -> None:
    assert growth(0.9) == 1.0


def test_onnxruntime_is_told_not_to_phone_home_before_it_is_imported() -> None:
    program = """
import builtins, os
whole = builtins.__import__
def watch(name, *rest):
    if name.split(".")[0] == "onnxruntime":
        assert os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
        print("imported")
    return whole(name, *rest)
builtins.__import__ = watch
from voiced.backends.kokoro.backend import KokoroBackend, KokoroSettings
KokoroBackend.import_packages(KokoroSettings(type="kokoro"))
"""
    clean = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean, capture_output=True, text=True, check=True
    )
    assert "imported" in done.stdout
