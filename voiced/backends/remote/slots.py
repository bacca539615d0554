"""`Slots`: how many may ask a provider at a time, and who is next."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from voiced.speech import Segment


class Slots:
    """A limit whose line goes by priority, then by when a segment is due, as on the lane."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._order = count()
        self._waiting: list[tuple[tuple[int, float, int], asyncio.Future[None]]] = []

    @asynccontextmanager
    async def taken(self, segment: Segment) -> AsyncIterator[None]:
        """Have a slot while the block runs."""
        if self._free:
            self._free -= 1
        else:
            await self._wait((segment.priority, segment.due, next(self._order)))
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, turn: tuple[int, float, int]) -> None:
        called = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (turn, called))
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            _, called = heapq.heappop(self._waiting)
            if not called.done():
                called.set_result(None)
                return
        self._free += 1
