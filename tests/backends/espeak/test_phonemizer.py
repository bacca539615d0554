from __future__ import annotations

from collections.abc import Iterator

import pytest

from voiced.backends.espeak.phonemizer import Phonemizer
from voiced.errors import BackendUnavailable, LanguageNotSupported
from voiced.reading.phonemes import without_phonemes


@pytest.fixture(scope="module")
def phonemizer() -> Iterator[Phonemizer]:
    made = Phonemizer()
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("text", "language", "phonemes"),
    [
        ("Hello, world.", "en-us", "həlˈoʊ, wˈɜːld."),
        ("Hello, world.", "en", "həlˈoʊ, wˈɜːld."),
        ("Hello, world.", "EN-GB", "həlˈəʊ, wˈɜːld."),
        ("Guten Tag!", "de", "ɡˈuːtən tˈɑːk!"),
        ("Guten Tag!", "de-AT", "ɡˈuːtən tˈɑːk!"),
        ("Ciao mondo", "it", "tʃˈao mˈondo"),
        ("¿Hola, mundo?", "es", "¿ˈola, mˈundo?"),
        ("Olá, mundo.", "pt-br", "olˈa, mˈu\u0303ŋdʊ."),
        ("un weekend", "fr", "œ\u0303 wiːkˈɛnd"),  # no flags of the other language
        ("你好", "zh-CN", "ni2χˈɑu2"),
        ("two\nlines", "en-us", "tˈuː lˈaɪnz"),
        ("", "en-us", ""),
        ("\ud800\x01", "en-us", ""),
        ("\u200b-\u4f60\u597d", "hi", "cˈiəniəkʂəɾ cˈiəniəkʂəɾ"),  # ended the process
    ],
)
def test_text_becomes_phonemes(
    phonemizer: Phonemizer, text: str, language: str, phonemes: str
) -> None:
    assert phonemizer.phonemes(text, language) == phonemes


@pytest.mark.parametrize("language", ["ja", "hi", "cmn", "fr-fr"])
def test_every_language_of_kokoro_is_known(phonemizer: Phonemizer, language: str) -> None:
    assert phonemizer.phonemes("1 2", language)


def test_an_unknown_language_is_named(phonemizer: Phonemizer) -> None:
    with pytest.raises(LanguageNotSupported, match="'xx-yy'"):
        phonemizer.phonemes("one", "xx-yy")


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("Say [tomato](/təmˈɑːtoʊ/), please.", "sˈeɪ təmˈɑːtoʊ, plˈiːz."),
        ("[a](/eɪ/)", "eɪ"),
        ("[a](/eɪ/) [b](/biː/)!", "eɪ biː!"),
    ],
)
def test_phonemes_may_be_given(phonemizer: Phonemizer, text: str, phonemes: str) -> None:
    assert phonemizer.phonemes(text, "en-us").startswith(phonemes)


def test_given_phonemes_are_no_words() -> None:
    text = "Say [tomato](/təmˈɑːtoʊ/), please."
    blanked = without_phonemes(text)
    assert len(blanked) == len(text)
    assert blanked.split() == ["Say", "tomato", ",", "please."]
    assert blanked.index("tomato") == text.index("tomato")


def test_phonemes_are_kept(phonemizer: Phonemizer) -> None:
    hits = phonemizer._known.cache_info().hits
    phonemizer.phonemes("Again and again.", "en-us")
    phonemizer.phonemes("Again and again.", "en-us")
    assert phonemizer._known.cache_info().hits == hits + 1


def test_what_is_read_never_reaches_a_log(
    phonemizer: Phonemizer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    phonemizer.phonemes("weekend weekend 10.000", "fr-fr")
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_the_environment_names_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHONEMIZER_ESPEAK_LIBRARY", "/no/such/library.so")
    with pytest.raises(BackendUnavailable, match="PHONEMIZER_ESPEAK_LIBRARY"):
        Phonemizer()
