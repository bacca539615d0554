"""A lane: one compute resource, whose turn it is on it, and what stops the one that runs.

All local engines share the machine's lane, and one thread: they use every core they find, so two
at once would only delay the more urgent one. The lane picks by priority, then by when the
segment's first sample should be heard, then by who came first. It decides on the event loop and
only the engine runs on the thread; nothing sleeps or polls.

A segment that computes for seconds is stopped for a more urgent one, if its own listener has
enough in hand until it has been run again. So none starves: a listener's stock runs low, and then
nothing but a higher priority stops its segment.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, Protocol, TypeVar

from voiced.backends.base import Synthesize
from voiced.speech import PcmChunk, Segment
from voiced.synthesis.pace import Pace
from voiced.synthesis.run import Run

T = TypeVar("T")

_WORTH_S = 0.1  # a run that ends so soon is not stopped: its work would be lost for little
_SPARE_S = 0.5  # that a listener must have in hand beyond what we expect

_Turn = tuple[int, float, int]  # priority, due, order of coming


class Thread(Protocol):
    """Where engines run, one function after the other."""

    def submit(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run a function when those before it have ended."""
        ...

    async def close(self) -> None:
        """Wait for the one that runs, and end."""
        ...


class Lane:
    """Runs one segment at a time on one thread. All methods are for the event loop."""

    def __init__(self, *, threads: int = 1, thread: Thread | None = None) -> None:
        """Let the engine that runs compute with so many threads."""
        self.threads = threads
        self._thread = thread or _OwnThread()
        self._waiting: list[tuple[_Turn, Run]] = []
        self._running: Run | None = None
        self._order = count()

    @property
    def queued(self) -> int:
        """How many segments wait for their turn."""
        return sum(not run.is_stopped for _, run in self._waiting)

    def engine(self) -> Engine:
        """Return a place on this lane for an engine."""
        return Engine(self)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a blocking function on the lane's thread, between segments."""
        return await self._thread.submit(function, *args)

    def submit(self, run: Run) -> None:
        """Work a run when its turn comes."""
        turn = (run.segment.priority, run.segment.due, next(self._order))
        heapq.heappush(self._waiting, (turn, run))
        if self._running is not None:
            self._weigh(self._running)
        self._start_next()

    async def close(self) -> None:
        """Stop what runs and what waits, and end the thread."""
        waiting, self._waiting = self._waiting, []
        for _, run in waiting:
            run.stop()
            run.end(None)
        if self._running:
            self._running.stop()
        await self._thread.close()

    def _weigh(self, running: Run) -> None:
        """Stop the one that runs, if it should be for the most urgent one that waits."""
        while self._waiting and self._waiting[0][1].is_stopped:
            heapq.heappop(self._waiting)
        if running is not self._running or running.is_stopped or not self._waiting:
            return
        if running.left_s < _WORTH_S:
            # It may take longer than it should; by then that shows.
            asyncio.get_running_loop().call_later(_WORTH_S, self._weigh, running)
        elif self._goes_before(self._waiting[0][1].segment, running):
            running.preempt()

    def _goes_before(self, urgent: Segment, running: Run) -> bool:
        """Tell whether the one that runs should be stopped for a more urgent one."""
        now = asyncio.get_running_loop().time()
        behind = running.segment
        if urgent.priority != behind.priority:
            return urgent.priority < behind.priority
        if urgent.due >= behind.due:
            return False
        # Until it has been run again: it, and all that will go before it.
        others_s = sum(
            run.expected_s
            for _, run in self._waiting
            if not run.is_stopped
            and (run.segment.priority, run.segment.due) < (behind.priority, behind.due)
        )
        return now + others_s + running.expected_s + _SPARE_S <= behind.due

    def _start_next(self) -> None:
        while self._waiting and self._running is None:
            _, run = heapq.heappop(self._waiting)
            if run.is_stopped:
                continue
            self._running = run
            self._thread.submit(run.work).add_done_callback(self._ended)

    def _ended(self, future: asyncio.Future[None]) -> None:
        run, self._running = self._running, None
        if run is not None:
            run.end(None if future.cancelled() else future.exception())
        self._start_next()


class Engine:
    """An engine's place on the lane: what it does there, and how fast it was."""

    def __init__(self, lane: Lane) -> None:
        self.pace = Pace()
        self.threads = lane.threads
        self.call = lane.call
        self._lane = lane

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for a second of audio, as measured; None before it has spoken."""
        return self.pace.real_time_factor

    async def stream(
        self, segment: Segment, synthesize: Synthesize
    ) -> AsyncGenerator[PcmChunk, None]:
        """Speak a segment when its turn comes; yield chunks of about a tenth of a second.

        A consumer that falls behind by more than the buffer does not hold the lane: the engine is
        stopped and runs again when the buffer is empty, less what was delivered. Closing the
        generator stops the engine. What the engine raises is raised here.
        """
        delivered = 0
        while True:
            run = Run(segment, synthesize, pace=self.pace, skip=delivered)
            self._lane.submit(run)
            try:
                while (chunk := await run.next_chunk()) is not None:
                    delivered += chunk.samples.size
                    yield chunk
            finally:
                run.stop()
            if not (run.is_cut or run.is_preempted):
                return


class _OwnThread:
    """A thread of its own."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="voiced-lane")

    def submit(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
