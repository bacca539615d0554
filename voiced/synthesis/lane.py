"""A lane: one compute resource, whose turn it is on it, and what stops the one that runs.

All local engines share the machine's lane, and one thread: they use every core they find, so two
at once would only delay the more urgent one. The lane picks by priority, then by when the
segment's first sample should be heard, then by who came first. It decides on the event loop and
only the engine runs on the thread; nothing sleeps or polls.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, TypeVar

import numpy as np

from voiced.backends.base import Synthesize
from voiced.speech import PcmChunk, Segment

T = TypeVar("T")

_BUFFER_S = 1.4  # audio made ahead of its consumer; with what a door holds, at most 2 s a speech
_BUFFER_SHARE = 20  # of what was delivered: a rerun costs that much, so it must bring its share
_BATCH_S = 0.1  # audio given at once: bounds what a consumer does in one step of the loop

_Turn = tuple[int, float, int]  # priority, due, order of coming


class Lane:
    """Runs one segment at a time on one thread. All methods are for the event loop."""

    def __init__(self, name: str = "lane") -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"voiced-{name}")
        self._waiting: list[tuple[_Turn, _Run]] = []
        self._running: _Run | None = None
        self._order = count()

    @property
    def queued(self) -> int:
        """How many segments wait for their turn."""
        return sum(not run.is_stopped for _, run in self._waiting)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a blocking function on the lane's thread, between segments."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, *args)

    async def stream(
        self, segment: Segment, synthesize: Synthesize
    ) -> AsyncGenerator[PcmChunk, None]:
        """Speak a segment when its turn comes; yield chunks of about a tenth of a second.

        A consumer that falls behind by more than the buffer does not hold the lane: the engine is
        stopped and runs again when the buffer is empty, less what was delivered. Closing the
        generator stops the engine at its next chunk. What the engine raises is raised here.
        """
        delivered = 0
        while True:
            run = _Run(segment, synthesize, skip=delivered)
            self._submit(run)
            try:
                while (chunk := await run.next_chunk()) is not None:
                    delivered += chunk.samples.size
                    yield chunk
            finally:
                run.stop()
            if not run.is_cut:
                return

    async def close(self) -> None:
        """Stop what runs and end the thread."""
        if self._running:
            self._running.stop()
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)

    def _submit(self, run: _Run) -> None:
        turn = (run.segment.priority, run.segment.due, next(self._order))
        heapq.heappush(self._waiting, (turn, run))
        self._start_next()

    def _start_next(self) -> None:
        while self._waiting and self._running is None:
            _, run = heapq.heappop(self._waiting)
            if run.is_stopped:
                continue
            self._running = run
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._thread, run.work)
            future.add_done_callback(self._ended)

    def _ended(self, future: asyncio.Future[None]) -> None:
        run, self._running = self._running, None
        if run is not None:
            run.end(None if future.cancelled() else future.exception())
        self._start_next()


class _Run:
    """One run of the engine over one segment: made on the loop, worked on the thread."""

    def __init__(self, segment: Segment, synthesize: Synthesize, *, skip: int) -> None:
        self.segment = segment
        self.is_stopped = False  # nobody wants more
        self.is_cut = False  # the engine was stopped with more to give: the buffer was full
        self._synthesize = synthesize
        self._skip = skip
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[PcmChunk] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False
        self._error: BaseException | None = None
        # Each is written by one thread only, so no lock is needed.
        self._made = 0  # samples, by the lane's thread
        self._taken = 0  # samples, by the event loop
        # A segment of half a minute or more buys fewer reruns with a larger buffer.
        self._room = max(round(segment.voice.sample_rate * _BUFFER_S), skip // _BUFFER_SHARE)
        self._batch = round(segment.voice.sample_rate * _BATCH_S)

    # On the lane's thread.

    def work(self) -> None:
        self._synthesize(self.segment, self._emit)

    def _emit(self, chunk: PcmChunk) -> bool:
        self.is_cut = self._made - self._taken >= self._room
        if self.is_stopped or self.is_cut:
            return False
        if self._skip:
            passed = min(self._skip, chunk.samples.size)
            self._skip -= passed
            if passed == chunk.samples.size:
                return True
            chunk = PcmChunk(chunk.samples[passed:])
        self._made += chunk.samples.size
        self._loop.call_soon_threadsafe(self._arrive, chunk)
        return True

    # On the event loop.

    def _arrive(self, chunk: PcmChunk) -> None:
        self._chunks.append(chunk)
        self._changed.set()

    def end(self, error: BaseException | None) -> None:
        self._has_ended = True
        self._error = error
        self._changed.set()

    def stop(self) -> None:
        self.is_stopped = True
        self._chunks.clear()

    async def next_chunk(self) -> PcmChunk | None:
        """Return what has come, joined up to a batch; None after the last."""
        while not self._chunks:
            if self._has_ended:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        taken = [self._chunks.popleft()]
        size = taken[0].samples.size
        while self._chunks and size + self._chunks[0].samples.size <= self._batch:
            taken.append(self._chunks.popleft())
            size += taken[-1].samples.size
        self._taken += size
        if len(taken) == 1:
            return taken[0]
        marks = tuple(mark for chunk in taken for mark in chunk.marks)
        return PcmChunk(np.concatenate([chunk.samples for chunk in taken]), marks)
