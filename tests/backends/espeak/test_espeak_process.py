from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from phonemizer.backend import EspeakBackend as ReferenceBackend
from phonemizer.backend.espeak.wrapper import EspeakWrapper

from voiced.backends.espeak.files import EspeakFiles
from voiced.backends.espeak.process import EspeakProcess, EspeakSound
from voiced.errors import BackendError, BackendUnavailable
from voiced.speech import Int16

US = "gmw/en-US"


@pytest.fixture(scope="module")
def process() -> Iterator[EspeakProcess]:
    made = EspeakProcess(EspeakFiles.find({}))
    yield made
    made.close()


def spoken(
    process: EspeakProcess, text: str, voice: str = US, sound: EspeakSound | None = None
) -> tuple[Int16, list[tuple[int, int]]]:
    parts: list[bytes] = []
    words: list[tuple[int, int]] = []

    def on_audio(samples: bytes, events: list[tuple[int, int]]) -> bool:
        parts.append(samples)
        words.extend(events)
        return True

    sound = sound or EspeakSound()
    process.speak(text, voice=voice, sound=sound, on_audio=on_audio, then=US)
    return np.frombuffer(b"".join(parts), np.int16), words


def test_there_are_more_than_a_hundred_languages(process: EspeakProcess) -> None:
    voices, variants, rate = process.list_voices()
    assert rate == 22050
    assert len({language for voice in voices for language in voice.languages}) > 100
    assert len({voice.id for voice in voices}) == len(voices)
    assert {"f3", "m1", "Annie"} <= variants


