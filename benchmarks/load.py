"""Many at once: do all get their own audio, and does the daemon answer meanwhile.

    python benchmarks/load.py [--sessions 50]

Each session has its own text and voice, OpenAI's names first. Every request is first spoken
alone, then all at once, and each result is compared byte for byte with the lone one. Meanwhile
another process asks for `/healthz` every 10 ms on one connection.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from rig import (
    daemon,
    row_of_times,
    show,
    show_complaints,
    text,
    verdict,
)
from sessions import Heard, session

_POLL_S = 0.01
_QUIET_S = 2.0  # of polling with nothing else to do, to compare with
# Their voices have variants with breath and flutter, where espeak-ng uses random numbers.
_ALIASES = "alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()
_HEALTH_TARGET_MS = 20

Request = tuple[str, str]  # text, voice
_spawn = multiprocessing.get_context("spawn")


def poll(host: str, port: int, stop: Event, ends: tuple[Connection, Event]) -> None:
    """Ask for /healthz until told to stop; answer with the ms of each. A process of its own."""
    answer, ready = ends
    connection = HTTPConnection(host, port)
    times: list[float] = []
    due = time.perf_counter()
    while not stop.is_set():
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        times.append((time.perf_counter() - began) * 1000)
        ready.set()
        due = max(due + _POLL_S, time.perf_counter())
        time.sleep(max(0, due - time.perf_counter()))
    answer.send(times)


class Poller:
    """The process that asks for /healthz."""

    def __init__(self, host: str, port: int) -> None:
        self._stop = _spawn.Event()
        self._receiver, sender = _spawn.Pipe(duplex=False)
        ready = _spawn.Event()
        self._process = _spawn.Process(
            target=poll, args=(host, port, self._stop, (sender, ready)), daemon=True
        )
        self._process.start()
        ready.wait()

    def stop(self) -> list[float]:
        """End it; return what it measured, less the first, for which it connected."""
        self._stop.set()
        times: list[float] = self._receiver.recv()
        self._process.join()
        return times[1:]


async def requests(url: str, count: int) -> list[Request]:
    """Make texts that all differ, each for a voice of its own."""
    async with session(url) as client:
        listed = await client.result(await client.send("voices/list", model="espeak"))
    voices = sorted(voice["id"] for voice in listed["voices"])
    random.Random(1).shuffle(voices)  # the same in every run
    chosen = [*_ALIASES, *voices]
    return [
        (f"This is number {n + 1} of {count}. {text('paragraph')}", chosen[n % len(chosen)])
        for n in range(count)
    ]


async def alone(url: str, wanted: Sequence[Request]) -> list[Heard]:
    """Speak one after the other."""
    async with session(url) as client:
        return [await client.hear(words, voice=voice) for words, voice in wanted]


async def together(url: str, wanted: Sequence[Request]) -> tuple[list[Heard], float]:
    """Speak all at once, each in its own session; return also how many seconds it took."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(url)) for _ in wanted]
        began = time.perf_counter()
        heard = await asyncio.gather(
            *(
                client.hear(words, voice=voice)
                for client, (words, voice) in zip(clients, wanted, strict=True)
            )
        )
        return heard, time.perf_counter() - began


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=50)
    args = parser.parse_args()
    with daemon(limits__max_sessions=str(args.sessions + 100)) as server:
        wanted = asyncio.run(requests(server.url, args.sessions))
        lone = asyncio.run(alone(server.url, wanted))
        poller = Poller(server.host, server.http_port)
        time.sleep(_QUIET_S)
        quiet = poller.stop()
        poller = Poller(server.host, server.http_port)
        before_s = server.cpu_s()
        heard, took_s = asyncio.run(together(server.url, wanted))
        cpu_s = server.cpu_s() - before_s
        busy = poller.stop()
        complaints = server.complaints()
    same = sum(
        a.audio == b.audio and b.reason == "complete" for a, b in zip(lone, heard, strict=True)
    )
    audio_s = sum(len(one.audio) for one in heard) / 48_000
    first = [one.first_audio_ms for one in heard]
    first_alone = [one.first_audio_ms for one in lone]

    show(
        f"{args.sessions} sessions at once: {audio_s:.0f} s of audio in {took_s:.1f} s "
        f"({cpu_s:.1f} s of CPU); times in ms",
        ["measure", "median", "p99", "highest", "target", "met"],
        [
            ["same audio as alone", f"{same}", "", "", str(len(lone)), verdict(len(lone), same)],
            row_of_times("first audio, alone", first_alone),
            row_of_times("first audio, all at once", first),
            row_of_times("healthz, quiet", quiet),
            row_of_times(f"healthz, all speaking ({len(busy)} polls)", busy, _HEALTH_TARGET_MS),
        ],
    )
    show_complaints(complaints)


if __name__ == "__main__":
    main()
