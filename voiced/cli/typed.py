"""Standard input as it comes, for `voiced say -`."""

from __future__ import annotations

import asyncio
import codecs
import os
import select
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from voiced.errors import VoicedError

if TYPE_CHECKING:
    from voiced.client import OpenSpeech

_READ_BYTES = 65536


async def say_typed(speech: OpenSpeech, descriptor: int, *, idle_s: float) -> None:
    """Say what comes from a descriptor until it ends, and end the speech.

    From a terminal each line is said when it is typed. Silence for `idle_s` keeps the speech open.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    is_typed = os.isatty(descriptor)
    try:
        async with aclosing(_parts(descriptor, idle_s=idle_s)) as parts:
            async for part in parts:
                await speech.say(decoder.decode(part))
                if is_typed and part:
                    await speech.flush()
        await speech.say(decoder.decode(b"", final=True))
    finally:
        with suppress(VoicedError):  # it has ended: who hears it knows why
            await speech.end()


async def _parts(descriptor: int, *, idle_s: float) -> AsyncGenerator[bytes, None]:
    """Yield what comes, and nothing after each silence of `idle_s`.

    The descriptor stays blocking, as others may share it: it is read when there is something.
    """
    loop = asyncio.get_running_loop()
    is_readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, is_readable.set)
    except PermissionError:  # a file, which is always readable
        while part := os.read(descriptor, _READ_BYTES):
            yield part
        return
    try:
        while True:
            try:
                async with asyncio.timeout(idle_s):
                    await is_readable.wait()
            except TimeoutError:
                yield b""
                continue
            is_readable.clear()
            if not select.select([descriptor], [], [], 0)[0]:
                continue  # the loop told of what was read since
            if not (part := os.read(descriptor, _READ_BYTES)):
                return
            yield part
    finally:
        loop.remove_reader(descriptor)
