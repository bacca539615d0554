"""`ahead`: the next item is made while this one is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

T = TypeVar("T")


async def ahead(items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield the items of a generator, which makes one more than was asked for.

    What making one raises is raised when its turn comes. Closing this closes `items`.
    """
    making: asyncio.Task[T] | None = None
    try:
        while True:
            making = making or _next(items)
            try:
                item = await making
            except StopAsyncIteration:
                return
            making = _next(items)
            yield item
    finally:
        if making is not None:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
        await items.aclose()


def _next(items: AsyncGenerator[T, None]) -> asyncio.Task[T]:
    async def take() -> T:
        return await anext(items)

    return asyncio.create_task(take(), name="next segment")
