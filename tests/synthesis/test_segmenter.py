from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiced.backends.base import FirstSegment, SegmentSizes
from voiced.synthesis.segmenter import Piece, Segmenter

SENTENCES = SegmentSizes(preferred=1, largest=400)
GROWING = SegmentSizes(
    preferred=60, largest=110, first=44, growth=2.0, shortest=15, in_phonemes=True
)


def segments(
    text: str,
    *,
    cuts: list[int] | None = None,
    first: FirstSegment = "sentence",
    sizes: SegmentSizes = SENTENCES,
) -> list[Piece]:
    segmenter = Segmenter(sizes, first=first)
    pieces = []
    at = 0
    for cut in [*sorted(cuts or []), len(text)]:
        segmenter.push(text[at:cut])
        at = cut
        while piece := segmenter.next_piece():
            pieces.append(piece)
    segmenter.flush()
    while piece := segmenter.next_piece():
        pieces.append(piece)
    return pieces


def texts(text: str, **options: object) -> list[str]:
    return [piece.text for piece in segments(text, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "It is 19.5 degrees outside.",
        "Dr. Nguyen called Mrs. Smith.",
        "It was J. R. R. Tolkien who wrote it.",
        "See www.example.com/a.html for more.",
        "Leave at 7 a.m. on Tuesday.",
        "Bring bread, milk, etc. for the trip.",
        "Your order no. 4471 is here.",
        "Symphony No. 7 is playing.",
        "Wait... what was that?",
        "The U.S. economy grew.",
        "1. Wash the rice.",
        "Version 3.11.7 is out.",
        "Hello",
    ],
)
def test_one_sentence_stays_whole(text: str) -> None:
    assert texts(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes. No. Perhaps.", ["Yes.", "No.", "Perhaps."]),
        ('He said "Stop!" Then he left.', ['He said "Stop!"', "Then he left."]),
        ("(Really?) Yes!", ["(Really?)", "Yes!"]),
        ("今日は。元気ですか？はい。", ["今日は。", "元気ですか？", "はい。"]),
        ("A heading\n\nA text", ["A heading", "A text"]),
        ("wrapped\nlines stay.", ["wrapped\nlines stay."]),
        ("We meet at 7 p.m. Then we eat.", ["We meet at 7 p.m.", "Then we eat."]),
        ("So do I. Do you?", ["So do I.", "Do you?"]),
        ("It is 2024. That is late.", ["It is 2024.", "That is late."]),
        ("What?! No!!! Oh…", ["What?!", "No!!!", "Oh…"]),
        ("Это всё. Да?", ["Это всё.", "Да?"]),
        ("قال نعم. ثم ذهب.", ["قال نعم.", "ثم ذهب."]),
        ("ماذا؟ لا شيء.", ["ماذا؟", "لا شيء."]),
        ("यह घर है। वह पेड़ है।", ["यह घर है।", "वह पेड़ है।"]),
    ],
)
def test_sentences_end(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("clause", ["Good morning, everyone,", "and welcome."]),
        ("sentence", ["Good morning, everyone, and welcome."]),
    ],
)
def test_the_first_segment_may_end_sooner(first: FirstSegment, expected: list[str]) -> None:
    text = "Good morning, everyone, and welcome."
    found = texts(text, first=first)
    assert found == (["Good morning,", "everyone, and welcome."] if first == "clause" else expected)


def test_an_eager_first_segment_ends_at_a_word() -> None:
    text = "The kettle had been singing for some time before anyone noticed it."
    first, rest = texts(text, first="eager")
    assert (first, rest) == (
        "The kettle had been singing",
        "for some time before anyone noticed it.",
    )


@pytest.mark.parametrize("text", ["", " \n ", "...", "—", "🙂 🙂", "* * *", "!?", "- -", "_"])
def test_nothing_to_say_gives_no_segment(text: str) -> None:
    assert texts(text) == []


def test_stray_marks_join_what_follows() -> None:
    assert texts("... 🙂 ! Yes. No.") == ["... 🙂 ! Yes.", "No."]


def test_a_long_sentence_is_cut_after_a_clause_else_a_word_else_a_character() -> None:
    sizes = SegmentSizes(preferred=1, largest=40)
    assert texts("one two three four, five six seven eight nine ten eleven", sizes=sizes) == [
        "one two three four,",
        "five six seven eight nine ten eleven",
    ]
    assert texts("word " * 20, sizes=sizes) == [("word " * 8).strip()] * 2 + [("word " * 4).strip()]
    assert [len(text) for text in texts("x" * 100, sizes=sizes)] == [40, 40, 20]


def test_a_combining_mark_stays_with_its_letter() -> None:
    pieces = texts("e\u0301" * 100, sizes=SegmentSizes(preferred=1, largest=41))
    assert all(not piece.startswith("\u0301") for piece in pieces)
    pieces = texts("e" + "\u0301" * 100, sizes=SegmentSizes(preferred=1, largest=41))
    assert [len(piece) for piece in pieces] == [41]  # the rest has nothing to say


def test_short_sentences_are_joined_up_to_what_the_backend_prefers() -> None:
    sizes = SegmentSizes(preferred=20, largest=400)
    assert texts("Yes. One. Two. Three. Four. Five. Six.", sizes=sizes) == [
        "Yes.",
        "One. Two. Three. Four.",
        "Five. Six.",
    ]


