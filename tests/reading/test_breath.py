from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiced.reading.breath import last_breath
from voiced.reading.phonemes import count_phonemes, reach_phonemes


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The front door is open.", 18, 26),  # as espeak says them, 21
        ("at 19.5 degrees", 20, 32),
        ("20%", 12, 22),
        ("日本語", 9, 18),
        ("", 0, 0),
    ],
)
def test_phonemes_are_guessed(text: str, least: int, most: int) -> None:
    assert least <= count_phonemes(text, 0, len(text)) <= most


@given(
    st.text(alphabet="ab 1%日カ", max_size=40),
    st.integers(0, 10),
    st.integers(1, 60),
)
def test_a_part_is_the_longest_that_fits(text: str, start: int, count: int) -> None:
    start = min(start, len(text))
    end = reach_phonemes(text, start, count)
    assert end > start
    within = min(end, len(text))
    assert count_phonemes(text, start, within) <= count or within == start + 1
    if end < len(text):
        assert count_phonemes(text, start, end + 1) > count


@pytest.mark.parametrize(
    ("text", "breath"),
    [
        ("we sat down because of the rain", "because of the rain"),
        ("He knew that", None),  # a word may go on
        ("We stood UNTIL dawn", "UNTIL dawn"),
        ("wir gingen weil es regnete", "weil es regnete"),
        ("the sandwich", None),
        ("and then", None),
    ],
)
def test_a_reader_breathes_before_a_conjunction(text: str, breath: str | None) -> None:
    found = last_breath(text, 0, len(text), limit=len(text))
    assert (None if found is None else text[found:]) == breath


def test_a_breath_stands_within_the_part() -> None:
    text = "one and two and three"
    assert last_breath(text, 0, 11, limit=len(text)) == 4
    assert last_breath(text, 0, 12, limit=len(text)) == 12
    assert last_breath(text, 5, 11, limit=len(text)) is None
