"""A lane: one compute resource, whose turn it is on it, and what stops the one that runs.

All local engines share the machine's lane: they use every core they find, so two at once would only
delay the more urgent one. The lane picks by priority, then by when the segment's first sample
should be heard, then by who came first. It decides on the event loop and only engines run on its
threads; nothing sleeps or polls.

An inference that was told to end may still compute for some tens of milliseconds. Where the engine
allows it, the next one begins meanwhile.

A segment that computes for seconds is stopped for a more urgent one, if its own listener has
enough in hand until it has been run again. So none starves: a listener's stock runs low, and then
nothing but a higher priority stops its segment.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

from voiced.backends.base import Synthesize
from voiced.speech import PcmChunk, Segment
from voiced.synthesis.pace import Pace
from voiced.synthesis.run import Run

T = TypeVar("T")

_TASKS = Path("/proc/self/task")  # a folder for each thread, on Linux
_WORTH_S = 0.1  # a run that ends so soon is not stopped: its work would be lost for little
_SPARE_S = 0.5  # that a listener must have in hand beyond what we expect

_SILENT_S = 120  # that an engine may compute and give nothing: a small machine, a long sentence
_LOADING_S = 600  # that a model may be loaded: a large one from a memory card

_Turn = tuple[int, float, int]  # priority, due, order of coming


class Workers(Protocol):
    """Where engines run: one function, and maybe one beside it that ends."""

    def submit(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run a function."""
        ...

    def are_alive(self) -> bool:
        """Tell whether all can still run something."""
        ...

    async def close(self) -> None:
        """Wait for what runs, and end."""
        ...


class Lane:
    """Runs one segment at a time. All methods are for the event loop."""

    def __init__(self, *, threads: int = 1, workers: Workers | None = None) -> None:
        """Let the engine that runs compute with so many threads."""
        self.threads = threads
        self.preemptions = 0
        """How many segments were stopped for a more urgent one."""
        self._workers = workers or _OwnWorkers()
        self._waiting: list[tuple[_Turn, Run]] = []
        self._calls: deque[_Call] = deque()  # that wait; they go before segments
        self._at_work: asyncio.Future[Any] | None = None
        self._at_work_since = 0.0  # event loop time
        self._running: Run | None = None  # what is at work, if it is a segment
        self._leaving: Run | None = None  # what was told to end, and is not waited for
        self._order = count()

    @property
    def queued(self) -> int:
        """How many segments wait for their turn."""
        return sum(not run.is_stopped for _, run in self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether its threads are there; one that a native library ended never comes back."""
        return self._workers.are_alive()

    def trouble(self) -> str | None:
        """Say why no engine will speak here again, if that is so."""
        if not self.is_alive:
            return "A local engine ended its thread."
        if self._at_work is None:
            return None
        heard_at = max(self._at_work_since, self._running.heard_at if self._running else 0)
        silent_s = asyncio.get_running_loop().time() - heard_at
        if silent_s <= (_SILENT_S if self._running else _LOADING_S):
            return None
        return f"A local engine has computed for {silent_s:.0f} s and gives nothing."

    def engine(self) -> Engine:
        """Return a place on this lane for an engine."""
        return Engine(self)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a blocking function between segments."""
        call = _Call(partial(function, *args), asyncio.get_running_loop().create_future())
        self._calls.append(call)
        self._start_next()
        result: T = await call.result
        return result

    def submit(self, run: Run) -> None:
        """Work a run when its turn comes."""
        turn = (run.segment.priority, run.segment.due, next(self._order))
        heapq.heappush(self._waiting, (turn, run))
        if self._running is not None:
            self._weigh(self._running)
        self._start_next()

    def stop(self, run: Run, *, to_go_on: bool = False) -> None:
        """Stop a run, whether it runs, waits or has ended; `to_go_on`: it is run again later."""
        if to_go_on:
            self.preemptions += 1
            run.preempt()
        else:
            run.stop()
        if run is self._running and run.is_leaving and self._leaving is None:
            self._leaving, self._running, self._at_work = run, None, None
            self._start_next()

    async def close(self) -> None:
        """Stop what runs and what waits, and end the threads."""
        waiting, self._waiting = self._waiting, []
        for _, run in waiting:
            run.stop()
            run.end(None)
        while self._calls:
            self._calls.popleft().result.cancel()
        if self._running:
            self._running.stop()
        await self._workers.close()

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
            self.stop(running, to_go_on=True)

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
        while self._at_work is None and (self._calls or self._waiting):
            if self._calls:
                call = self._calls.popleft()
                if not call.result.done():  # the caller may have left
                    self._work(call.function, partial(self._called, call))
                continue
            _, run = heapq.heappop(self._waiting)
            if not run.is_stopped:
                self._running = run
                self._work(run.work, partial(self._ended, run))

    def _work(
        self, function: Callable[[], Any], on_end: Callable[[asyncio.Future[Any]], None]
    ) -> None:
        self._at_work_since = asyncio.get_running_loop().time()
        self._at_work = self._workers.submit(function)
        self._at_work.add_done_callback(on_end)

    def _called(self, call: _Call, work: asyncio.Future[Any]) -> None:
        self._at_work = None
        call.take(work)
        self._start_next()

    def _ended(self, run: Run, work: asyncio.Future[None]) -> None:
        if run is self._leaving:
            self._leaving = None
        else:
            self._running = self._at_work = None
        run.end(None if work.cancelled() else work.exception())
        self._start_next()


@dataclass(frozen=True, slots=True)
class _Call:
    """A function that waits for its turn, and who waits for it."""

    function: Callable[[], Any]
    result: asyncio.Future[Any]

    def take(self, work: asyncio.Future[Any]) -> None:
        if self.result.done():
            return
        if work.cancelled():
            self.result.cancel()
        elif error := work.exception():
            self.result.set_exception(error)
        else:
            self.result.set_result(work.result())


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
                self._lane.stop(run)
            if not (run.is_cut or run.is_preempted):
                return


class _OwnWorkers:
    """Two threads of the lane's own."""

    def __init__(self) -> None:
        self._thread_ids: list[int] = []  # as the system counts them
        self._executor = ThreadPoolExecutor(
            max_workers=2,
            thread_name_prefix="voiced-lane",
            initializer=lambda: self._thread_ids.append(threading.get_native_id()),
        )

    def are_alive(self) -> bool:
        # Python does not notice when a library ends its thread; the system does.
        return not _TASKS.exists() or all((_TASKS / str(i)).exists() for i in self._thread_ids)

    def submit(self, function: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
        self._thread_ids.clear()
