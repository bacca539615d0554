from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiced.backends.marks import mark_words


def said(text: str, phonemes: str) -> list[tuple[str, str]]:
    """Return each word with the phonemes that it was given; an edge for each, so they count."""
    marks = mark_words(text, phonemes, range(len(phonemes) + 1))
    begins = [mark.sample for mark in marks] + [len(phonemes)]
    return [
        (text[mark.start : mark.end], phonemes[begin:end].strip())
        for mark, (begin, end) in zip(marks, pairwise(begins), strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "phonemes", "expected"),
    [
        ("The door.", "ðə dˈɔːɹ.", [("The", "ðə"), ("door", "dˈɔːɹ.")]),
        (
            "It is 20.5 now",
            "ɪt ɪz twˈɛnti pɔɪnt fˈaɪv nˈaʊ",
            [("It", "ɪt"), ("is", "ɪz"), ("20.5", "twˈɛnti pɔɪnt fˈaɪv"), ("now", "nˈaʊ")],
        ),
        (
            "It had been quiet",
            "ɪt hɐdbɪn kwˈaɪət",
            [("It", "ɪt"), ("had", "hɐd"), ("been", "bɪn"), ("quiet", "kwˈaɪət")],
        ),
        ("One — two", "wˈʌn — tˈuː", [("One", "wˈʌn —"), ("two", "tˈuː")]),
        ("One", "", []),
        ("—", "— a", []),
    ],
)
def test_each_word_has_its_phonemes(
    text: str, phonemes: str, expected: list[tuple[str, str]]
) -> None:
    assert said(text, phonemes) == expected


@given(st.lists(st.integers(1, 9), max_size=30), st.lists(st.integers(1, 9), max_size=60))
def test_marks_rise_and_each_word_has_one(words: list[int], groups: list[int]) -> None:
    text = " ".join("w" * length for length in words)
    phonemes = " ".join("p" * length for length in groups)
    marks = mark_words(text, phonemes, range(len(phonemes) + 1))
    assert len(marks) in (0, len(words))
    samples = [mark.sample for mark in marks]
    assert samples == sorted(samples)
    # As many groups as there can be for so many words, and as few.
    if words and len(words) <= 3 * len(groups) <= 3 * 12 * len(words):
        assert marks
