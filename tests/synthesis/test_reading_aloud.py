"""What is said otherwise than it is written keeps its place in the text."""

from __future__ import annotations

import pytest
from support import running_manager, scripted, speak

from voiced.reading.lexicon import Entry, Lexicon
from voiced.speech import Notice, SegmentStart, SpeechEvent, Words
from voiced.synthesis.catalogue import SpeechDefaults

TEXT = "It was $12.50 at 7 p.m. and nobody paid."


def spans(events: list[SpeechEvent]) -> list[tuple[int, int]]:
    words = [word for event in events if isinstance(event, Words) for word in event.words]
    return [(word.text_start, word.text_end) for word in words]


async def spoken_by(kind: type, **keys: object) -> list[str]:
    async with running_manager({"scripted": kind}, **keys) as manager:  # type: ignore[arg-type]
        await speak(manager, TEXT)
        return list(kind.made[0].spoken)  # type: ignore[attr-defined]


async def test_an_engine_gets_what_is_to_be_said() -> None:
    said = await spoken_by(scripted())
    assert "".join(said) == "It was 12 dollars 50 cents at 7 p m and nobody paid."


async def test_it_can_be_turned_off() -> None:
    said = await spoken_by(scripted(), defaults=SpeechDefaults(reads_aloud=False))
    assert "".join(said) == TEXT


async def test_who_reads_well_gets_it_as_it_is_written() -> None:
    kind = scripted()
    kind.reads_well = True
    assert "".join(await spoken_by(kind)) == TEXT


async def test_raw_text_is_said_as_it_stands() -> None:
    kind = scripted()
    async with running_manager({"scripted": kind}) as manager:
        manager.lexicon = Lexicon([Entry(write="nobody", say="no body")])
        await speak(manager, TEXT, model_specific_options={"raw": True})
    assert "".join(kind.made[0].spoken) == TEXT


@pytest.mark.parametrize("marked", ["espeak", "scripted"])
async def test_words_are_marked_where_they_are_written(marked: str) -> None:
    types = {"scripted": scripted()} if marked == "scripted" else None
    async with running_manager(types) as manager:
        events, _ = await speak(manager, TEXT)
    found = spans(events)
    assert found == sorted(set(found))
    written = [TEXT[start:end] for start, end in found]
    assert written[:3] == ["It", "was", "$12.50"]
    assert written[-1] == "paid"
    (segment,) = [event for event in events if isinstance(event, SegmentStart)]
    assert (segment.text_start, segment.text_end) == (0, len(TEXT))


async def test_the_lexicon_keeps_places_too() -> None:
    async with running_manager() as manager:
        manager.lexicon = Lexicon([Entry(write="nobody", say="not a single soul")])
        events, _ = await speak(manager, TEXT)
    assert [TEXT[a:b] for a, b in spans(events)].count("nobody") == 1


async def test_who_stands_in_says_the_rest_as_it_is_written_for_him() -> None:
    """The first engine breaks within what it says for the amount; the second begins with it."""
    failing, good = scripted(fails_after_chunks=20), scripted()
    async with running_manager({"failing": failing, "good": good}) as manager:
        events, audio = await speak(manager, TEXT, model="failing")
        assert any(isinstance(event, Notice) for event in events)
        assert audio
    rest = "".join(good.made[0].spoken)
    assert rest.endswith("and nobody paid.")
    assert "12 dollars 50 cents at 7 p m" in rest
    assert "dollars dollars" not in rest
