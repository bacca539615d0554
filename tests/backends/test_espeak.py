from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import request, running_manager, speak

from voiced.backends.espeak_library import EspeakFiles, EspeakLibrary, EspeakSound
from voiced.errors import BackendUnavailable, RequestError
from voiced.speech import AudioFormat, Float32, SegmentStart

US = "gmw/en-US"


@pytest.fixture(scope="module")
def library() -> Iterator[EspeakLibrary]:
    made = EspeakLibrary(EspeakFiles.find({}))
    yield made
    made.close()


def spoken(
    library: EspeakLibrary, text: str, voice: str = US, sound: EspeakSound | None = None
) -> tuple[Float32, list[tuple[int, int, int]]]:
    parts: list[Float32] = []
    words: list[tuple[int, int, int]] = []

    def on_audio(samples: Float32, events: list[tuple[int, int, int]]) -> bool:
        parts.append(samples)
        words.extend(events)
        return True

    library.speak(text, voice=voice, sound=sound or EspeakSound(), on_audio=on_audio)
    return np.concatenate(parts), words


def test_there_are_more_than_a_hundred_languages(library: EspeakLibrary) -> None:
    voices, variants = library.list_voices()
    library.unload()
    assert len({language for voice in voices for language in voice.languages}) > 100
    assert len({voice.id for voice in voices}) == len(voices)
    assert {"f3", "m1", "Annie"} <= variants


