"""The wire contract of `voiced.v1`: a speech whose text comes in parts."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import pytest
from doors import own_daemon
from heard import code_units
from texts import FORMATS, PROSE, REFUSED, SENTENCES, SHORT, UNFINISHED, cuts, letters
from wire import SILENCE_S, Wire


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([PROSE], id="whole"),
        pytest.param(list(PROSE), id="one by one"),
        pytest.param(re.findall(r"\S+\s*", PROSE), id="words"),
        *(pytest.param(cuts(PROSE, seed), id=f"seed {seed}") for seed in range(6)),
    ],
)
async def test_text_in_any_parts_is_spoken_as_the_whole_would_be(
    wire: Wire, parts: list[str]
) -> None:
    assert "".join(parts) == PROSE
    whole = await wire.speak(PROSE)
    speech = await wire.tell(parts)
    assert speech.ranges == whole.ranges
    assert speech.samples == whole.samples
    assert speech.audio == whole.audio


@pytest.mark.parametrize("response_format", FORMATS)
async def test_text_in_parts_gives_the_same_speech_in_every_format(
    wire: Wire, response_format: str
) -> None:
    whole = await wire.speak(SENTENCES, response_format=response_format)
    parts = cuts(SENTENCES, 3)
    speech = await wire.tell(parts, response_format=response_format, sample_rate=24000)
    assert speech.end is not None
    assert whole.end is not None
    assert speech.end["samples"] == whole.end["samples"]
    assert [r[:2] for r in speech.ranges] == [r[:2] for r in whole.ranges]
    assert speech.audio.startswith(FORMATS[response_format])


async def test_a_whole_incremental_speech_fits_into_one_array(wire: Wire) -> None:
    opened = wire.command("speech/open", max_delay_ms=0)
    commands = [opened]
    commands += [
        wire.command("speech/text", speech=opened["id"], text=part) for part in cuts(SENTENCES, 1)
    ]
    commands.append(wire.command("speech/end", speech=opened["id"]))
    await wire.send_all(*commands)
    speech = await wire.end(wire.speeches[opened["id"]])
    assert speech.reason == "complete"
    assert speech.ranges == (await wire.speak(SENTENCES)).ranges


async def test_an_incremental_speech_can_be_quiet_throughout(wire: Wire) -> None:
    speech = wire.speeches[await wire.send("speech/open", quiet=True)]
    await wire.send("speech/text", speech=speech.id, text=SHORT, quiet=True)
    await wire.send("speech/flush", speech=speech.id, quiet=True)
    await wire.send("speech/end", speech=speech.id, quiet=True)
    await wire.end(speech)
    assert speech.reason == "complete"
    assert speech.samples
    assert len(speech.flushed) == 1


async def test_what_is_said_is_spoken_before_the_text_ends(wire: Wire) -> None:
    speech = await wire.open()
    await wire.call("speech/text", speech=speech.id, text=SENTENCES + " And")
    await wire.until(lambda: speech.samples > 0)
    assert speech.end is None


async def test_halves_of_a_character_in_two_parts_are_not_joined(wire: Wire) -> None:
    parts = ["Hello \ud83d", "\ude42 there. \ud83d", "", "\ude42 Good morning"]
    speech = await wire.tell(parts)
    assert letters(speech.text) <= speech.covered
    assert speech.segments[-1]["text_end"] == len("".join(parts))


@pytest.mark.parametrize("parts", [[], [""], ["  ", "\n"], ["...", "?!"]])
async def test_an_end_without_speakable_text_is_complete_and_silent(
    wire: Wire, parts: list[str]
) -> None:
    speech = await wire.tell(parts)
    assert speech.order == ["speech-start", "notice no_speakable_text", "speech-end"]


async def test_a_flush_speaks_what_is_unfinished_and_says_when_it_was_sent(wire: Wire) -> None:
    speech = await wire.open(max_delay_ms=0)
    await wire.call("speech/text", speech=speech.id, text=UNFINISHED)
    await wire.listen(SILENCE_S)
    assert not speech.frames
    flush = (await wire.call("speech/flush", speech=speech.id))["flush"]
    await wire.until(lambda: speech.flushed != [])
    assert speech.flushed == [{"flush": flush, "position": speech.samples}]
    assert speech.spoken == [UNFINISHED]
    assert speech.samples
    assert speech.end is None


async def test_every_flush_has_its_own_number_and_place(wire: Wire) -> None:
    speech = await wire.open(max_delay_ms=0)
    commands = []
    for number in range(4):
        text = f"and then number {number} came "
        commands.append(wire.command("speech/text", speech=speech.id, text=text))
        commands.append(wire.command("speech/flush", speech=speech.id))
    commands.append(wire.command("speech/end", speech=speech.id))
    await wire.send_all(*commands)
    await wire.end(speech)
    assert [data["flush"] for data in speech.flushed] == speech.flushes
    assert len(set(speech.flushes)) == 4
    ends = [len(speech.text) * (number + 1) // 4 for number in range(4)]
    for end, flushed in zip(ends, speech.flushed, strict=True):
        later = [position for start, _, position in speech.ranges if start >= end]
        assert flushed["position"] == min(later, default=speech.samples)


async def test_a_flush_cuts_the_text_where_it_stands(wire: Wire) -> None:
    speech = await wire.open(max_delay_ms=0)
    await wire.send("speech/text", speech=speech.id, text="Good morn")
    await wire.send("speech/flush", speech=speech.id)
    await wire.send("speech/text", speech=speech.id, text="ing to you")
    await wire.send("speech/end", speech=speech.id)
    await wire.end(speech)
    assert speech.spoken == ["Good morn", "ing to you"]


async def test_a_flush_with_nothing_to_say_is_told_at_once(wire: Wire) -> None:
    speech = await wire.open(max_delay_ms=0)
    first = (await wire.call("speech/flush", speech=speech.id))["flush"]
    await wire.until(lambda: len(speech.flushed) == 1)
    assert speech.flushed[0] == {"flush": first, "position": 0}
    await wire.call("speech/text", speech=speech.id, text=SHORT)
    await wire.call("speech/flush", speech=speech.id)
    await wire.until(lambda: len(speech.flushed) == 2)
    await wire.call("speech/flush", speech=speech.id)
    await wire.until(lambda: len(speech.flushed) == 3)
    assert [data["position"] for data in speech.flushed] == [0, speech.samples, speech.samples]


async def test_unfinished_text_waits_max_delay_ms_and_for_ever_where_that_is_0(wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    never = await wire.open(max_delay_ms=0)
    default = await wire.open(mode="parallel")
    soon = await wire.open(mode="parallel", max_delay_ms=300)
    for speech in (never, default, soon):
        await wire.call("speech/text", speech=speech.id, text=UNFINISHED)
    told = loop.time()
    await wire.until(lambda: soon.segments != [])
    assert loop.time() - began >= 0.3
    assert loop.time() - told < 1.5
    assert not default.segments
    await wire.until(lambda: default.segments != [])
    assert loop.time() - began >= 3
    assert loop.time() - told < 4.5
    assert soon.spoken == default.spoken == [UNFINISHED]
    await wire.listen(SILENCE_S)
    assert not never.segments
    assert never.end is soon.end is default.end is None


async def test_the_delay_counts_from_the_oldest_code_point(wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    speech = await wire.open(max_delay_ms=400)
    began = loop.time()
    while not speech.segments:
        assert loop.time() - began < 2, "every part put it off"
        await wire.call("speech/text", speech=speech.id, text="a")
        await wire.listen(0.1)


@pytest.mark.parametrize("max_delay_ms", [0, 1, 5000])
async def test_the_bounds_of_the_delay_are_accepted(wire: Wire, max_delay_ms: int) -> None:
    speech = await wire.tell([SHORT], max_delay_ms=max_delay_ms)
    assert speech.samples


@pytest.mark.parametrize("max_delay_ms", [-1, 5001, "soon"])
async def test_a_delay_out_of_bounds_is_refused(wire: Wire, max_delay_ms: object) -> None:
    error = await wire.refused("speech/open", max_delay_ms=max_delay_ms)
    assert error["code"] == "invalid_request"


@pytest.mark.parametrize(("fields", "code"), REFUSED[::5])
async def test_a_speech_that_speak_would_refuse_is_not_opened(
    wire: Wire, fields: dict[str, Any], code: str
) -> None:
    assert (await wire.refused("speech/open", **fields))["code"] == code
    await wire.tell([SHORT])


@pytest.mark.parametrize("kind", ["speech/text", "speech/flush", "speech/end"])
@pytest.mark.parametrize("which", ["unknown", "ended", "complete", "cancelled", "speak", "refused"])
async def test_a_speech_that_takes_no_text_is_closed(wire: Wire, kind: str, which: str) -> None:
    speech_id = 4711
    if which == "ended":
        await wire.begin(wire.endless())  # it keeps the next one waiting
        speech_id = (await wire.open()).id
        await wire.call("speech/text", speech=speech_id, text=SHORT)
        await wire.call("speech/end", speech=speech_id)
    elif which == "complete":
        speech_id = (await wire.tell([SHORT])).id
    elif which == "cancelled":
        speech_id = (await wire.open()).id
        await wire.call("speech/cancel", speech=speech_id)
    elif which == "speak":
        speech_id = (await wire.begin(wire.endless())).id
    elif which == "refused":
        speech_id = await wire.send("speech/open", voice="no such voice")
    fields = {"text": "More."} if kind == "speech/text" else {}
    error = await wire.refused(kind, speech=speech_id, **fields)
    assert error["code"] == "speech_closed"


@pytest.mark.parametrize("fields", [{}, {"text": 5}, {"text": None}, {"text": ["x"]}])
async def test_a_part_that_is_no_text_is_refused_and_the_speech_lives_on(
    wire: Wire, fields: dict[str, Any]
) -> None:
    speech = await wire.open(max_delay_ms=0)
    await wire.refused("speech/text", speech=speech.id, **fields)
    await wire.call("speech/text", speech=speech.id, text=SHORT)
    await wire.call("speech/end", speech=speech.id)
    await wire.end(speech)
    assert speech.spoken == [SHORT]


async def test_a_part_may_have_max_input_chars_and_not_one_more(wire: Wire) -> None:
    limit = wire.limits["max_input_chars"]
    if limit + 200 > wire.limits["max_message_bytes"]:
        pytest.skip("max_message_bytes is reached before")
    speech = await wire.open(max_delay_ms=0)
    error = await wire.refused("speech/text", speech=speech.id, text="x" * (limit + 1))
    assert error["code"] == "text_too_long"
    await wire.call("speech/text", speech=speech.id, text=SHORT.ljust(limit))
    await wire.call("speech/text", speech=speech.id, text=SHORT)
    await wire.call("speech/end", speech=speech.id)
    await wire.end(speech)
    assert speech.spoken == [SHORT, SHORT]
    assert speech.segments[1]["text_start"] == limit


async def test_a_speech_may_grow_to_max_speech_chars_and_lives_on() -> None:
    async with own_daemon(max_speech_chars=100) as door, door.dial() as wire:
        speech = await wire.open(max_delay_ms=0)
        await wire.call("speech/text", speech=speech.id, text="Good morning. ".ljust(90))
        error = await wire.refused("speech/text", speech=speech.id, text="It is late. ")
        assert error["code"] == "text_too_long"
        await wire.call("speech/text", speech=speech.id, text="It rains. ")
        error = await wire.refused("speech/text", speech=speech.id, text="x")
        assert error["code"] == "text_too_long"
        await wire.call("speech/text", speech=speech.id, text="")
        await wire.call("speech/end", speech=speech.id)
        await wire.end(speech)
        assert speech.spoken == ["Good morning.", "It rains."]


@pytest.mark.parametrize("text", ["", UNFINISHED, SENTENCES])
async def test_an_open_speech_without_new_text_times_out(text: str) -> None:
    loop = asyncio.get_running_loop()
    async with own_daemon(idle_text_ms=300) as door, door.dial() as wire:
        assert wire.limits["idle_text_ms"] == 300
        speech = await wire.open(max_delay_ms=0)
        began = loop.time()
        await wire.call("speech/text", speech=speech.id, text=text)
        await wire.end(speech)
        assert speech.reason == "timeout"
        assert 0.3 <= loop.time() - began < 3
        error = await wire.refused("speech/text", speech=speech.id, text="x")
        assert error["code"] == "speech_closed"


async def test_an_open_speech_that_never_gets_text_times_out() -> None:
    async with own_daemon(idle_text_ms=300) as door, door.dial() as wire:
        speech = await wire.end(await wire.open())
        assert speech.reason == "timeout"


async def test_even_empty_text_keeps_a_speech_open() -> None:
    async with own_daemon(idle_text_ms=600) as door, door.dial() as wire:
        speech = await wire.open(max_delay_ms=0)
        for _ in range(9):
            await wire.call("speech/text", speech=speech.id, text="")
            await wire.listen(0.1)
        assert speech.end is None
        await wire.end(speech)
        assert speech.reason == "timeout"


async def test_a_flush_is_no_text_and_keeps_nothing_open() -> None:
    async with own_daemon(idle_text_ms=400) as door, door.dial() as wire:
        speech = await wire.open(max_delay_ms=0)
        for _ in range(12):
            if speech.end is None:
                await wire.send("speech/flush", speech=speech.id)
                await wire.listen(0.1)
        assert speech.reason == "timeout"


async def test_once_its_text_has_ended_a_speech_waits_without_timing_out() -> None:
    async with own_daemon(idle_text_ms=300) as door, door.dial() as wire:
        first = await wire.begin(wire.endless())
        speech = await wire.open(max_delay_ms=0)
        await wire.call("speech/text", speech=speech.id, text=SHORT)
        await wire.call("speech/end", speech=speech.id)
        await wire.listen(0.8)
        assert speech.end is None
        await wire.call("speech/cancel", speech=first.id)
        await wire.end(speech)
        assert speech.reason == "complete"
        assert speech.samples


async def test_a_queued_speech_waits_for_an_open_one_and_a_parallel_one_does_not(
    wire: Wire,
) -> None:
    speech = await wire.open(max_delay_ms=0)
    queued = await wire.begin(SHORT)
    await wire.call("speech/text", speech=speech.id, text=SENTENCES)
    parallel = await wire.speak(SHORT, mode="parallel")
    await wire.listen(SILENCE_S)
    assert speech.end is None
    assert not queued.frames
    await wire.call("speech/end", speech=speech.id)
    await wire.end(queued)
    assert queued.samples == parallel.samples


async def test_a_queued_open_speech_takes_its_text_while_it_waits(wire: Wire) -> None:
    first = await wire.begin(wire.endless())
    speech = await wire.open(max_delay_ms=0)
    await wire.call("speech/text", speech=speech.id, text=SENTENCES[:40])
    await wire.call("speech/flush", speech=speech.id)
    await wire.call("speech/text", speech=speech.id, text=SENTENCES[40:])
    await wire.listen(SILENCE_S)
    assert not speech.frames
    await wire.call("speech/cancel", speech=first.id)
    await wire.call("speech/end", speech=speech.id)
    await wire.end(speech)
    assert letters(SENTENCES) <= speech.covered
    assert len(speech.flushed) == 1


async def test_two_open_speeches_do_not_get_mixed_up(wire: Wire) -> None:
    texts = [SENTENCES, PROSE]
    whole = [await wire.speak(text) for text in texts]
    speeches = [await wire.open(max_delay_ms=0, mode="parallel") for _ in texts]
    for at in range(0, max(map(len, texts)), 9):
        for text, speech in zip(texts, speeches, strict=True):
            await wire.send("speech/text", speech=speech.id, text=text[at : at + 9])
    for speech in speeches:
        await wire.call("speech/end", speech=speech.id)
    for expected, speech in zip(whole, speeches, strict=True):
        await wire.end(speech)
        assert speech.audio == expected.audio


async def test_open_speeches_count_towards_the_limit(wire: Wire) -> None:
    for _ in range(wire.limits["max_speeches"]):
        await wire.open()
    assert (await wire.refused("speech/open"))["code"] == "too_many_speeches"
    assert (await wire.refused("speak", input=SHORT))["code"] == "too_many_speeches"
    assert len((await wire.call("clear"))["cancelled"]) == wire.limits["max_speeches"]


async def test_an_open_speech_replaces_and_is_replaced(wire: Wire) -> None:
    first = await wire.begin(wire.endless())
    second = await wire.open(mode="replace", max_delay_ms=0)
    assert first.reason == "replaced"
    await wire.call("speech/text", speech=second.id, text=SENTENCES)
    await wire.speak(SHORT, mode="replace")
    assert second.reason == "replaced"


@pytest.mark.parametrize("text", ["", UNFINISHED, SENTENCES, SENTENCES * 20])
async def test_an_open_speech_can_be_cancelled_at_any_moment(wire: Wire, text: str) -> None:
    dice = random.Random(text)
    for _ in range(8):
        speech = await wire.open(max_delay_ms=0)
        await wire.send("speech/text", speech=speech.id, text=text)
        await wire.send("speech/flush", speech=speech.id)
        await wire.listen(dice.choice([0, 0.002, 0.02]))
        answer = await wire.call("speech/cancel", speech=speech.id, played_ms=dice.randrange(4000))
        assert answer["state"] == "cancelled"
        assert code_units(answer["text_spoken"] + answer["text_remaining"]) == code_units(text)


async def test_what_was_heard_of_an_open_speech_ends_where_the_flush_was(wire: Wire) -> None:
    speech = await wire.open(max_delay_ms=0)
    await wire.call("speech/text", speech=speech.id, text="It rains. ")
    await wire.call("speech/flush", speech=speech.id)
    await wire.until(lambda: speech.flushed != [])
    await wire.call("speech/text", speech=speech.id, text=UNFINISHED)
    answer = await wire.call("speech/cancel", speech=speech.id, played_ms=10**6)
    assert answer["text_spoken"].strip() == "It rains."
    assert answer["text_remaining"].strip() == UNFINISHED


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("speech/text", {"text": SHORT}), ("speech/flush", {}), ("speech/end", {})],
)
async def test_fields_of_the_future_are_ignored_in_incremental_commands(
    wire: Wire, kind: str, fields: dict[str, Any]
) -> None:
    speech = await wire.open(x_future=[1], max_delay_ms=0)
    await wire.call(kind, speech=speech.id, **fields, x_future={"a": None})
