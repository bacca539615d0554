from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from virtual import run

from voiced.backends.base import FirstSegment, SegmentSizes
from voiced.reading.markup import MarkupReader
from voiced.reading.reader import VerbatimReader
from voiced.synthesis.script import Passage, Script
from voiced.synthesis.segmenter import Segmenter, Uncut
from voiced.text import SpeechText

SIZES = SegmentSizes(preferred=20, largest=60)
WORDS = [
    *("Hello", "Dr.", "3.14", "naïve", "e\u0301", "👩\u200d🚀", "🇩🇪", "\ud83d"),
    *("日本語。", "שלום.", "مرحبا،", "ماذا؟", "क्ष।", "http://a.b/c?d=1", "U.S. "),
    *(" ", "  ", "\n", "\n\n", ". ", ", ", "! ", "? ", "…", "1. "),
    *("**", "*", "# ", "- ", "`", "```\n", "[a](b)", "|", "🎉", "---", "<br>", "&amp;", "> "),
]


Made = tuple[str, int, int]


def scripted(text: SpeechText, *, first: FirstSegment = "clause") -> Script:
    return Script(text, reader=MarkupReader(), cutter=Segmenter(SIZES, first=first))


def passages(text: str, pushes: list[str], *, is_document: bool = False) -> list[Made]:
    """Push, one part at each turn of the loop, while a reader reads."""

    async def main() -> list[Made]:
        growing = SpeechText(max_delay_s=3)
        script = (
            Script(growing, reader=VerbatimReader(), cutter=Uncut())
            if is_document
            else scripted(growing)
        )

        async def push() -> None:
            for part in pushes:
                growing.append(part, at=0)
                await asyncio.sleep(0)
            growing.end()

        pushing = asyncio.create_task(push())
        found: list[Made] = []
        while (passage := await script.next()) is not None:
            assert isinstance(passage, Passage)
            assert not found or passage.start >= found[-1][2]
            assert not text[passage.start : passage.end][:1].isspace()
            found.append((passage.text, passage.start, passage.end))
        await pushing
        return found

    return run(main())


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=60), data=st.data())
def test_any_split_of_a_text_gives_the_same_passages(words: list[str], data: st.DataObject) -> None:
    text = "".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=20)))
    split = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = passages(text, [text])
    assert passages(text, split) == whole
    assert passages(text, list(text)) == whole


def test_a_document_is_one_passage_however_it_came() -> None:
    text = " <speak>One. <break/>\n\nTwo. </speak> "
    (found,) = passages(text, list(text), is_document=True)
    assert found == (text.strip(), 1, len(text) - 1)
    assert passages(" ... ", [" ... "], is_document=True) == []


def test_a_flush_lets_all_before_it_be_spoken_and_is_told_after_it() -> None:
    async def main() -> None:
        text = SpeechText()
        script = scripted(text)
        text.append("One, two", at=0)
        assert text.flush() == 1
        text.append(" three", at=0)
        passage = await script.next()
        assert isinstance(passage, Passage)
        assert (passage.text, passage.start, passage.end) == ("One, two", 0, 8)
        assert await script.next() == 1
        text.flush()
        text.flush()
        text.end()
        passage = await script.next()
        assert isinstance(passage, Passage)
        assert (passage.text, passage.start) == ("three", 9)
        assert [await script.next() for _ in range(3)] == [2, 3, None]

    run(main())


def test_text_that_has_waited_too_long_is_spoken_as_it_stands() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        text = SpeechText(max_delay_s=3)
        script = scripted(text, first="sentence")
        text.append("Done. ", at=0)
        await asyncio.sleep(2)
        text.append("And th", at=loop.time())
        asyncio.get_running_loop().call_later(1, lambda: text.append("en", at=3))
        first, second = await script.next(), await script.next()
        assert isinstance(first, Passage)
        assert isinstance(second, Passage)
        # The white space has waited since 0, but nobody waits to hear it.
        assert (loop.time(), first.text, second.text) == (5, "Done.", "And then")
        text.end()
        assert await script.next() is None

    run(main())


def test_without_a_delay_text_waits_for_ever() -> None:
    async def main() -> None:
        text = SpeechText(max_delay_s=0)
        script = scripted(text)
        text.append("And th", at=0)
        asyncio.get_running_loop().call_later(10_000, text.end)
        passage = await script.next()
        assert isinstance(passage, Passage)
        assert asyncio.get_running_loop().time() == 10_000

    run(main())


def test_a_document_is_spoken_when_it_is_whole_however_late() -> None:
    async def main() -> None:
        text = SpeechText(max_delay_s=3)
        script = Script(text, reader=VerbatimReader(), cutter=Uncut())
        text.append("<speak>One", at=0)
        asyncio.get_running_loop().call_later(60, lambda: text.append("</speak>", at=60))
        asyncio.get_running_loop().call_later(61, text.flush)
        passage = await script.next()
        assert isinstance(passage, Passage)
        assert passage.text == "<speak>One</speak>"

    run(main())


def test_markup_is_not_said_and_each_passage_knows_where_it_stands() -> None:
    text = "## Plan\n- **Milk**, [eggs](http://x/y)\n- tea 🎉\n"
    found = passages(text, [text])
    assert [said for said, _, _ in found] == ["Plan.", "Milk, eggs.\ntea."]
    assert [text[start:end] for _, start, end in found] == [
        "Plan",
        "Milk**, [eggs](http://x/y)\n- tea",
    ]


def test_what_the_reader_still_thinks_about_is_spoken_when_it_has_waited_too_long() -> None:
    async def main() -> None:
        text = SpeechText(max_delay_s=3)
        script = scripted(text)
        text.append("Done.\n12", at=0)  # it may become the number of a list's item
        first, second = await script.next(), await script.next()
        assert isinstance(first, Passage)
        assert isinstance(second, Passage)
        assert (first.text, second.text) == ("Done.", "12")
        assert asyncio.get_running_loop().time() == 3

    run(main())


def test_text_that_says_nothing_lets_others_go_on() -> None:
    async def main() -> int:
        text = SpeechText()
        text.append("*" * 100_000, at=0)
        text.end()
        reading = asyncio.create_task(scripted(text).next())
        turns = 0
        while not reading.done():
            turns += 1
            await asyncio.sleep(0)
        assert reading.result() is None
        return turns

    assert run(main()) > 50
