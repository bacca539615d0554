"""`PhraseCache`: what was said before is not made again, and what is being made is made once.

A phrase is a segment as it is heard, with the times of its words: 16-bit samples at the speech's
rate. Its key is a digest of all that shapes them, so that what is found is what would be made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np

from voiced.speech import Int16, Priority, WordMark

LONGEST_PHRASE = 200
"""Code points of what is kept; what is longer is hardly ever said twice."""

Part = tuple[Int16, list[WordMark]]
"""Samples, and the words that begin in or after them; the marks count from the phrase's first."""

_AT_FIRST, _AT_ONCE = 1200, 2400  # samples of the parts that come from the cache


@dataclass(frozen=True, slots=True)
class Phrase:
    """A segment that was made."""

    samples: Int16
    marks: tuple[WordMark, ...]

    @property
    def size_bytes(self) -> int:
        """What it takes, about."""
        return self.samples.nbytes + 100 * len(self.marks) + 500


class PhraseStore(Protocol):
    """Keeps phrases longer than this process lives."""

    async def get(self, key: bytes) -> Phrase | None:
        """Return a phrase, if it is there and whole."""
        ...

    def put(self, key: bytes, phrase: Phrase) -> None:
        """Keep a phrase, when there is time; maybe not."""
        ...


class PhraseCache:
    """For one event loop. What is in memory is found at once."""

    def __init__(self, *, memory_bytes: int = 0, store: PhraseStore | None = None) -> None:
        """Keep as much in memory, none for 0, and more in a store."""
        self.hits = self.misses = self.joins = 0
        self._memory_bytes = memory_bytes
        self._store = store
        self._kept: OrderedDict[bytes, Phrase] = OrderedDict()  # the latest used last
        self._size = 0
        self._being_made: dict[bytes, _Making] = {}

    @property
    def is_on(self) -> bool:
        """Whether anything is kept at all."""
        return self._memory_bytes > 0 or self._store is not None

    @property
    def size_bytes(self) -> int:
        """How much is in memory."""
        return self._size

    def clear(self) -> None:
        """Forget what is in memory."""
        self._kept.clear()
        self._size = 0

    async def parts(
        self,
        key: bytes | None,
        make: Callable[[], AsyncGenerator[Part, None]],
        *,
        priority: Priority = Priority.NORMAL,
    ) -> AsyncGenerator[Part, None]:
        """Yield a phrase: kept, or as it is made; without a key it is made, and not kept.

        Raises what `make` raises. Closing it stops the engine, unless others listen.
        """
        if key is None or not self.is_on:
            async with aclosing(make()) as parts:
                async for part in parts:
                    yield part
            return
        if phrase := await self._find(key):
            self.hits += 1
            for part in _parts_of(phrase):
                yield part
                await asyncio.sleep(0)  # what was given is sent before more is encoded
            return
        making = self._being_made.get(key)
        # One that waits its turn among the normal ones would hold up a more urgent one.
        if making is None or priority < making.priority:
            self.misses += 1
            making = _Making(make(), priority, lambda made: self._end(key, made))
            self._being_made[key] = making
        else:
            self.joins += 1
        async with aclosing(making.listen()) as parts:
            async for part in parts:
                yield part

    async def _find(self, key: bytes) -> Phrase | None:
        if phrase := self._kept.get(key):
            self._kept.move_to_end(key)
            return phrase
        if self._store is not None and (phrase := await self._store.get(key)):
            self._keep(key, phrase)
            return phrase
        return None

    def _end(self, key: bytes, making: _Making) -> None:
        """Keep what was made to its end."""
        if self._being_made.get(key) is making:
            del self._being_made[key]
        if making.is_whole and making.parts:
            phrase = making.phrase()
            self._keep(key, phrase)
            if self._store is not None:
                self._store.put(key, phrase)

    def _keep(self, key: bytes, phrase: Phrase) -> None:
        if phrase.size_bytes > self._memory_bytes:
            return
        if replaced := self._kept.pop(key, None):
            self._size -= replaced.size_bytes
        self._kept[key] = phrase
        self._size += phrase.size_bytes
        while self._size > self._memory_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size_bytes


@dataclass(eq=False)
class _Making:
    """A phrase that is made while any number of speeches listen to it, each at its own pace.

    Whoever wants a part that is not there yet has it made, so that the engine is as far ahead as
    it is of its fastest listener.
    """

    source: AsyncGenerator[Part, None]
    priority: Priority
    on_end: Callable[[_Making], None]
    parts: list[Part] = field(default_factory=list)
    is_whole: bool = False
    _error: Exception | None = None
    _is_ended: bool = False
    _listeners: int = 0
    _next: asyncio.Task[None] | None = None

    async def listen(self) -> AsyncGenerator[Part, None]:
        self._listeners += 1
        try:
            at = 0
            while True:
                while at == len(self.parts) and not self._is_ended:
                    if self._next is None:
                        self._next = asyncio.create_task(self._take(), name="next part")
                    await asyncio.wait([self._next])
                if at == len(self.parts):
                    break
                yield self.parts[at]
                at += 1
            if self._error is not None:
                raise self._error
        finally:
            self._listeners -= 1
            if not self._listeners:
                await self._leave()

    async def _take(self) -> None:
        """Have the next part made."""
        try:
            self.parts.append(await anext(self.source))
        except StopAsyncIteration:
            self.is_whole = True
            self._end()
        except Exception as error:  # noqa: BLE001  # given to every listener
            self._error = error
            self._end()
        except BaseException:
            self._end()
            raise
        finally:
            self._next = None

    async def _leave(self) -> None:
        """Stop, for nobody listens; whoever comes now begins anew."""
        self._end()
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        await self.source.aclose()

    def _end(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            self.on_end(self)

    def phrase(self) -> Phrase:
        samples = np.concatenate([samples for samples, _ in self.parts])
        return Phrase(samples, tuple(mark for _, marks in self.parts for mark in marks))


def _parts_of(phrase: Phrase) -> list[Part]:
    """Cut a phrase into parts, as an engine gives it; the first is short, to be encoded soon."""
    edges = [0, *range(_AT_FIRST, phrase.samples.size, _AT_ONCE), phrase.samples.size]
    parts: list[Part] = [(phrase.samples[start:end], []) for start, end in pairwise(edges)]
    return [(parts[0][0], list(phrase.marks)), *parts[1:]]