def test_every_voice_has_its_dictionary(
    process: EspeakProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without one espeak spells, and complains to standard error with a path."""
    voices, _, _ = process.list_voices()
    for voice in voices:
        spoken(process, "1", voice.identifier)
    assert capfd.readouterr().err == ""


def test_the_same_text_always_has_the_same_samples(process: EspeakProcess) -> None:
    first, _ = spoken(process, "Good morning to all of you.")
    spoken(process, "Etwas ganz anderes.", "gmw/de")
    spoken(process, "Something loud!", f"{US}+m7", EspeakSound(speed=2.0, pitch=90))
    again, _ = spoken(process, "Good morning to all of you.")
    assert np.array_equal(first, again)


def test_audio_leaves_before_the_sentence_is_over(process: EspeakProcess) -> None:
    parts = 0

    def stop_at_once(samples: bytes, words: list[tuple[int, int]]) -> bool:
        nonlocal parts
        parts += 1
        return False

    process.speak(
        "A sentence of several words, which takes some seconds to say.",
        voice=US,
        sound=EspeakSound(),
        on_audio=stop_at_once,
        then=US,
    )
    assert parts == 1


@pytest.mark.parametrize(
    "markup",
    ["<speak>one</speak>", "[[h@l'oU]]", "one\x01+20S two", "<break time='3s'/> one"],
)
def test_text_is_text(process: EspeakProcess, markup: str) -> None:
    """What could be a command is read out, so it takes longer than what the command would give."""
    plain, _ = spoken(process, markup.replace("\x01", " "))
    same, _ = spoken(process, markup)
    assert np.array_equal(plain, same)


def test_ssml_is_read_where_it_is_asked_for(process: EspeakProcess) -> None:
    text = "<speak>one <break time='2s'/> two</speak>"
    read, _ = spoken(process, text, sound=EspeakSound(ssml=True))
    quiet = np.abs(read.astype(int)) < 33
    assert np.diff(np.flatnonzero(~quiet)).max() > 1.9 * 22050
    as_text, _ = spoken(process, text)
    assert as_text.size > read.size


@pytest.mark.parametrize(
    "name", ["Andrea", "Annie", "f3", "m7", "whisper", "croak", "Reed", "caleb"]
)
def test_breath_and_whisper_are_the_same_each_time_too(process: EspeakProcess, name: str) -> None:
    first, _ = spoken(process, "Good morning to you.", f"{US}+{name}")
    spoken(process, "Something else.", f"{US}+whisper")
    again, _ = spoken(process, "Good morning to you.", f"{US}+{name}")
    assert np.array_equal(first, again)


def test_a_long_file_name_in_ssml_does_not_end_the_process(process: EspeakProcess) -> None:
    text = f'<speak>one <audio src="{"A" * 5000}">two</audio> three</speak>'
    assert spoken(process, text, sound=EspeakSound(ssml=True))[0].size


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "\ud83d one \ude42", "\x01", "\x7f"])
def test_odd_characters_do_no_harm(process: EspeakProcess, text: str) -> None:
    spoken(process, f"{text} and more")


def test_the_speed_holds_within_a_tenth(process: EspeakProcess) -> None:
    text = "The cat watched the rain from the sill with an air of injury."
    normal, _ = spoken(process, text)
    for speed in (0.5, 0.75, 1.5, 2.0, 2.5):
        fast, _ = spoken(process, text, sound=EspeakSound(speed=speed))
        assert normal.size / fast.size == pytest.approx(speed, rel=0.1)


def test_an_exception_of_the_consumer_is_raised(process: EspeakProcess) -> None:
    def fail(samples: bytes, words: list[tuple[int, int]]) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        process.speak("one", voice=US, sound=EspeakSound(), on_audio=fail, then=US)
    assert spoken(process, "one")[0].size


def test_the_environment_names_other_files(tmp_path: Path) -> None:
    bundled = EspeakFiles.find({})
    folder = tmp_path / "lib"
    folder.mkdir()
    shutil.copy(bundled.library, folder / "libespeak-ng.so.1")
    (folder / "espeak-ng-data").symlink_to(bundled.data)
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    program.touch()
    by_library = EspeakFiles.find({"PHONEMIZER_ESPEAK_LIBRARY": str(folder / "libespeak-ng.so.1")})
    by_program = EspeakFiles.find({"PHONEMIZER_ESPEAK_PATH": str(program)})
    assert by_library == by_program
    assert by_library.data == folder / "espeak-ng-data"
    process = EspeakProcess(by_library)
    assert spoken(process, "one")[0].size
    process.close()
    assert EspeakFiles.find({"ESPEAK_DATA_PATH": str(folder)}).data == folder / "espeak-ng-data"


@pytest.mark.parametrize(
    "variable", ["PHONEMIZER_ESPEAK_LIBRARY", "PHONEMIZER_ESPEAK_PATH", "ESPEAK_DATA_PATH"]
)
def test_a_variable_that_misleads_is_named(variable: str, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=variable):
        EspeakFiles.find({variable: str(tmp_path / "nowhere")})


def test_data_deep_in_the_file_system_works(tmp_path: Path) -> None:
    bundled = EspeakFiles.find({})
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    shutil.copytree(bundled.data, deep / "espeak-ng-data")
    process = EspeakProcess(EspeakFiles(bundled.library, deep / "espeak-ng-data"))
    assert spoken(process, "one")[0].size
    process.close()


def test_data_that_is_none_is_refused_with_the_cure(tmp_path: Path) -> None:
    process = EspeakProcess(EspeakFiles(EspeakFiles.find({}).library, tmp_path))
    with pytest.raises(BackendUnavailable, match="ESPEAK_DATA_PATH"):
        process.list_voices()


def test_a_library_that_is_none_is_refused_with_the_cure(tmp_path: Path) -> None:
    library = tmp_path / "libespeak-ng.so"
    library.write_bytes(b"no library")
    process = EspeakProcess(EspeakFiles(library, EspeakFiles.find({}).data))
    with pytest.raises(BackendUnavailable, match="PHONEMIZER_ESPEAK_LIBRARY"):
        process.list_voices()


# espeak-ng ends the process that reads these.
DEADLY = [
    ("\u28ef hello", "sem/ar"),
    ("\u0f33-\u0faa\u0d21", US),
    ("\U0001f17f\U0001d591 a", "inc/hi"),
]


@pytest.mark.parametrize(("text", "voice"), DEADLY)
def test_a_text_that_ends_espeak_ends_nothing_else(
    process: EspeakProcess, text: str, voice: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BackendError, match="some character"):
        spoken(process, text, voice)
    with pytest.raises(BackendError, match="some character"):
        process.phonemes([text], voice)
    assert spoken(process, "one", voice)[0].size
    capfd.readouterr()  # the C library complains


def test_a_worker_that_was_killed_is_started_again(process: EspeakProcess) -> None:
    first, _ = spoken(process, "Good morning.")
    assert process._process is not None
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(BackendError, match="has died"):
        spoken(process, "Good morning.")
    again, _ = spoken(process, "Good morning.")
    assert np.array_equal(first, again)


def test_the_worker_has_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    made = EspeakProcess(EspeakFiles.find({}))
    made.list_voices()
    assert made._process is not None
    environ = Path(f"/proc/{made._process.pid}/environ").read_bytes()
    made.close()
    assert b"PYTHONPATH" in environ
    assert b"sk-secret" not in environ


def test_a_voice_that_is_no_file_is_named(process: EspeakProcess) -> None:
    with pytest.raises(BackendError, match="no/such"):
        spoken(process, "one", "no/such")
    assert spoken(process, "one")[0].size


def test_a_stop_leaves_nothing_on_its_way(process: EspeakProcess) -> None:
    expected, _ = spoken(process, "Good morning.")
    for _ in range(20):
        process.speak(
            "A sentence that is stopped. " * 20,
            voice=US,
            sound=EspeakSound(),
            on_audio=lambda *_: False,
            then=US,
        )
        assert np.array_equal(spoken(process, "Good morning.")[0], expected)


def test_a_long_text_passes_in_both_directions(process: EspeakProcess) -> None:
    text = "This is a very long text. " * 4000
    assert spoken(process, text)[0].size > 60 * 60 * 22050
    assert len(process.phonemes([text], US)[0]) > len(text) // 2


def test_a_worker_ends_with_its_owner() -> None:
    process = EspeakProcess(EspeakFiles.find({}))
    process.list_voices()
    assert process._process is not None
    pid = process._process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 10
    while not (forks := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.close()
    assert len(forks) == 1  # the one that waits
    assert not any(Path(f"/proc/{number}").exists() for number in (pid, *forks))


@pytest.mark.parametrize(
    ("language", "voice", "text"),
    [
        ("en-us", US, "I had been to the U.S. in 1984; it's 20.5 degrees, Dr. Smith's dog barked"),
        ("en-gb", "gmw/en", "The quick brown fox jumps over the lazy dog"),
        ("fr-fr", "roa/fr", "Le weekend, nous avons vu un film de Spielberg"),
        ("es", "roa/es", "El perro come en la cocina con 25 amigos"),
        ("it", "roa/it", "Il gatto nero dorme sul tetto"),
        ("pt-br", "roa/pt-BR", "O menino foi ao mercado comprar leite"),
        ("hi", "inc/hi", "नमस्ते दुनिया"),
        ("ja", "jpx/ja", "こんにちは世界"),
        ("cmn", "sit/cmn", "你好世界"),
    ],
)
def test_phonemes_are_those_of_phonemizer(
    process: EspeakProcess, language: str, voice: str, text: str
) -> None:
    """Which is what Kokoro was taught with."""
    files = EspeakFiles.find({})
    EspeakWrapper.set_library(str(files.library))
    EspeakWrapper.set_data_path(str(files.data))
    reference = ReferenceBackend(
        language,
        punctuation_marks=re.compile("(?!)"),
        with_stress=True,
        language_switch="keep-flags",
    )
    (expected,) = reference.phonemize([text], strip=True)
    assert " ".join(process.phonemes([text], voice)[0].split()) == expected
