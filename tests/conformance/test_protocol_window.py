"""The wire contract of `voiced.v1`: windows. The checker sees that none is ever overrun."""

from __future__ import annotations

import asyncio

import pytest
from doors import Door, own_daemon
from texts import FORMATS, SENTENCES, SHORT, cuts
from wire import SILENCE_S, Wire


@pytest.mark.parametrize("window_ms", [200, 1000, 60_000])
@pytest.mark.parametrize("sample_rate", [24000, 22050])
async def test_a_window_changes_nothing_but_the_pace(
    wire: Wire, window_ms: int, sample_rate: int
) -> None:
    free = await wire.speak(SENTENCES, sample_rate=sample_rate)
    speech = await wire.begin(SENTENCES, sample_rate=sample_rate, window_ms=window_ms)
    # A report may find the speech ended: what it then answers, the contract does not say.
    await wire.play(speech)
    assert speech.reason == "complete"
    assert speech.ranges == free.ranges
    assert speech.audio == free.audio


@pytest.mark.parametrize(
    ("window_ms", "sample_rate"), [(200, 24000), (333, 44100), (700, 8000), (201, 22050)]
)
async def test_a_closed_window_lets_nothing_through_until_it_moves(
    wire: Wire, window_ms: int, sample_rate: int
) -> None:
    speech = await wire.begin(SENTENCES, window_ms=window_ms, sample_rate=sample_rate)
    await wire.until_held(speech)
    before = speech.samples
    assert 0 < before <= window_ms * sample_rate // 1000
    assert speech.end is None
    await wire.call("speech/progress", speech=speech.id, played_ms=100)
    await wire.until(lambda: speech.samples > before)
    await wire.until_silence()
    assert speech.samples <= (window_ms + 100) * sample_rate // 1000