def test_every_voice_has_its_dictionary(
    library: EspeakLibrary, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without one espeak spells, and complains to standard error with a path."""
    voices, _ = library.list_voices()
    library.unload()
    for voice in voices:
        spoken(library, "1", voice.identifier)
    assert capfd.readouterr().err == ""


def test_the_same_text_always_has_the_same_samples(library: EspeakLibrary) -> None:
    first, _ = spoken(library, "Good morning to all of you.")
    spoken(library, "Etwas ganz anderes.", "gmw/de")
    spoken(library, "Something loud!", f"{US}+m7", EspeakSound(speed=2.0, pitch=90))
    again, _ = spoken(library, "Good morning to all of you.")
    assert np.array_equal(first, again)


def test_others_may_load_the_same_library_and_keep_it(library: EspeakLibrary) -> None:
    first, _ = spoken(library, "Good morning to all of you.")
    held = ctypes.CDLL(str(EspeakFiles.find({}).library))  # as phonemizer does
    library.list_voices()
    spoken(library, "Something loud!", f"{US}+m7", EspeakSound(speed=2.0, pitch=90))
    again, _ = spoken(library, "Good morning to all of you.")
    assert np.array_equal(first, again)
    assert held


def test_audio_leaves_before_the_sentence_is_over(library: EspeakLibrary) -> None:
    parts = 0

    def stop_at_once(samples: Float32, words: list[tuple[int, int, int]]) -> bool:
        nonlocal parts
        parts += 1
        return False

    library.speak(
        "A sentence of several words, which takes some seconds to say.",
        voice=US,
        sound=EspeakSound(),
        on_audio=stop_at_once,
    )
    assert parts == 1


@pytest.mark.parametrize(
    "markup",
    ["<speak>one</speak>", "[[h@l'oU]]", "one\x01+20S two", "<break time='3s'/> one"],
)
def test_text_is_text(library: EspeakLibrary, markup: str) -> None:
    """What could be a command is read out, so it takes longer than what the command would give."""
    plain, _ = spoken(library, markup.replace("\x01", " "))
    same, _ = spoken(library, markup)
    assert np.array_equal(plain, same)


def test_ssml_is_read_where_it_is_asked_for(library: EspeakLibrary) -> None:
    text = "<speak>one <break time='2s'/> two</speak>"
    read, _ = spoken(library, text, sound=EspeakSound(ssml=True))
    quiet = np.abs(read) < 0.001
    assert np.diff(np.flatnonzero(~quiet)).max() > 1.9 * library.sample_rate
    as_text, _ = spoken(library, text)
    assert as_text.size > read.size


@pytest.mark.parametrize(
    "name", ["Andrea", "Annie", "f3", "m7", "whisper", "croak", "Reed", "caleb"]
)
def test_breath_and_whisper_are_the_same_each_time_too(library: EspeakLibrary, name: str) -> None:
    first, _ = spoken(library, "Good morning to you.", f"{US}+{name}")
    spoken(library, "Something else.", f"{US}+whisper")
    again, _ = spoken(library, "Good morning to you.", f"{US}+{name}")
    assert np.array_equal(first, again)


def test_a_long_file_name_in_ssml_does_not_end_the_process(library: EspeakLibrary) -> None:
    text = f'<speak>one <audio src="{"A" * 5000}">two</audio> three</speak>'
    assert spoken(library, text, sound=EspeakSound(ssml=True))[0].size


async def test_ssml_is_one_document_whatever_stands_in_it() -> None:
    text = '<speak>One. <break time="3s"/> Two, and three.</speak>'
    async with running_manager() as manager:
        for first in ("clause", "eager", "sentence"):
            options = {"ssml": True, "first_segment": first}
            events, audio = await speak(manager, text, model_specific_options=options)
            assert sum(isinstance(event, SegmentStart) for event in events) == 1
            assert len(audio) > 4 * 48000


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "\ud83d one \ude42", "\x01", "\x7f"])
def test_odd_characters_do_no_harm(library: EspeakLibrary, text: str) -> None:
    spoken(library, f"{text} and more")


def test_the_speed_holds_within_a_tenth(library: EspeakLibrary) -> None:
    text = "The cat watched the rain from the sill with an air of injury."
    normal, _ = spoken(library, text)
    for speed in (0.5, 0.75, 1.5, 2.0, 2.5):
        fast, _ = spoken(library, text, sound=EspeakSound(speed=speed))
        assert normal.size / fast.size == pytest.approx(speed, rel=0.1)


def test_an_exception_of_the_consumer_is_raised(library: EspeakLibrary) -> None:
    def fail(samples: Float32, words: list[tuple[int, int, int]]) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        library.speak("one", voice=US, sound=EspeakSound(), on_audio=fail)
    assert spoken(library, "one")[0].size


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
    library = EspeakLibrary(by_library)
    assert spoken(library, "one")[0].size
    library.close()
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
    library = EspeakLibrary(EspeakFiles(bundled.library, deep / "espeak-ng-data"))
    assert spoken(library, "one")[0].size
    library.close()


def test_data_that_is_none_is_refused_with_the_cure(tmp_path: Path) -> None:
    library = EspeakLibrary(EspeakFiles(EspeakFiles.find({}).library, tmp_path))
    with pytest.raises(BackendUnavailable, match="ESPEAK_DATA_PATH"):
        library.prepare()


async def test_voices_by_every_name_that_people_use() -> None:
    async with running_manager() as manager:
        backend = await manager.get_backend("espeak")
        for name, expected in {
            "en-us": "en-us",
            "EN-US": "en-us",
            "gmw/en-US": "en-us",
            "en-gb": "en",
            "fr-fr": "fr",
            "en-us+f3": "en-us+f3",
            "en-us+ANNIE": "en-us+Annie",
            "yue": "yue",
        }.items():
            voice = backend.find_voice(name)
            assert voice is not None
            assert voice.id == expected
        assert backend.find_voice("en-us+zz") is None
        assert backend.find_voice("nope") is None


async def test_a_language_beside_a_voice_keeps_the_variant() -> None:
    async with running_manager() as manager:
        backend = await manager.get_backend("espeak")
        assert backend.choose_voice("en-us+f3", "de").id == "de+f3"
        assert backend.choose_voice("en-us+f3", "en").id == "en-us+f3"
        assert backend.choose_voice(None, "pt-BR").id == "pt-br"


@pytest.mark.parametrize(
    "options",
    [{"pitch": 101}, {"pitch": "50"}, {"word_gap": -1}, {"ssml": 1}, {"unheard_of": True}],
)
async def test_options_are_checked(options: dict[str, object]) -> None:
    async with running_manager() as manager:
        await manager.get_backend("espeak")
        with pytest.raises(RequestError) as caught:
            manager.plan(
                request("one", model_specific_options=options),
                default_format=AudioFormat.PCM,
                sample_rate=24000,
            )
        assert caught.value.code == "invalid_option"
        assert caught.value.param == f"model_specific_options.{next(iter(options))}"


async def test_options_are_heard() -> None:
    async with running_manager() as manager:
        _, plain = await speak(manager, "one two three")
        _, slow = await speak(manager, "one two three", model_specific_options={"word_gap": 50})
        _, high = await speak(manager, "one two three", model_specific_options={"pitch": 90})
        assert len(slow) > len(plain) + 24000  # two gaps of half a second
        assert high != plain
