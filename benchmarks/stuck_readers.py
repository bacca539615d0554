"""Sessions that stop reading: what they cost the daemon, and those that go on speaking.

    python benchmarks/stuck_readers.py [--talkers 100] [--stuck 100] [--cycles 3]

Talkers, in a process of their own, say a sentence each, again and again with pauses, and take the
time to first audio. They are heard alone, and then beside sessions that have a long text spoken
and never take a byte of it from their sockets; so in turns, with the same daemon. What comes after
these begin is told apart by the daemon's own gauges:

- filling: it makes for each what the sockets swallow and 2 s more, which it holds at most; until
  hardly a segment waits for the engine;
- stuck: it holds all that, and has nothing more to do for them; until the first of them is cut off,
  10 s to 20 s after its socket took the last byte;
- gone: all of them are.

The target is for the second. Filling is work like any other: as many readers would be the same
load. Memory is VmRSS, so many seconds after they stopped reading.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import Enum
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from rig import (
    Daemon,
    allow_open_files,
    daemon,
    long_text,
    median,
    p99,
    show,
    show_complaints,
    verdict,
)
from sessions import session

_SENTENCE = "The kettle is on."
_PAUSE_S = 4.0  # between a talker's sentences, give or take a half: some 20 % of a core for 100
_STUCK_CHARACTERS = 30_000  # half an hour
_ALONE_S = 10.0
_POLL_S = 0.25
_WATCHED_S = 32.0
_FEW_SEGMENTS = 5  # that wait for the engine: of talkers
_LOOKS_S = (2, 5, 9, 30)
_SLOWER_TARGET = 1.3
_FLAT_TARGET_MB = 2  # from filled to the last look before the first is cut off

_spawn = multiprocessing.get_context("spawn")


def talk(url: str, count: int, ready: Event, ends: tuple[Connection, Event]) -> None:
    """Have talkers talk until told to stop; answer with what they took. A process of its own."""
    answer, stop = ends
    answer.send(asyncio.run(_talk(url, count, ready, stop)))


async def _talk(url: str, count: int, ready: Event, stop: Event) -> list[tuple[float, float]]:
    times: list[tuple[float, float]] = []  # when it began, and ms
    chance = random.Random(4)

    async def talk_on(index: int) -> None:
        async with session(url) as client:
            await asyncio.sleep(_PAUSE_S * index / count)
            while True:
                began = time.monotonic()
                _, first_audio_ms = await client.first_audio(_SENTENCE)
                times.append((began, first_audio_ms))
                await client.ended()
                rest_s = began + _PAUSE_S * chance.uniform(0.5, 1.5) - time.monotonic()
                await asyncio.sleep(max(0.0, rest_s))

    tasks = [asyncio.create_task(talk_on(index)) for index in range(count)]
    await asyncio.sleep(_PAUSE_S)
    ready.set()
    await asyncio.to_thread(stop.wait)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if not isinstance(result, asyncio.CancelledError):
            raise SystemExit(f"A talker ended early: {result!r}")
    return times


class Talkers:
    """The process of those who talk."""

    def __init__(self, url: str, count: int) -> None:
        self._stop = _spawn.Event()
        self._receiver, sender = _spawn.Pipe(duplex=False)
        ready = _spawn.Event()
        self._process = _spawn.Process(
            target=talk, args=(url, count, ready, (sender, self._stop)), daemon=True
        )
        self._process.start()
        sender.close()  # so that its end is noticed here
        ready.wait()

    def stop(self) -> list[tuple[float, float]]:
        """End it; return when each sentence began, and its first audio in ms."""
        self._stop.set()
        times: list[tuple[float, float]] = self._receiver.recv()
        self._process.join()
        return times


class Phase(Enum):
    """What the daemon is doing, of which it is told apart how the talkers fare."""

    ALONE = "alone"
    FILLING = "filling"
    STUCK = "stuck"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Look:
    """The daemon at one moment."""

    at: float  # as `monotonic` says
    cpu_s: float
    resident_mb: float
    sessions: int
    queued: int  # segments

    @classmethod
    def take(cls, server: Daemon) -> Look:
        """Look at it now."""
        return cls(
            time.monotonic(),
            server.cpu_s(),
            server.resident_mb(),
            server.gauge("voiced_sessions"),
            server.gauge("voiced_lane_queued"),
        )


@dataclass(slots=True)
class Run:
    """All that was seen."""

    spans: dict[Phase, list[tuple[Look, Look]]] = field(
        default_factory=lambda: {phase: [] for phase in Phase}
    )
    cycles: list[list[Look]] = field(default_factory=list)  # since the others stopped reading

    def first_audio_ms(self, phase: Phase, times: list[tuple[float, float]]) -> list[float]:
        """Return what the talkers took in a phase, of all cycles."""
        spans = self.spans[phase]
        return [ms for at, ms in times if any(a.at <= at < b.at for a, b in spans)]

    def load(self, phase: Phase) -> float:
        """Return the daemon's CPU in it, as a share of a core."""
        spans = self.spans[phase]
        return sum(b.cpu_s - a.cpu_s for a, b in spans) / sum(b.at - a.at for a, b in spans)

    def rise_mb(self) -> float:
        """Return by how much memory rose, at most, while nothing was to be done for the stuck."""
        return max(b.resident_mb - a.resident_mb for a, b in self.spans[Phase.STUCK])

    def add(self, looks: list[Look], talkers: int) -> None:
        """Take down a cycle, and tell its phases apart."""
        self.cycles.append(looks)
        first, last = looks[0], looks[-1]
        filled = next((look for look in looks[2:] if look.queued < _FEW_SEGMENTS), last)
        cut = next(
            (i for i, look in enumerate(looks) if look.sessions < first.sessions), len(looks)
        )
        held = looks[cut - 1]
        gone = next((look for look in looks if look.sessions == talkers), last)
        if filled.at >= held.at or gone is last:
            raise SystemExit(
                "The machine is too busy to tell the phases apart; take fewer --stuck."
            )
        self.spans[Phase.FILLING].append((first, filled))
        self.spans[Phase.STUCK].append((filled, held))
        self.spans[Phase.GONE].append((gone, last))

    def seconds(self, phase: Phase) -> str:
        """Say when a phase was, in seconds since the others stopped reading."""
        if phase is Phase.ALONE:
            return ""
        spans = zip(self.spans[phase], self.cycles, strict=True)
        edges = [(a.at - looks[0].at, b.at - looks[0].at) for (a, b), looks in spans]
        return f"{median([a for a, _ in edges]):.0f} to {median([b for _, b in edges]):.0f} s"

    def at(self, seconds: float) -> list[Look]:
        """Return the look of each cycle so many seconds after the others stopped reading."""
        return [
            next(look for look in looks if look.at >= looks[0].at + seconds)
            for looks in self.cycles
        ]


