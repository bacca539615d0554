"""How fast a cancel is: its result, the engine, and whether anything of the speech comes after.

    python benchmarks/cancel.py [--cancels 200]

With 20 speeches, of which 19 another process keeps running, one begins and is cancelled, again and
again: from `speech/cancel` to its result. Frames of a cancelled speech are counted as long as the
session reads after the result.

When the engine is free again only another speech can tell. So `speech/cancel` and the next `speak`
go out as one message, and what is measured is the time from there to the next one's first audio,
less what its first audio takes where nothing had to be cancelled: the two in turns. The difference
is all that the cancelled speech still costs: the handling of the cancel, the engine that stops, and
its library that is loaded again for the next. It is that of the medians, and beside it that of the
p99s: single first audios scatter too much by themselves. It is measured twice: with the other
speeches held by closed windows, so that the engine had none but the cancelled one to speak; and
with all of them running, where the wait for theirs is in both of the two.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event

from rig import daemon, median, p99, row_of_times, show, show_complaints, text, verdict
from sessions import Session, session

_SPEAKING = 20  # speeches
_CANCEL_TARGET_MS = 20
_FREE_TARGET_MS = 20
_CANCEL_WITHIN_S = 0.05  # of the first audio: the engine is at work, or was a moment ago
_SETTLE_S = 0.03  # for the engine to be ready again, and for late frames to come
_HELD_S = 0.5  # for their engine to fill what they may hold
_HELD_ROUNDS = 50  # some 10 s: a window that is closed for 30 s ends its speech

_spawn = multiprocessing.get_context("spawn")


def crowd(url: str, count: int, ready: Event, stop: Event) -> None:
    """Keep `count` speeches running until told to stop. A process of its own."""
    asyncio.run(_crowd(url, count, ready, stop))


async def _crowd(url: str, count: int, ready: Event, stop: Event) -> None:
    async def speak_on(client: Session) -> None:
        while not stop.is_set():
            await client.first_audio(text("paragraph") * 20)
            speaking.release()
            await client.ended()

    speaking = asyncio.Semaphore(0)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(url)) for _ in range(count)]
        tasks = [asyncio.create_task(speak_on(client)) for client in clients]
        for _ in range(count):
            await speaking.acquire()
        ready.set()
        await asyncio.to_thread(stop.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def cancels(url: str, count: int) -> tuple[list[float], int]:
    """Begin a speech and cancel it, again and again; return the ms of each, and late frames."""
    chance = random.Random(2)
    times = []
    async with session(url) as client:
        for _ in range(count):
            speech, _ = await client.first_audio(text("paragraph"))
            await client.read_for(chance.uniform(0, _CANCEL_WITHIN_S))
            times.append(await client.cancel(speech))
            await client.read_for(_SETTLE_S)
        return times, client.late_frames


@dataclass(slots=True)
class Freeing:
    """First audio in ms: usual, and with a speech to be cancelled first."""

    usual: list[float] = field(default_factory=list)
    after_cancel: list[float] = field(default_factory=list)
    late_frames: int = 0

    def rows(self, others: str, target: float | None = None) -> list[list[str]]:
        """Make a row of each, and of by how much the second is above the first."""
        above = [f(self.after_cancel) - f(self.usual) for f in (median, p99)]
        met = ["", ""] if target is None else [f"median {target}", verdict(above[0], target)]
        return [
            row_of_times(f"first audio, {others}", self.usual),
            row_of_times("  with a speech to be cancelled", self.after_cancel),
            ["  engine free after", *(f"{ms:.1f}" for ms in above), "", *met],
        ]


async def free(url: str, rounds: int, freeing: Freeing) -> None:
    """Speak, and speak in the place of a cancelled speech, in turns."""
    chance = random.Random(3)
    async with session(url) as client:
        for _ in range(rounds):
            speech, usual_ms = await client.first_audio(text("paragraph"))
            freeing.usual.append(usual_ms)
            await client.stop(speech)
            await client.read_for(_SETTLE_S)
            speech, _ = await client.first_audio(text("paragraph"))
            await client.read_for(chance.uniform(0, _CANCEL_WITHIN_S))
            speech, cancelled_ms = await client.replaced(speech, text("paragraph"))
            freeing.after_cancel.append(cancelled_ms)
            await client.stop(speech)
            await client.read_for(_SETTLE_S)
        freeing.late_frames += client.late_frames


async def free_while_held(url: str, rounds: int) -> Freeing:
    """Do so while all other speeches are held by their windows."""
    freeing = Freeing()
    for done in range(0, rounds, _HELD_ROUNDS):
        async with held(url, _SPEAKING - 1):
            await free(url, min(_HELD_ROUNDS, rounds - done), freeing)
    return freeing


async def free_while_speaking(url: str, rounds: int) -> Freeing:
    """Do so while somebody else keeps all other speeches running."""
    freeing = Freeing()
    await free(url, rounds, freeing)
    return freeing


@asynccontextmanager
async def held(url: str, count: int) -> AsyncGenerator[None, None]:
    """Have speeches run whose engine has made all that it may for now."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(url)) for _ in range(count)]
        speeches = [
            (await client.first_audio(text("paragraph") * 20, window_ms=200))[0]
            for client in clients
        ]
        await asyncio.sleep(_HELD_S)
        yield
        for client, speech in zip(clients, speeches, strict=True):
            await client.cancel(speech)  # and so make sure that it still ran


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cancels", type=int, default=200)
    args = parser.parse_args()
    with daemon() as server:
        ready, stop = _spawn.Event(), _spawn.Event()
        others = _spawn.Process(
            target=crowd, args=(server.url, _SPEAKING - 1, ready, stop), daemon=True
        )
        others.start()
        ready.wait()
        cancelled, late_frames = asyncio.run(cancels(server.url, args.cancels))
        speaking = asyncio.run(free_while_speaking(server.url, args.cancels // 2))
        stop.set()
        others.join()
        held_back = asyncio.run(free_while_held(server.url, args.cancels // 2))
        complaints = server.complaints()
    late_frames += speaking.late_frames + held_back.late_frames
    show(
        f"Cancel, of {_SPEAKING} speeches; times in ms",
        ["measure", "median", "p99", "highest", "target", "met"],
        [
            row_of_times("cancel to its result, others speaking", cancelled, _CANCEL_TARGET_MS),
            ["frames after the result", f"{late_frames}", "", "", "0", verdict(late_frames, 0)],
            *held_back.rows("others held", _FREE_TARGET_MS),
            *speaking.rows("others speaking"),
        ],
    )
    show_complaints(complaints)


if __name__ == "__main__":
    main()
