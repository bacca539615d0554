from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import run

from voiced.backends.base import SegmentSizes
from voiced.synthesis.script import Cutter, Script
from voiced.synthesis.segmenter import Piece, Segmenter, Uncut
from voiced.text import SpeechText

SIZES = SegmentSizes(preferred=20, largest=60)
WORDS = [
    *("Hello", "Dr.", "3.14", "naïve", "e\u0301", "👩\u200d🚀", "🇩🇪", "\ud83d"),
    *("日本語。", "שלום.", "مرحبا،", "ماذا؟", "क्ष।", "http://a.b/c?d=1", "U.S. "),
    *(" ", "  ", "\n", "\n\n", ". ", ", ", "! ", "? ", "…", "1. "),
]


def pieces(text: str, pushes: list[str], cutter: Cutter | None = None) -> list[Piece]:
    """Push, one part at each turn of the loop, while a reader reads."""

    async def main() -> list[Piece]:
        growing = SpeechText(max_delay_s=3)
        script = Script(growing, cutter or Segmenter(SIZES))

        async def push() -> None:
            for part in pushes:
                growing.append(part, at=0)
                await asyncio.sleep(0)
            growing.end()

        pushing = asyncio.create_task(push())
        found = []
        while (piece := await script.next()) is not None:
            assert isinstance(piece, Piece)
            assert text[piece.start : piece.end] == piece.text
            found.append(piece)
        await pushing
        return found

    return run(main())


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=60), data=st.data())
def test_any_split_of_a_text_gives_the_same_pieces(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=20)))
    split = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = pieces(text, [text])
    assert pieces(text, split) == whole
    assert pieces(text, list(text)) == whole


def test_a_document_is_one_piece_however_it_came() -> None:
    text = " <speak>One. <break/>\n\nTwo. </speak> "
    (piece,) = pieces(text, list(text), Uncut())
    assert piece.text == text.strip()
    assert pieces(" ... ", [" ... "], Uncut()) == []


def test_a_flush_lets_all_before_it_be_spoken_and_is_told_after_it() -> None:
    async def main() -> None:
        text = SpeechText()
        script = Script(text, Segmenter(SIZES))
        text.append("One, two", at=0)
        assert text.flush() == 1
        text.append(" three", at=0)
        piece = await script.next()
        assert isinstance(piece, Piece)
        assert (piece.text, piece.start, piece.end) == ("One, two", 0, 8)
        assert await script.next() == 1
        text.flush()
        text.flush()
        text.end()
        piece = await script.next()
        assert isinstance(piece, Piece)
        assert (piece.text, piece.start) == ("three", 9)
        assert [await script.next() for _ in range(3)] == [2, 3, None]

    run(main())


def test_text_that_has_waited_too_long_is_spoken_as_it_stands() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        text = SpeechText(max_delay_s=3)
        script = Script(text, Segmenter(SIZES, first="sentence"))
        text.append("Done. ", at=0)
        await asyncio.sleep(2)
        text.append("And th", at=loop.time())
        asyncio.get_running_loop().call_later(1, lambda: text.append("en", at=3))
        first, second = await script.next(), await script.next()
        assert isinstance(first, Piece)
        assert isinstance(second, Piece)
        # The white space has waited since 0, but nobody waits to hear it.
        assert (loop.time(), first.text, second.text) == (5, "Done.", "And then")
        text.end()
        assert await script.next() is None

    run(main())


def test_without_a_delay_text_waits_for_ever() -> None:
    async def main() -> None:
        text = SpeechText(max_delay_s=0)
        script = Script(text, Segmenter(SIZES))
        text.append("And th", at=0)
        asyncio.get_running_loop().call_later(10_000, text.end)
        piece = await script.next()
        assert isinstance(piece, Piece)
        assert asyncio.get_running_loop().time() == 10_000

    run(main())


def test_a_document_is_spoken_when_it_is_whole_however_late() -> None:
    async def main() -> None:
        text = SpeechText(max_delay_s=3)
        script = Script(text, Uncut())
        text.append("<speak>One", at=0)
        asyncio.get_running_loop().call_later(60, lambda: text.append("</speak>", at=60))
        asyncio.get_running_loop().call_later(61, text.flush)
        piece = await script.next()
        assert isinstance(piece, Piece)
        assert piece.text == "<speak>One</speak>"

    run(main())
