from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest
from support import RATE, Options

from voiced.backends.base import Emit, Synthesize
from voiced.speech import PcmChunk, Priority, Segment, Voice, WordMark
from voiced.synthesis.lane import Lane

VOICE = Voice("one", "One", ("en",), RATE)
SEGMENT = Segment(0, "text", 0, 4, VOICE, None, 1.0, Options())
CHUNK = RATE // 50


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    made = Lane()
    yield made
    await made.close()


class Engine:
    """Makes numbered samples in chunks of 20 ms, and counts its runs."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.runs = 0
        self.stopped_at: list[int] = []
        self.threads: set[int] = set()

    def synthesize(self, segment: Segment, emit: Emit) -> None:
        self.runs += 1
        self.threads.add(threading.get_ident())
        for index in range(self.chunks):
            samples = np.arange(index * CHUNK, (index + 1) * CHUNK, dtype=np.float32)
            if not emit(PcmChunk(samples, (WordMark(index, index + 1, index * CHUNK),))):
                self.stopped_at.append(index)
                return


async def collect(lane: Lane, engine: Engine, segment: Segment = SEGMENT) -> list[PcmChunk]:
    return [chunk async for chunk in lane.engine().stream(segment, engine.synthesize)]


async def test_a_segment_arrives_whole_and_in_order(lane: Lane) -> None:
    engine = Engine(10)
    chunks = await collect(lane, engine)
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert np.array_equal(samples, np.arange(10 * CHUNK))
    assert [mark.start for chunk in chunks for mark in chunk.marks] == list(range(10))
    assert engine.threads.isdisjoint({threading.get_ident()})


async def test_a_slow_consumer_stops_the_engine_and_loses_nothing(lane: Lane) -> None:
    engine = Engine(400)  # 8 s
    parts = []
    async with aclosing(lane.engine().stream(SEGMENT, engine.synthesize)) as chunks:
        async for chunk in chunks:
            parts.append(chunk)
            await lane.call(lambda: None)  # whatever the engine still did has come
    assert np.array_equal(np.concatenate([part.samples for part in parts]), np.arange(400 * CHUNK))
    assert [mark.start for part in parts for mark in part.marks] == list(range(400))
    assert 2 <= engine.runs <= 8
    made = np.diff([0, *engine.stopped_at]).max() * CHUNK / RATE
    assert made <= 1.5  # seconds ahead of the consumer


async def test_a_very_long_segment_is_not_run_again_for_every_second(lane: Lane) -> None:
    engine = Engine(15_000)  # 5 minutes
    async with aclosing(lane.engine().stream(SEGMENT, engine.synthesize)) as chunks:
        async for _ in chunks:
            await asyncio.sleep(0)
    assert engine.runs < 100  # 214 with a buffer of one size


async def test_a_consumer_that_waits_does_not_hold_the_lane(lane: Lane) -> None:
    async with aclosing(lane.engine().stream(SEGMENT, Engine(400).synthesize)) as slow:
        await anext(slow)
        assert await collect(lane, Engine(3))


async def test_the_last_chunk_of_an_engine_may_be_larger_than_the_buffer(lane: Lane) -> None:
    runs = 0

    def synthesize(segment: Segment, emit: Emit) -> None:
        nonlocal runs
        runs += 1
        emit(PcmChunk(np.ones(RATE * 9, np.float32)))

    chunks = [chunk async for chunk in lane.engine().stream(SEGMENT, synthesize)]
    assert sum(chunk.samples.size for chunk in chunks) == RATE * 9
    assert runs == 1


async def test_closing_the_generator_stops_the_engine(lane: Lane) -> None:
    gate, stopped = threading.Event(), threading.Event()

    def synthesize(segment: Segment, emit: Emit) -> None:
        emit(PcmChunk(np.ones(CHUNK, np.float32)))
        gate.wait(5)
        if not emit(PcmChunk(np.ones(CHUNK, np.float32))):
            stopped.set()

    async with aclosing(lane.engine().stream(SEGMENT, synthesize)) as chunks:
        await anext(chunks)
    gate.set()
    await lane.call(lambda: None)
    assert stopped.is_set()


async def test_a_speech_that_is_closed_while_it_waits_never_runs(lane: Lane) -> None:
    gate = threading.Event()
    blocker = asyncio.create_task(lane.call(gate.wait, 5))
    engine, other = Engine(1), Engine(1)
    waiting = asyncio.create_task(collect(lane, engine))
    await asyncio.sleep(0)
    # The thread is busy, so the first segment is on its way to it and the second queues.
    queued = asyncio.create_task(collect(lane, other))
    await asyncio.sleep(0)
    queued.cancel()
    gate.set()
    await asyncio.gather(blocker, waiting, queued, return_exceptions=True)
    assert (engine.runs, other.runs) == (1, 0)
    assert lane.queued == 0


async def test_the_more_urgent_segment_goes_first(lane: Lane) -> None:
    order: list[str] = []
    gate = threading.Event()

    def named(name: str) -> Segment:
        return replace(SEGMENT, text=name)

    def synthesize(segment: Segment, emit: Emit) -> None:
        if segment.text == "blocker":
            gate.wait(5)
        order.append(segment.text)

    async def run(segment: Segment) -> None:
        assert not [chunk async for chunk in lane.engine().stream(segment, synthesize)]

    tasks = [asyncio.create_task(run(named("blocker")))]
    await asyncio.sleep(0)
    tasks += [
        asyncio.create_task(run(segment))
        for segment in (
            replace(named("later"), due=20.0),
            replace(named("soon"), due=10.0),
            replace(named("soon too"), due=10.0),
            replace(named("alarm"), due=30.0, priority=Priority.HIGH),
        )
    ]
    await asyncio.sleep(0)
    assert lane.queued == 4
    gate.set()
    await asyncio.gather(*tasks)
    # What went before the alarm is run again.
    assert order == ["blocker", "alarm", "blocker", "soon", "soon too", "later"]


async def test_what_the_engine_raises_is_raised_to_its_speech_alone(lane: Lane) -> None:
    def broken(segment: Segment, emit: Emit) -> None:
        emit(PcmChunk(np.ones(CHUNK, np.float32)))
        raise RuntimeError("broken")

    stream = lane.engine().stream(SEGMENT, broken)
    assert (await anext(stream)).samples.size == CHUNK
    with pytest.raises(RuntimeError, match="broken"):
        await anext(stream)
    assert await collect(lane, Engine(1))


async def test_nothing_is_lost_of_a_run_that_is_stopped_while_its_chunks_are_on_their_way(
    lane: Lane,
) -> None:
    started, go, again = threading.Event(), threading.Event(), threading.Event()

    def synthesize(segment: Segment, emit: Emit) -> None:
        started.set()
        go.wait(5)
        for index in range(10):
            if not emit(PcmChunk(np.full(CHUNK, index, np.float32))):
                return
            again.set()

    story = asyncio.create_task(collect_by(lane, SEGMENT, synthesize))
    await asyncio.to_thread(started.wait, 5)
    go.set()
    again.wait(5)  # the loop is busy: what the engine gives cannot arrive yet
    urgent = replace(SEGMENT, priority=Priority.HIGH)
    await collect_by(lane, urgent, Engine(1).synthesize)
    samples = np.concatenate([chunk.samples for chunk in await story])
    assert np.array_equal(samples, np.repeat(np.arange(10), CHUNK))


async def collect_by(lane: Lane, segment: Segment, synthesize: Synthesize) -> list[PcmChunk]:
    return [chunk async for chunk in lane.engine().stream(segment, synthesize)]