async def alone(server: Daemon) -> tuple[Look, Look]:
    """Let the talkers be by themselves."""
    before = Look.take(server)
    await asyncio.sleep(_ALONE_S)
    return before, Look.take(server)


async def beside_stuck(server: Daemon, stuck: int) -> list[Look]:
    """Add sessions that stop reading, and look at the daemon until they are long gone."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(session(server.url)) for _ in range(stuck)]
        looks = [Look.take(server)]
        for client in clients:
            await client.send("speak", input=long_text(_STUCK_CHARACTERS))
            client.stop_reading()
        while looks[-1].at < looks[0].at + _WATCHED_S:
            await asyncio.sleep(_POLL_S)
            looks.append(Look.take(server))
        for client in clients:
            client.abort()
        return looks


async def cycles(server: Daemon, *, talkers: int, stuck: int, count: int) -> Run:
    """Go through all phases, again and again."""
    run = Run()
    for _ in range(count):
        run.spans[Phase.ALONE].append(await alone(server))
        run.add(await beside_stuck(server, stuck), talkers)
    return run


def talkers_rows(run: Run, times: list[tuple[float, float]]) -> list[list[str]]:
    """Make a row of each phase."""
    usual_ms = median(run.first_audio_ms(Phase.ALONE, times))
    rows = []
    for phase in Phase:
        taken = run.first_audio_ms(phase, times)
        ratio = median(taken) / usual_ms
        met = ["", ""]
        if phase is Phase.STUCK:
            met = [f"{_SLOWER_TARGET} x", verdict(ratio, _SLOWER_TARGET)]
        figures = [f"{median(taken):.1f}", f"{p99(taken):.1f}", f"{ratio:.2f} x"]
        load = f"{run.load(phase):.0%}"
        rows.append([phase.value, run.seconds(phase), str(len(taken)), load, *figures, *met])
    return rows


def memory_rows(run: Run) -> list[list[str]]:
    """Make a row of each look, and of what memory did while they were stuck."""
    rows = []
    for seconds in (0, *_LOOKS_S):
        looks = run.at(seconds)
        listed = ", ".join(f"{look.resident_mb:.1f}" for look in looks)
        sessions = ", ".join(str(look.sessions) for look in looks)
        rows.append([f"after {seconds} s" if seconds else "before", listed, sessions, "", ""])
    rise_mb = run.rise_mb()
    met = [f"{_FLAT_TARGET_MB} MB", verdict(rise_mb, _FLAT_TARGET_MB)]
    return [*rows, ["while stuck, highest rise", f"{rise_mb:+.1f}", "", *met]]


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--talkers", type=int, default=100)
    parser.add_argument("--stuck", type=int, default=100)
    parser.add_argument("--cycles", type=int, default=3)
    args = parser.parse_args()
    sessions = args.talkers + args.stuck
    allow_open_files(sessions + 100)
    with daemon(limits__max_sessions=str(sessions + 100)) as server:
        talkers = Talkers(server.url, args.talkers)
        run = asyncio.run(cycles(server, talkers=args.talkers, stuck=args.stuck, count=args.cycles))
        times = talkers.stop()
        complaints = server.complaints()
    show(
        f"First audio of {args.talkers} talkers in ms, beside {args.stuck} that stopped reading",
        ["phase", "when", "sentences", "load", "median", "p99", "to alone", "target", "met"],
        talkers_rows(run, times),
    )
    show(
        "Memory of the daemon in MB, in each cycle",
        ["when", "MB", "sessions", "target", "met"],
        memory_rows(run),
    )
    show_complaints(complaints)


if __name__ == "__main__":
    main()
