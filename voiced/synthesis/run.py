"""`Run`: one run of an engine over one segment. Made on the event loop, worked on the thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf

import numpy as np

from voiced.backends.base import Synthesize
from voiced.speech import PcmChunk, Segment
from voiced.synthesis.pace import Pace

_BUFFER_S = 1.4  # audio made ahead of its consumer; with what a door holds, at most 2 s a speech
_BUFFER_SHARE = 20  # of what was delivered: a rerun costs that much, so it must bring its share
_BATCH_S = 0.1  # audio given at once: bounds what a consumer does in one step of the loop


class Run:
    """What the engine gives, and how it is stopped; to the engine it is its `Emit`."""

    def __init__(
        self, segment: Segment, synthesize: Synthesize, *, pace: Pace, skip: int = 0
    ) -> None:
        """Be ready to work; the first `skip` samples were delivered by an earlier run."""
        self.segment = segment
        self.expected_s = pace.expected_s(segment.text)
        self.began_at: float | None = None  # event loop time
        self.heard_at = 0.0  # event loop time of the latest chunk
        self.is_preempted = False  # it was stopped for another one, and is to be run again
        self.is_cut = False  # it was stopped with more to give, because the buffer was full
        self.is_stopped = False
        self._synthesize = synthesize
        self._pace = pace
        self._skip = skip
        self._is_whole = not skip
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[PcmChunk] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False
        self._error: BaseException | None = None
        self._interrupt: Callable[[], None] | None = None
        self._may_overlap = False
        # Each is written by one thread only, so no lock is needed.
        self._made = 0  # samples, by the lane's thread
        self._taken = 0  # samples, by the event loop
        # A segment of half a minute or more buys fewer reruns with a larger buffer.
        self._room = max(round(segment.voice.sample_rate * _BUFFER_S), skip // _BUFFER_SHARE)
        self._batch = round(segment.voice.sample_rate * _BATCH_S)

    @property
    def left_s(self) -> float:
        """How much longer it will run, if it does as the others did; one that is late: no end."""
        passed_s = 0.0 if self.began_at is None else self._loop.time() - self.began_at
        return self.expected_s - passed_s if passed_s <= self.expected_s else inf

    @property
    def is_leaving(self) -> bool:
        """Whether it was told to end, and the next one need not wait until it has."""
        return self.is_stopped and self._interrupt is not None and self._may_overlap

    # -------------------------------------------------------------------- on the lane's thread

    def work(self) -> None:
        """Run the engine."""
        self.began_at = self._loop.time()
        self._synthesize(self.segment, self)

    def __call__(self, chunk: PcmChunk) -> bool:
        """Take a chunk; return False where the engine should end."""
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

    def interrupt_by(self, interrupt: Callable[[], None], *, may_overlap: bool = False) -> None:
        """Let `interrupt`, called on another thread, end what the engine computes from now on."""
        self._may_overlap = may_overlap
        self._interrupt = interrupt
        if self.is_stopped:  # meanwhile
            interrupt()

    # ----------------------------------------------------------------------- on the event loop

    def _arrive(self, chunk: PcmChunk) -> None:
        self.heard_at = self._loop.time()
        if self.is_stopped:  # what came before it was dropped
            return
        for at in range(0, max(chunk.samples.size, 1), self._batch):
            marks = () if at else chunk.marks
            self._chunks.append(PcmChunk(chunk.samples[at : at + self._batch], marks))
        self._changed.set()

    def end(self, error: BaseException | None) -> None:
        """Take the end of the work, and what the engine raised."""
        self._has_ended = True
        self._changed.set()
        if self.is_stopped:
            return  # an engine that was interrupted may raise
        self._error = error
        if self._is_whole and not self.is_cut and error is None and self.began_at is not None:
            self._pace.note(
                self.segment.text,
                work_s=self._loop.time() - self.began_at,
                audio_s=self._made / self.segment.voice.sample_rate,
            )

    def stop(self) -> None:
        """End the work as soon as the engine can."""
        self.is_stopped = True
        self._chunks.clear()
        if self._interrupt is not None and not self._has_ended:
            self._interrupt()

    def preempt(self) -> None:
        """Stop it so that another one goes first."""
        self.is_preempted = True
        self.stop()

    async def next_chunk(self) -> PcmChunk | None:
        """Return what has come, joined up to a batch; None after the last.

        Raises what the engine raised.
        """
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
