"""The Piper backend, with tiny voices whose audio says what was asked of them."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import eventually, running_manager, speak
from tiny_kokoro import write_tiny_kokoro
from tiny_piper import CHORUS, SPEAKERS, VOICE, hear, tiny_piper_settings, write_tiny_piper

from voiced.backends.piper.backend import PiperBackend, PiperSettings
from voiced.backends.piper.model import PiperModel
from voiced.backends.piper.voices import VoiceFile
from voiced.errors import BackendError, BackendUnavailable, VoiceNotFound
from voiced.request import BackendState
from voiced.speech import Float32, Segment, SpeechStart
from voiced.synthesis.lane import Lane

HELLO = "həlˈoʊ."


@asynccontextmanager
async def piper(settings: PiperSettings | None = None) -> AsyncIterator[PiperBackend]:
    lane = Lane()
    backend = PiperBackend(settings or tiny_piper_settings(), lane=lane.engine())
    try:
        await backend.initialize()
        yield backend
        await backend.close()
    finally:
        await lane.close()


async def said(
    backend: PiperBackend, text: str, voice: str | None = None, speed: float = 1.0, **options: Any
) -> Float32:
    given = backend.options_model(**options)
    chosen = backend.choose_voice(voice, None)
    segment = Segment(0, text, 0, len(text), chosen, None, speed, given)
    async with aclosing(backend.generate_speech_stream(segment)) as chunks:
        parts = [chunk.samples async for chunk in chunks]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def folder_of(folder: Path, *voices: str) -> PiperSettings:
    for voice in voices:
        write_tiny_piper(folder, voice)
    return PiperSettings(type="piper", voices_path=str(folder))


# ------------------------------------------------------------------------------------- the sound


async def test_it_says_the_phonemes_of_the_voices_language() -> None:
    async with piper() as backend:
        assert hear(await said(backend, "Hello.")) == HELLO
        assert hear(await said(backend, "Hallo.", CHORUS)) == "hˈaloː."
        assert hear(await said(backend, "[Siân](/ʃˈɑːn/).")) == "ʃˈɑːn."


async def test_phonemes_that_the_voice_was_not_taught_are_left_out() -> None:
    async with piper() as backend:
        assert hear(await said(backend, "[x](/həˤǂlˈoʊ/).")) == HELLO


@pytest.mark.parametrize("text", ["...", "?!", "", "   "])
async def test_what_is_no_word_is_silent(text: str) -> None:
    async with piper() as backend:
        assert (await said(backend, text)).size == 0


async def test_speed_is_the_inverse_of_the_length_scale() -> None:
    async with piper() as backend:
        slow, fast = (
            await said(backend, "Hello.", speed=0.5),
            await said(backend, "Hello.", speed=2),
        )
    assert slow.size == 4 * fast.size
    assert hear(fast, 256) == HELLO


async def test_a_speaker_is_named_or_numbered() -> None:
    async with piper() as backend:
        ids = [backend.find_voice(f"{CHORUS}#{name}") for name in ("ANNA", "03", "1", "0")]
        assert [voice and voice.id.partition("#")[2] for voice in ids] == ["anna", "03", "1", "0"]
        for unknown in ("2", "bert", "-1", "\u0664"):
            with pytest.raises(VoiceNotFound, match="did you mean de_DE-chorus-medium"):
                backend.choose_voice(f"{CHORUS}#{unknown}", None)
        by_id = dict(enumerate(SPEAKERS))
        for number, name in by_id.items():
            one = await said(backend, "Hallo.", f"{CHORUS}#{number}")
            assert np.array_equal(one, await said(backend, "Hallo.", f"{CHORUS}#{name}"))
        assert np.array_equal(one, await said(backend, "Hallo.", f"{CHORUS}#03"))


async def test_how_lively_it_is_can_be_asked_for() -> None:
    async with piper() as backend:
        plain = await said(backend, "Hello.")
        assert np.array_equal(plain, await said(backend, "Hello.", noise_scale=0.0))
        lively = await said(backend, "Hello.", noise_scale=0.1)
        assert lively.size == plain.size
        assert not np.array_equal(lively, plain)
        with pytest.raises(ValueError, match="noise_w_scale"):
            backend.options_model(noise_w_scale=3)


async def test_vowels_may_be_one_phoneme(tmp_path: Path) -> None:
    ids = {"_": [0], "^": [1], "$": [2], "h": [8], "ə": [9], "l": [10], "oʊ": [11], ".": [4]}
    write_tiny_piper(tmp_path, phoneme_id_map=ids, vowel_clusters=[["o", "ʊ"]])
    async with piper(folder_of(tmp_path)) as backend:
        assert (await said(backend, "Hello.")).size
        model = await backend._model(VOICE)
        found = await backend.lane.call(model.phonemes, "Hello.", backend._phonemizer)
    assert found == ["h", "ə", "l", "oʊ", "."]


async def test_a_voice_may_read_letters(tmp_path: Path) -> None:
    write_tiny_piper(tmp_path, phoneme_type="text")
    async with piper(folder_of(tmp_path)) as backend:
        assert hear(await said(backend, "hello.")) == "hello."


async def test_arabic_is_read_with_its_vowels(tmp_path: Path) -> None:
    async with piper(folder_of(tmp_path, "ar_JO-tiny-low")) as backend:
        heard = hear(await said(backend, "مرحبا"))
    assert heard == "murˈaħibˌan"  # "mrħbˈaː" without them


async def test_a_text_that_breaks_espeak_breaks_nothing_else() -> None:
    async with piper() as backend:
        with pytest.raises(BackendError, match="breaks on some character"):
            await said(backend, "\u0f33-\u0faa\u0d21")
        assert hear(await said(backend, "Hello.")) == HELLO


# ------------------------------------------------------------------------------------ the voices


async def test_voices_tell_their_language_and_rate() -> None:
    async with piper() as backend:
        chorus, tiny = backend.voices()
        assert (chorus.id, chorus.languages) == (CHORUS, ("de-de", "de"))
        assert (tiny.id, tiny.languages, tiny.sample_rate) == (VOICE, ("en-us", "en"), 22050)
        assert tiny.name == "tiny (low)"
        assert backend.choose_voice(None, "de").id == CHORUS
        assert backend.choose_voice(None, None).id == VOICE


async def test_a_voice_without_a_language_has_that_of_its_name(tmp_path: Path) -> None:
    write_tiny_piper(tmp_path, "pt_BR-tiny-low", language={})
    write_tiny_piper(tmp_path, "mine", language={}, espeak={"voice": "fr"})
    async with piper(folder_of(tmp_path)) as backend:
        assert [v.languages for v in backend.voices()] == [("fr",), ("pt-br", "pt")]


async def test_what_is_no_voice_is_said_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = folder_of(tmp_path, VOICE, "en_US-broken-low")
    (tmp_path / "en_US-broken-low.onnx.json").write_text('{"audio": {}}')
    write_tiny_piper(tmp_path, "zh_CN-other-low", phoneme_type="pinyin")
    (tmp_path / "alone.onnx").write_bytes(b"")
    (tmp_path / "half.onnx.part").write_bytes(b"")
    caplog.set_level(logging.WARNING)
    async with piper(settings) as backend:
        assert [voice.id for voice in backend.voices()] == [VOICE]
    assert "en_US-broken-low.onnx.json is no configuration of Piper" in caplog.text
    assert "zh_CN-other-low is left out: it wants phonemes of the type 'pinyin'" in caplog.text


async def test_the_latest_voices_stay_in_memory(tmp_path: Path) -> None:
    names = [f"en_US-{name}-low" for name in ("a", "b", "c")]
    async with piper(folder_of(tmp_path, *names)) as backend:
        for name in (names[0], names[1], names[0], names[2]):
            await said(backend, "Hello.", name)
        assert list(backend._loaded) == [names[0], names[2]]
        assert hear(await said(backend, "Hello.", names[1])) == HELLO


async def test_a_voice_is_loaded_once_however_many_want_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = PiperBackend._load

    def count(backend: PiperBackend, file: VoiceFile) -> PiperModel:
        loads.append(file.id)
        return load(backend, file)

    monkeypatch.setattr(PiperBackend, "_load", count)
    async with piper(folder_of(tmp_path, VOICE, "en_US-b-low")) as backend:
        await asyncio.gather(*(said(backend, "Hello.", "en_US-b-low") for _ in range(5)))
    assert loads.count("en_US-b-low") == 1


# ------------------------------------------------------------------------------ what is not right


@pytest.mark.parametrize("what", ["kokoro", "nothing", "speakers"])
async def test_a_file_that_is_no_voice_is_named_with_the_cure(tmp_path: Path, what: str) -> None:
    path = write_tiny_piper(tmp_path, num_speakers=2 if what == "speakers" else 1)
    if what == "kokoro":
        write_tiny_kokoro(path)
    if what == "nothing":
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BackendUnavailable, match=f"voiced models pull piper --voice {VOICE}"):
        async with piper(folder_of(tmp_path)):
            pass


def test_what_is_missing_is_said_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PiperSettings(type="piper", voices_path=str(tmp_path / "none"))
    assert "no folder 'none' where voices_path says" in (PiperBackend.missing(settings) or "")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    lack = PiperBackend.missing(PiperSettings(type="piper"))
    assert "voiced models pull piper --voice en_US-lessac-medium" in (lack or "")
    monkeypatch.setitem(sys.modules, "piper", None)
    lack = PiperBackend.missing(PiperSettings(type="piper"))
    assert "pip install 'voiced[piper]'" in (lack or "")


async def test_a_voice_that_comes_later_is_found_and_one_that_goes_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("voiced.synthesis.pool._LOOK_AFTER_S", 0)
    folder = tmp_path / "models" / "piper"
    folder.mkdir(parents=True)
    settings = {"tiny": PiperSettings(type="piper")}
    async with running_manager({"piper": PiperBackend}, settings=settings) as manager:
        assert manager.model("tiny").state is BackendState.UNAVAILABLE
        first = write_tiny_piper(folder)
        await eventually(lambda: manager.model("tiny").state is not BackendState.UNAVAILABLE)
        assert (await speak(manager, "Hello.", model="tiny"))[1]
        write_tiny_piper(folder, "de_DE-new-low")
        events, audio = await speak(manager, "Hallo.", model="tiny", voice="de_DE-new-low")
        assert audio
        assert next(e for e in events if isinstance(e, SpeechStart)).voice == "de_DE-new-low"
        first.unlink()
        listed = await manager.voices(model="tiny")
        assert [entry.voice.id for entry in listed] == ["de_DE-new-low"]
        with pytest.raises(VoiceNotFound, match=VOICE):
            await speak(manager, "Hello.", model="tiny", voice=VOICE)


async def test_names_of_openai_mean_the_usual_voice() -> None:
    settings = {"tiny": tiny_piper_settings()}
    async with running_manager({"piper": PiperBackend}, settings=settings) as manager:
        events, audio = await speak(manager, "Hello.", model="tiny", voice="alloy")
        assert audio
        assert next(e for e in events if isinstance(e, SpeechStart)).voice == VOICE


async def test_a_voice_that_was_replaced_speaks_with_its_new_files(tmp_path: Path) -> None:
    async with piper(folder_of(tmp_path, VOICE)) as backend:
        before = backend.identity(backend.choose_voice(VOICE, None))
        assert (await said(backend, "Hello.")).size
        write_tiny_piper(tmp_path, phoneme_type="text", num_symbols=200)
        await backend.refresh()
        assert backend.identity(backend.choose_voice(VOICE, None)) != before
        assert hear(await said(backend, "hello.")) == "hello."


async def test_loading_one_voice_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    load = PiperBackend._load

    def slow(backend: PiperBackend, file: VoiceFile) -> PiperModel:
        if file.id != VOICE:
            assert release.wait(10)
        return load(backend, file)

    monkeypatch.setattr(PiperBackend, "_load", slow)
    settings = folder_of(tmp_path, VOICE, "de_DE-b-low").model_copy(update={"voice": VOICE})
    async with piper(settings) as backend:
        waiting = asyncio.create_task(said(backend, "Hallo.", "de_DE-b-low"))
        await asyncio.sleep(0.05)
        assert hear(await said(backend, "Hello.", VOICE)) == HELLO
        assert not waiting.done()
        release.set()
        assert (await waiting).size
