from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiced.protocol.timeline import Timeline
from voiced.speech import SegmentEnd, SegmentStart, Word, Words
from voiced.text import SpeechText

RATE = 1000  # so that a sample is a millisecond
TEXT = "One two. Three."


def timeline(*, is_estimated: bool = False, is_ended: bool = True) -> Timeline:
    """Two segments: words at 100 and 400, a pause, and a word at 1100; all over at 1500."""
    made = Timeline(SpeechText.whole(TEXT), sample_rate=RATE, speed=1.0)
    made.begin(SegmentStart(0, 0, 8, 0, 100))
    made.add(Words((Word(0, 3, 100), Word(4, 7, 400)), is_estimated))
    made.end(SegmentEnd(0, 800), by_word=True)
    made.begin(SegmentStart(1, 9, 15, 800, 200))
    if is_ended:
        made.add(Words((Word(9, 14, 1100),), is_estimated))
        made.end(SegmentEnd(1, 1500), by_word=True)
    return made


@pytest.mark.parametrize(
    ("played", "spoken"),
    [
        (0, ""),
        (399, ""),
        (400, "One "),
        (799, "One "),
        (800, "One two."),
        (1000, "One two. "),
        (1499, "One two. "),
        (1500, TEXT),
        (9999, TEXT),
    ],
)
def test_a_word_is_heard_when_it_is_over(played: int, spoken: str) -> None:
    split = timeline().split(played)
    assert split["text_spoken"] == spoken
    assert split["text_remaining"] == TEXT[len(spoken) :]


def test_what_comes_from_known_words_is_exact() -> None:
    assert timeline().split(400)["exact"] is True
    assert timeline().split(800)["exact"] is True
    assert timeline(is_estimated=True).split(400)["exact"] is False


def test_in_a_segment_without_words_yet_it_is_guessed_and_cuts_no_word() -> None:
    guessed = timeline(is_ended=False)
    assert guessed.split(799)["exact"] is True
    for played in (1001, 1300, 99_999):
        split = guessed.split(played)
        assert split["text_spoken"] == "One two. "
        assert split["exact"] is False


@given(data=st.data())
def test_the_two_parts_are_the_text_whatever_was_played(data: st.DataObject) -> None:
    text = data.draw(st.text(min_size=1, max_size=60))
    growing = SpeechText()
    growing.append(text, at=0)
    made = Timeline(growing, sample_rate=RATE, speed=1.0)
    position, at = 0, 0
    for index in range(data.draw(st.integers(0, 4))):
        end = data.draw(st.integers(position, len(text)))
        made.begin(SegmentStart(index, position, end, at, 5))
        starts = sorted(data.draw(st.sets(st.integers(position, end), max_size=4)))
        words = [Word(start, min(start + 1, end), at + 5 + n * 7) for n, start in enumerate(starts)]
        made.add(Words(tuple(words), is_estimated=data.draw(st.booleans())))
        at += 50
        made.end(SegmentEnd(index, at), by_word=True)
        position = end
    spoken = ""
    for played in sorted(data.draw(st.lists(st.integers(0, 300), max_size=6))):
        split: dict[str, Any] = made.split(played)
        assert split["text_spoken"] + split["text_remaining"] == text
        assert len(split["text_spoken"]) >= len(spoken)  # more is never less
        spoken = split["text_spoken"]
