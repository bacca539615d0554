"""The wire contract of `voiced.v1`: cancel is a fence, and says what was heard."""

from __future__ import annotations

import random

import pytest
from doors import Door
from heard import LARGEST_ID
from texts import FORMATS, SENTENCES, SHORT
from wire import Wire


@pytest.mark.parametrize("response_format", FORMATS)
async def test_after_the_result_of_a_cancel_nothing_of_the_speech_comes(
    wire: Wire, response_format: str
) -> None:
    dice = random.Random(response_format)
    for _ in range(8):
        speech = await wire.begin(wire.endless(), response_format=response_format)
        for _ in range(dice.randrange(12)):
            await wire.next()
        answer = await wire.call("speech/cancel", speech=speech.id)
        assert answer["state"] == "cancelled"
        assert speech.reason == "cancelled"
        await wire.ping()


async def test_a_cancel_at_any_moment_of_a_short_speech_is_a_fence(wire: Wire) -> None:
    dice = random.Random(7)
    for _ in range(60):
        command = wire.command("speak", input="Yes.")
        cancel = wire.command("speech/cancel", speech=command["id"])
        await wire.send_all(command)
        for _ in range(dice.randrange(9)):
            if wire.speeches[command["id"]].end is None:
                await wire.next()
        await wire.send_all(cancel)
        result = (await wire.answer(cancel["id"]))["result"]
        reason = wire.speeches[command["id"]].reason
        assert (result["state"], reason) in {("cancelled", "cancelled"), ("inactive", "complete")}


async def test_a_speech_that_is_cancelled_in_the_same_breath_has_only_its_end_or_stops(
    wire: Wire,
) -> None:
    speak = wire.command("speak", input=wire.endless())
    cancel = wire.command("speech/cancel", speech=speak["id"])
    await wire.send_all(speak, cancel)
    assert (await wire.answer(cancel["id"]))["result"]["state"] == "cancelled"


async def test_cancel_is_idempotent(wire: Wire) -> None:
    speech = await wire.begin(wire.endless())
    ids = await wire.send_all(*(wire.command("speech/cancel", speech=speech.id) for _ in range(3)))
    states = [(await wire.answer(cancel))["result"]["state"] for cancel in ids]
    assert states == ["cancelled", "inactive", "inactive"]


async def test_a_finished_speech_is_inactive(wire: Wire) -> None:
    speech = await wire.speak(SHORT)
    assert (await wire.call("speech/cancel", speech=speech.id))["state"] == "inactive"
    answer = await wire.call("speech/cancel", speech=speech.id, played_ms=10)
    assert answer["state"] == "inactive"


@pytest.mark.parametrize("speech", [1, 12345, LARGEST_ID])
async def test_an_unknown_speech_is_inactive(wire: Wire, speech: int) -> None:
    answer = await wire.call("speech/cancel", speech=speech)
    assert answer["state"] == "inactive"


async def test_a_speech_of_another_session_is_unknown_here(door: Door, wire: Wire) -> None:
    speech = await wire.begin(wire.endless(), id=50)
    async with door.dial() as other:
        assert (await other.call("speech/cancel", speech=speech.id))["state"] == "inactive"
        assert await other.call("clear") == {"cancelled": []}
    assert speech.end is None


async def test_a_queued_speech_can_be_cancelled_and_has_only_its_end(wire: Wire) -> None:
    first = await wire.begin(wire.endless())
    second = await wire.begin(SHORT)
    third = await wire.begin(SHORT)
    assert (await wire.call("speech/cancel", speech=second.id))["state"] == "cancelled"
    assert second.order == ["speech-end"]
    assert first.end is third.end is None
    await wire.call("speech/cancel", speech=first.id)
    await wire.end(third)
    assert third.reason == "complete"


async def test_a_cancel_frees_its_slot_at_once(wire: Wire) -> None:
    limit = wire.limits["max_speeches"]
    speeches = [await wire.begin(wire.endless()) for _ in range(limit)]
    for speech in (speeches[-1], speeches[0]):
        cancel = wire.command("speech/cancel", speech=speech.id)
        speak = wire.command("speak", input=SHORT)
        await wire.send_all(cancel, speak)
        assert (await wire.answer(speak["id"]))["success"]
        assert (await wire.refused("speak", input=SHORT))["code"] == "too_many_speeches"


async def test_without_a_speech_to_cancel_there_is_an_error(wire: Wire) -> None:
    await wire.refused("speech/cancel")
    await wire.refused("speech/cancel", speech="one")


async def test_played_0_ms_means_that_nothing_was_heard(wire: Wire) -> None:
    text = wire.endless()
    speech = await wire.begin(text)
    await wire.until(lambda: len(speech.frames) > 5)
    answer = await wire.call("speech/cancel", speech=speech.id, played_ms=0)
    assert answer["text_spoken"].strip() == ""
    assert answer["text_remaining"].strip() == text.strip()


async def test_more_played_than_sent_counts_as_all_that_was_sent(wire: Wire) -> None:
    speech = await wire.begin(wire.endless())
    await wire.until(lambda: len(speech.segments) > 2 and speech.frames[-1].segment == 2)
    answer = await wire.call("speech/cancel", speech=speech.id, played_ms=10**9)
    heard = len(answer["text_spoken"].rstrip())
    assert speech.segments[-2]["text_end"] <= heard <= speech.segments[-1]["text_end"]


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.8])
async def test_what_was_heard_ends_in_the_segment_that_was_playing(
    wire: Wire, share: float
) -> None:
    speech = await wire.begin(wire.endless())
    await wire.until(lambda: len(speech.segments) > 5)
    played_ms = round(share * speech.samples * 1000 / speech.rate)
    answer = await wire.call("speech/cancel", speech=speech.id, played_ms=played_ms)
    heard = len(answer["text_spoken"])
    for segment, following in zip(speech.segments, speech.segments[1:], strict=False):
        if following["position"] * 1000 / speech.rate < played_ms - 1:
            assert heard >= segment["text_end"]
        if following["position"] * 1000 / speech.rate > played_ms + 1:
            assert heard <= following["text_start"]


async def test_nothing_of_a_queued_speech_was_heard(wire: Wire) -> None:
    await wire.begin(wire.endless())
    queued = await wire.begin(SENTENCES)
    answer = await wire.call("speech/cancel", speech=queued.id, played_ms=5000)
    assert answer["text_spoken"].strip() == ""


async def test_what_was_heard_is_told_in_whole_characters(wire: Wire) -> None:
    text = "\N{GRINNING FACE} Good morning \ud800 Cafe\u0301. " * 40
    for played_ms in (0, 137, 1000.5, 10**9):
        speech = await wire.begin(text)
        await wire.until(lambda speech=speech: speech.samples > 50_000)  # type: ignore[misc]
        await wire.call("speech/cancel", speech=speech.id, played_ms=played_ms)  # checked there


async def test_clear_ends_every_speech_before_its_result(wire: Wire) -> None:
    speeches = [await wire.begin(wire.endless()) for _ in range(3)]
    speeches.append(await wire.begin(wire.endless(), mode="parallel"))
    await wire.until(lambda: speeches[0].frames != [] and speeches[3].frames != [])
    answer = await wire.call("clear")
    assert sorted(answer["cancelled"]) == [speech.id for speech in speeches]
    assert await wire.listen(0.1) == []
    await wire.speak(SHORT)


async def test_clear_with_nothing_to_clear_cancels_nothing(wire: Wire) -> None:
    assert await wire.call("clear") == {"cancelled": []}
    await wire.speak(SHORT)
    assert await wire.call("clear") == {"cancelled": []}
