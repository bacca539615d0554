"""How names are said: the file, who it is for, and where in a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from voiced.errors import ConfigError
from voiced.reading.aloud import apply_changes
from voiced.reading.lexicon import Entry, Lexicon, Speaker
from voiced.reading.pronunciation import Pronunciation

KOKORO = Speaker("en-us", frozenset({"local_kokoro", "kokoro"}), takes_phonemes=True)
ESPEAK = Speaker("en-us", frozenset({"espeak"}))


def said(text: str, speaker: Speaker = ESPEAK, *, reads_aloud: bool = True, **entry: Any) -> str:
    lexicon = Lexicon([Entry.model_validate({"write": "Siobhán", "say": "shi vawn"} | entry)])
    pronunciation = Pronunciation(lexicon, speaker, reads_aloud)
    return apply_changes(text, pronunciation.changes(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Siobhán is here.", "shi vawn is here."),
        ("SIOBHÁN's book", "shi vawn's book"),
        ("Tell siobhán, please.", "Tell shi vawn, please."),
        ("Siobhánna", "Siobhánna"),
        ("a Siobhán-like name", "a shi vawn-like name"),
    ],
)
def test_whole_words_are_found_whatever_their_case(text: str, expected: str) -> None:
    assert said(text) == expected


def test_case_counts_where_it_is_said() -> None:
    entry: dict[str, Any] = {"write": "US", "say": "U S", "case": True}
    assert said("The US and us.", **entry) == "The U S and us."


def test_a_phrase_may_be_written_with_any_space() -> None:
    assert said("New\n York  is big.", write="New York", say="Noo Yawk") == "Noo Yawk  is big."


def test_the_longest_goes_first() -> None:
    lexicon = Lexicon([Entry(write="York", say="short"), Entry(write="New York", say="long")])
    pronunciation = Pronunciation(lexicon, ESPEAK, reads_aloud=True)
    text = "York and New York"
    assert apply_changes(text, pronunciation.changes(text)) == "short and long"


def test_a_later_entry_goes_before_an_earlier_one() -> None:
    lexicon = Lexicon([Entry(write="York", say="old"), Entry(write="york", say="new")])
    pronunciation = Pronunciation(lexicon, ESPEAK, reads_aloud=True)
    assert apply_changes("York", pronunciation.changes("York")) == "new"


def test_phonemes_are_for_those_who_take_them() -> None:
    entry: dict[str, Any] = {"ipa": "ʃɪvˈɔːn"}
    assert said("Siobhán!", KOKORO, **entry) == "[Siobhán](/ʃɪvˈɔːn/)!"
    assert said("Siobhán!", ESPEAK, **entry) == "shi vawn!"
    assert said("Siobhán!", ESPEAK, say="", **entry) == "Siobhán!"


@pytest.mark.parametrize(
    ("entry", "is_said"),
    [
        ({"language": "en"}, True),
        ({"language": "en-US"}, True),
        ({"language": "en-gb"}, False),
        ({"language": "de"}, False),
        ({"backend": "espeak"}, True),
        ({"backend": "kokoro"}, False),
    ],
)
def test_an_entry_may_be_for_some(entry: dict[str, Any], *, is_said: bool) -> None:
    assert (said("Siobhán", **entry) == "shi vawn") == is_said


def test_the_lexicon_goes_before_the_rules() -> None:
    assert said("5 km and 3 km", write="5 km", say="five K") == "five K and 3 kilometres"
    assert said("$5 for Siobhán", reads_aloud=False) == "$5 for shi vawn"


def test_phonemes_in_the_text_go_before_the_lexicon() -> None:
    text = "[Siobhán](/ʃɪv/) and Siobhán"
    assert said(text, KOKORO) == "[Siobhán](/ʃɪv/) and shi vawn"


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "lexicon.toml"
    file.write_text('[[word]]\nwrite = "Siobhán"\nsay = "shi vawn"\n', "utf-8")
    found = Lexicon.read(file).find("Siobhán", ESPEAK)
    assert [change.text for change in found] == ["shi vawn"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[[word]", "lexicon.toml: "),
        ('[[word]]\nwrite = "x"\n', "word.0: Value error, it has neither say nor ipa"),
        ('[[word]]\nsay = "x"\n', "word.0.write: Field required"),
        ('[[word]]\nwrite = "x"\nsays = "y"\n', "word.0.says: Extra inputs"),
        ('[[word]]\nwrite = "x"\nipa = "plain"\n', "ipa is no IPA"),
        ('[[word]]\nwrite = "[x]"\nipa = "ə"\n', "write has brackets"),
        ("[[words]]\n", "words: Extra inputs"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "lexicon.toml"
    file.write_text(content, "utf-8")
    with pytest.raises(ConfigError) as refused:
        Lexicon.read(file)
    assert any(fault in problem for problem in refused.value.problems)
    with pytest.raises(ConfigError):
        Lexicon.read(tmp_path / "none.toml")