KETTLE = (
    "The kettle had been singing for some time before anyone noticed it. Outside, a thin rain fell "
    "on the garden, and the cat, who disliked rain almost as much as she disliked visitors, "
    "watched it from the sill with an expression of personal injury. It was, by any fair measure, "
    "a quiet morning."
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OK.", ["OK."]),
        ("The front door is open.", ["The front door is open."]),
        ("Done. I've turned off the light.", ["Done. I've turned off the light."]),
        ("It is open, sir.", ["It is open, sir."]),
        (
            "I have turned off the lights in the kitchen. Good night.",
            ["I have turned off the lights", "in the kitchen. Good night."],
        ),
        ("It is 19.5 degrees and 65 percent.", ["It is 19.5 degrees", "and 65 percent."]),
    ],
)
def test_a_first_piece_is_short_and_none_is_tiny(text: str, expected: list[str]) -> None:
    assert texts(text, first="clause", sizes=GROWING) == expected


def test_pieces_grow() -> None:
    pieces = texts(KETTLE, first="clause", sizes=GROWING)
    assert pieces[:2] == [
        "The kettle had been singing for some time",
        "before anyone noticed it. Outside, a thin rain fell on the garden, and the cat,",
    ]
    sizes = [len(piece) for piece in pieces]
    assert all(after <= 2 * before for before, after in pairwise(sizes))
    assert max(sizes) <= 110


@pytest.mark.parametrize(
    ("growth", "second"),
    [(1.0, "before anyone noticed it."), (1.5, "before anyone noticed it. Outside,")],
)
def test_a_slow_engine_grows_less(growth: float, second: str) -> None:
    sizes = replace(GROWING, growth=growth)
    assert texts(KETTLE, first="clause", sizes=sizes)[1] == second


def test_the_first_may_be_a_whole_sentence() -> None:
    first = texts(KETTLE, first="sentence", sizes=GROWING)[0]
    assert first == "The kettle had been singing for some time before anyone noticed it."


def test_a_flush_speaks_what_there_is() -> None:
    segmenter = Segmenter(SENTENCES)
    segmenter.push("Well then")
    assert segmenter.next_piece() is None
    segmenter.flush()
    segmenter.push(" and on")
    assert segmenter.next_piece() == Piece("Well then", 0, 9)
    assert segmenter.next_piece() is None
    segmenter.flush()
    assert segmenter.next_piece() == Piece("and on", 10, 16)


fragments = st.sampled_from(
    [
        *["Dr. ", "a", "B", "word ", "etc. ", ". ", "...", "…", "? ", "! ", "\n\n", "\n", " "],
        *[
            "1",
            "1. ",
            "。",
            "日",
            "🙂",
            ", ",
            "\u0301",
            "No. ",
            "a.m. ",
            "—",
            '"',
            "👩\u200d👧",
            "م ",
        ],
        *["\ud800", "،", "**", "# ", "3.5", "U.S. "],
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(fragments, max_size=80),
    cuts=st.lists(st.integers(0, 200), max_size=30),
    first=st.sampled_from(["clause", "sentence", "eager"]),
    sizes=st.one_of(
        st.builds(SegmentSizes, st.sampled_from([1, 30]), st.sampled_from([40, 60, 400])),
        st.just(GROWING),
    ),
)
def test_pushes_do_not_matter(
    parts: list[str], cuts: list[int], first: FirstSegment, sizes: SegmentSizes
) -> None:
    text = "".join(parts)
    cuts = [min(cut, len(text)) for cut in cuts]
    whole = segments(text, first=first, sizes=sizes)
    assert segments(text, cuts=cuts, first=first, sizes=sizes) == whole
    assert segments(text, cuts=list(range(len(text))), first=first, sizes=sizes) == whole
    for before, after in pairwise(whole):
        assert before.end <= after.start
    for piece in whole:
        assert text[piece.start : piece.end] == piece.text == piece.text.strip()
        assert len(piece.text) < sizes.largest + sizes.shortest
    assert _said(text) == "".join(_said(piece.text) for piece in whole)


def _said(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


@pytest.mark.parametrize("text", ["!" * 200_000, "a" * 200_000, "\n" * 200_000, "etc. " * 40_000])
def test_the_cost_is_linear(text: str) -> None:
    began = time.process_time()
    segments(text)
    assert time.process_time() - began < 2  # quadratic would be minutes


def test_a_book_is_looked_at_no_further_than_its_first_sentence() -> None:
    segmenter = Segmenter(SENTENCES)
    segmenter.push("One sentence. " + "And another one. " * 60_000)
    began = time.process_time()
    assert segmenter.next_piece() == Piece("One sentence.", 0, 13)
    assert time.process_time() - began < 0.01


def test_a_word_is_not_parted_from_its_phonemes() -> None:
    given = "[New York City](/nˈuː jˈɔːɹk sˈɪɾi/)"
    for offset in range(120):
        text = f"{'a lot of words ' * 10}"[:offset] + f" {given} and some more words after it. " * 3
        for growth in (1.1, 2.5):
            pieces = texts(text, first="clause", sizes=replace(GROWING, growth=growth))
            assert sum(piece.count(given) for piece in pieces) == 3, pieces


def test_growing_segments_reach_the_largest_however_little_they_grow() -> None:
    sizes = replace(GROWING, growth=1.2)
    text = "the kettle had been singing for some time before anyone noticed it " * 20
    lengths = [len(piece) for piece in texts(text, first="clause", sizes=sizes)]
    assert max(lengths[:3]) <= 44 * 1.2**3
    assert min(lengths[8:-1]) > 60  # it breathes before a preposition


@pytest.mark.parametrize("text", ["See https://example.com/" + "a" * 128 + " for more of it."])
def test_no_segment_is_tiny_though_what_follows_has_no_space(text: str) -> None:
    assert min(map(len, texts(text, first="clause", sizes=GROWING))) >= 15
