from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from support import eventually, running_manager, scripted, speak

from voiced.backends.base import TTSBackendBase
from voiced.request import OpenAISpeechRequest
from voiced.speech import AudioFormat, AudioFrame, SegmentStart
from voiced.synthesis.ahead import ahead


class Maker:
    """Makes numbers, one at each turn of the loop."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.made = 0
        self.is_closed = False

    async def numbers(self) -> AsyncGenerator[int, None]:
        try:
            for number in range(self.count):
                await asyncio.sleep(0)
                self.made += 1
                yield number
            if self.count == 3:
                raise RuntimeError("no fourth")
        finally:
            self.is_closed = True


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_more_is_made_and_no_second() -> None:
    maker = Maker(10)
    async with aclosing(ahead(maker.numbers())) as numbers:
        assert maker.made == 0
        for number in range(10):
            assert await anext(numbers) == number
            await settle()
            assert maker.made == min(number + 2, 10)
        assert [number async for number in numbers] == []
    assert maker.is_closed


async def test_what_making_raises_comes_in_its_turn() -> None:
    async with aclosing(ahead(Maker(3).numbers())) as numbers:
        for number in range(3):
            assert await anext(numbers) == number
            await settle()
        with pytest.raises(RuntimeError, match="no fourth"):
            await anext(numbers)


async def test_closing_stops_the_making() -> None:
    maker = Maker(10)
    async with aclosing(ahead(maker.numbers())) as numbers:
        await anext(numbers)
    assert (maker.made, maker.is_closed) == (1, True)


TEXT = "One is here. Two is there, and three. Four! Five, six. Seven."


def slow() -> type[TTSBackendBase]:
    kind = scripted()
    kind.is_slow = True
    return kind


async def test_a_speech_is_the_same_however_it_is_made() -> None:
    async with running_manager({"quick": scripted(), "slow": slow()}) as manager:
        events, audio = await speak(manager, TEXT, model="quick")
        assert (await speak(manager, TEXT, model="slow"))[1] == audio
        starts = [event for event in events if isinstance(event, SegmentStart)]
        again, _ = await speak(manager, TEXT, model="slow")
        assert [event for event in again if isinstance(event, SegmentStart)] == starts


async def test_a_slow_engine_is_one_segment_ahead() -> None:
    kind = slow()
    async with running_manager({"slow": kind}) as manager:
        request = OpenAISpeechRequest(model="slow", input=TEXT)
        plan = manager.plan(request, default_format=AudioFormat.PCM, sample_rate=24000)
        backend = await manager.get_backend("slow")
        spoken = backend.spoken  # type: ignore[attr-defined]
        async with aclosing(manager.speak(plan, label="test")) as events:
            async for event in events:
                if isinstance(event, AudioFrame):
                    break
            await eventually(lambda: len(spoken) == 2)
            await settle()
        await settle()
        assert len(spoken) == 2
