"""The wire contract of `voiced.v1`: marks. The checker sees to their order and bounds."""

from __future__ import annotations

from typing import Any

import pytest
from texts import SENTENCES, UNFINISHED, cuts
from wire import Wire


async def a_voice_that_knows_words(wire: Wire) -> dict[str, str]:
    voices = (await wire.call("voices/list", language="en"))["voices"]
    states = {m["id"]: m["state"] for m in (await wire.call("models/list"))["models"]}
    for voice in voices:
        if voice["marks"] == "word" and states.get(voice["model"]) == "ready":
            return {"voice": voice["id"], "model": voice["model"]}
    pytest.skip("no voice that is ready knows its words")


@pytest.mark.parametrize("marks", ["segment", "word"])
@pytest.mark.parametrize("response_format", ["pcm", "opus"])
async def test_marks_follow_every_segment_where_asked_for(
    wire: Wire, marks: str, response_format: str
) -> None:
    speech = await wire.speak(SENTENCES, marks=marks, response_format=response_format)
    assert [data["segment"] for data in speech.marks] == list(range(len(speech.segments)))
    assert all(data["marks"] for data in speech.marks)


async def test_marks_leave_the_audio_as_it_is(wire: Wire) -> None:
    plain = await wire.speak(SENTENCES)
    for marks in ("segment", "word"):
        speech = await wire.speak(SENTENCES, marks=marks)
        assert speech.ranges == plain.ranges
        assert speech.samples == plain.samples


@pytest.mark.parametrize(
    "text",
    [
        "Good morning everybody here",
        "\N{GRINNING FACE}\N{GRINNING FACE} Good morning \N{GRINNING FACE} everybody here",
        "  Good   morning\n everybody\t here ",
    ],
)
async def test_word_marks_are_the_words(wire: Wire, text: str) -> None:
    speech = await wire.speak(text, marks="word", **await a_voice_that_knows_words(wire))
    marks = [mark for data in speech.marks for mark in data["marks"]]
    words = [text[start:end] for start, end, _, _ in marks]
    assert [word for word in words if word.isalpha()] == ["Good", "morning", "everybody", "here"]
    starts = [mark[2] for mark in marks if text[mark[0] : mark[1]].isalpha()]
    assert starts == sorted(set(starts))


@pytest.mark.parametrize("fields", [{}, {"speed": 2.0}, {"sample_rate": 8000}])
@pytest.mark.parametrize("marks", ["segment", "word"])
async def test_the_marks_of_a_segment_lie_within_its_audio(
    wire: Wire, fields: dict[str, Any], marks: str
) -> None:
    speech = await wire.speak(SENTENCES, marks=marks, **fields)
    positions = [*(position for _, _, position in speech.ranges), speech.samples]
    for data in speech.marks:
        first, last = positions[data["segment"]], positions[data["segment"] + 1]
        for _, _, start_ms, end_ms in data["marks"]:
            assert first * 1000 / speech.rate - 1 <= start_ms <= end_ms
            assert end_ms <= last * 1000 / speech.rate + 1


async def test_marks_come_in_incremental_speeches_too(wire: Wire) -> None:
    whole = await wire.speak(SENTENCES, marks="word")
    speech = await wire.tell(cuts(SENTENCES, 2), marks="word")
    assert speech.marks == whole.marks


async def test_marks_come_through_a_window_too(wire: Wire) -> None:
    whole = await wire.speak(SENTENCES, marks="word")
    speech = await wire.begin(SENTENCES, marks="word", window_ms=200)
    await wire.play(speech)
    assert speech.marks == whole.marks


async def test_a_flush_comes_after_the_marks_of_what_it_flushed(wire: Wire) -> None:
    speech = await wire.open(max_delay_ms=0, marks="segment")
    await wire.call("speech/text", speech=speech.id, text=UNFINISHED)
    await wire.call("speech/flush", speech=speech.id)
    await wire.until(lambda: speech.flushed != [] and speech.marks != [])
    await wire.call("speech/end", speech=speech.id)
    await wire.end(speech)
    assert speech.reason == "complete"