async def test_a_window_is_kept_to_the_sample(wire: Wire) -> None:
    free = await wire.speak(SENTENCES)
    ends = [frame.position + len(frame.payload) // 2 for frame in free.frames]
    window = 200 * free.rate // 1000
    speech = await wire.begin(SENTENCES, window_ms=200)
    for end in [end for end in ends if end > window][:12]:
        # Room for all but one sample of what was one frame without a window; then for that too.
        for allowed in (end - 1, end):
            played_ms = (allowed - window) * 1000 / free.rate
            await wire.call("speech/progress", speech=speech.id, played_ms=played_ms)
            await wire.until_silence(0.03)


async def test_a_speech_shorter_than_its_window_needs_no_progress(wire: Wire) -> None:
    assert (await wire.speak(SHORT, window_ms=60_000)).samples
    await wire.speak(" ", window_ms=200)


async def test_progress_of_a_speech_without_a_window_is_taken(wire: Wire) -> None:
    speech = await wire.begin(wire.endless())
    assert await wire.call("speech/progress", speech=speech.id, played_ms=10) is None


async def test_other_speeches_go_on_while_a_window_is_closed(door: Door, wire: Wire) -> None:
    held = await wire.begin(SENTENCES, window_ms=200)
    also_held = await wire.begin(SENTENCES, window_ms=300, mode="parallel")
    await wire.until_held(held)
    await wire.speak(SENTENCES, mode="parallel")
    async with door.dial() as other:
        await other.speak(SENTENCES)
    assert held.end is also_held.end is None
    queued = await wire.begin(SHORT)
    await wire.listen(SILENCE_S)
    assert not queued.frames


async def test_a_speech_with_a_closed_window_can_be_cancelled(wire: Wire) -> None:
    speech = await wire.begin(SENTENCES, window_ms=200)
    await wire.until_held(speech)
    answer = await wire.call("speech/cancel", speech=speech.id, played_ms=100)
    assert answer["state"] == "cancelled"
    held = await wire.begin(SENTENCES, window_ms=200)
    await wire.until_held(held)
    assert await wire.call("clear") == {"cancelled": [held.id]}
    held = await wire.begin(SENTENCES, window_ms=200)
    await wire.until_held(held)
    await wire.speak(SHORT, mode="replace")
    assert held.reason == "replaced"


@pytest.mark.parametrize("window_ms", [300, 1500])
async def test_more_played_than_a_window_let_through_counts_as_what_it_let_through(
    wire: Wire, window_ms: int
) -> None:
    heard = []
    for more_ms in (0.1, 1000, 10**9):
        speech = await wire.begin(SENTENCES, window_ms=window_ms)
        await wire.until_held(speech)
        played_ms = speech.samples * 1000 / speech.rate + more_ms
        answer = await wire.call("speech/cancel", speech=speech.id, played_ms=played_ms)
        heard.append((answer["text_spoken"], answer["exact"]))
    assert heard == [heard[0]] * 3


@pytest.mark.parametrize("reports", [[10**9], [100, 50], [100, 0], [100, 100], [33.3, 66.6]])
async def test_odd_reports_of_progress_do_not_stop_a_speech(
    wire: Wire, reports: list[float]
) -> None:
    speech = await wire.begin(SENTENCES, window_ms=200)
    for played_ms in reports:
        await wire.answer(await wire.send("speech/progress", speech=speech.id, played_ms=played_ms))
    await wire.play(speech)
    assert speech.reason == "complete"


async def test_progress_of_an_unknown_speech_is_answered(wire: Wire) -> None:
    await wire.answer(await wire.send("speech/progress", speech=4711, played_ms=10))
    ended = await wire.speak(SHORT)
    await wire.answer(await wire.send("speech/progress", speech=ended.id, played_ms=10))
    await wire.ping()


@pytest.mark.parametrize("response_format", [name for name in FORMATS if name != "pcm"])
async def test_a_window_holds_an_encoded_speech_too(wire: Wire, response_format: str) -> None:
    free = await wire.speak(SENTENCES, response_format=response_format)
    speech = await wire.begin(SENTENCES, response_format=response_format, window_ms=2000)
    await wire.until_held(speech)
    assert speech.end is None
    assert len(speech.audio) < len(free.audio) / 2
    played_ms = 0
    while speech.end is None:  # nobody knows how many samples the bytes hold
        played_ms += 2000
        await wire.send("speech/progress", speech=speech.id, played_ms=played_ms, quiet=True)
        await wire.until_silence(0.1)
        assert played_ms < 100_000
    assert speech.reason == "complete"
    assert free.end is not None
    assert speech.end["samples"] == free.end["samples"]
    assert [r[:2] for r in speech.ranges] == [r[:2] for r in free.ranges]


async def test_a_window_holds_incremental_text_too(wire: Wire) -> None:
    whole = await wire.speak(SENTENCES)
    speech = await wire.open(max_delay_ms=0, window_ms=250)
    for part in cuts(SENTENCES, 5):
        await wire.call("speech/text", speech=speech.id, text=part)
    await wire.call("speech/flush", speech=speech.id)
    await wire.call("speech/end", speech=speech.id)
    await wire.until_held(speech)
    assert not speech.flushed
    await wire.play(speech)
    assert speech.reason == "complete"
    assert speech.audio == whole.audio
    assert [data["position"] for data in speech.flushed] == [whole.samples]


async def test_fields_of_the_future_are_ignored_in_progress(wire: Wire) -> None:
    speech = await wire.begin(SENTENCES, window_ms=200)
    await wire.call("speech/progress", speech=speech.id, played_ms=1, buffered_ms=7, x={"y": []})


async def test_a_window_closed_for_too_long_ends_the_speech_as_stalled() -> None:
    loop = asyncio.get_running_loop()
    async with own_daemon(stalled_s=0.8) as door, door.dial() as wire:
        speech = await wire.begin(SENTENCES, window_ms=200)
        for played_ms in (50, 100, 150):
            await wire.listen(0.5)
            moved = loop.time()
            await wire.call("speech/progress", speech=speech.id, played_ms=played_ms)
        assert speech.end is None
        await wire.end(speech)
        assert speech.reason == "stalled"
        assert loop.time() - moved >= 0.8
        await wire.speak(SHORT)


async def test_only_a_closed_window_can_stall() -> None:
    async with own_daemon(stalled_s=0.3) as door, door.dial() as wire:
        heard = await wire.open(max_delay_ms=0, window_ms=60_000)
        waiting = await wire.begin(SENTENCES, window_ms=200)
        await wire.call("speech/text", speech=heard.id, text=SHORT)
        await wire.call("speech/flush", speech=heard.id)
        await wire.listen(0.8)
        assert heard.flushed
        assert heard.end is waiting.end is None
