"""What a long text costs that comes in small deltas: CPU and memory, as it grows.

    python benchmarks/conversation.py [--deltas 100000] [--spoken 20000]

One open speech gets deltas of 5 characters, a command for each, as a language model that writes for
hours would send them. Three ways:

- spoken: a client reads all audio as it comes, and sends more text when the speaking has nearly
  caught up, so that CPU is for the deltas and for the speech that is made of them;
- not read: a window of 200 ms that never moves; the engine stands still and the text piles up;
- queued: the speech waits behind another one, and nothing of it is looked at.

Without audio the deltas come as fast as the daemon takes them. That must end before a window that
was closed for 30 s ends its speech: take fewer deltas on a slow machine.

CPU is the daemon's, over the first, a middle and the last tenth. A busy machine makes all work
dear, so after each tenth another session has the same short work done: deltas for a fresh speech,
or a text to be spoken; what is compared is the tenth in terms of that. Memory is VmRSS; its growth
is that after the first tenth, less the text itself. Beside the text the daemon keeps where every
word is in the audio that was sent, 17 bytes each, for a cancel that asks.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from rig import (
    Daemon,
    daemon,
    long_text,
    show,
    show_complaints,
    verdict,
)
from sessions import Session, session

_CHARACTERS = 5  # of a delta: a token of a language model has four or five
_TENTHS = 10
_AHEAD = 1000  # characters that are sent and not spoken: two segments and what decides them
_BURST = 20  # deltas between two looks at how far the speaking is
_LINEAR_TARGET = 1.25  # a tenth's CPU to that of the first; were it quadratic, the last had 19
_GROWTH_TARGET_MB = 5  # what an allocator may do, and 17 bytes for each of 100,000 words
_COMPARED_DELTAS = 10_000
_COMPARED_CHARACTERS = 4000
_WARM_UP_CHARACTERS = 10_000  # what is loaded and cached by then is no growth
_SETTLE_S = 0.5
_MB = 1024 * 1024

Row = list[str]


@dataclass(frozen=True, slots=True)
class Tenth:
    """The daemon over a tenth of the deltas."""

    cpu_s: float
    compared_cpu_s: float  # of the short work after it
    resident_mb: float  # at its end


@dataclass(frozen=True, slots=True)
class Course:
    """The daemon all along."""

    deltas: int
    before_mb: float
    tenths: list[Tenth]
    ended_mb: float  # when the speech was over
    seconds: float

    def cpu_row(self, what: str, index: int) -> Row:
        """Make the row of a tenth."""
        tenth, first = self.tenths[index], self.tenths[0]
        each_s = tenth.cpu_s * 10_000 * _TENTHS / self.deltas
        ratio = tenth.cpu_s / tenth.compared_cpu_s / (first.cpu_s / first.compared_cpu_s)
        met = [f"{_LINEAR_TARGET} x first", verdict(ratio, _LINEAR_TARGET)] if index else ["", ""]
        return [what, f"{each_s:.2f} s, {ratio:.2f} x first", *met]

    def rows(self, what: str) -> list[Row]:
        """Make the rows of the table."""
        after_mb, end_mb = self.tenths[0].resident_mb, self.tenths[-1].resident_mb
        deltas = self.deltas * (_TENTHS - 1) / _TENTHS
        growth_mb = end_mb - after_mb - deltas * _CHARACTERS / _MB
        growth = f"{growth_mb:+.1f} MB, {growth_mb * _MB / deltas:.0f} B a delta"
        return [
            [f"{what}: {self.deltas} deltas in", f"{self.seconds:.0f} s", "", ""],
            self.cpu_row("  CPU for 10,000 deltas: first tenth", 0),
            self.cpu_row("    middle", _TENTHS // 2),
            self.cpu_row("    last", _TENTHS - 1),
            ["  memory before", f"{self.before_mb:.1f} MB", "", ""],
            ["    after the first tenth", f"{after_mb:.1f} MB", "", ""],
            ["    at the end", f"{end_mb:.1f} MB", "", ""],
            [
                "    growth beside the text",
                growth,
                f"{_GROWTH_TARGET_MB} MB",
                verdict(growth_mb, _GROWTH_TARGET_MB),
            ],
            ["    when the speech was over", f"{self.ended_mb:.1f} MB", "", ""],
        ]


Way = Callable[[Session, list[list[str]]], AsyncGenerator[None, None]]
"""Sends all deltas, and yields after each tenth, when the daemon has handled it."""

Work = Callable[[Session], Awaitable[None]]


async def spoken(client: Session, tenths: list[list[str]]) -> AsyncGenerator[None, None]:
    """Send text as fast as it is spoken, and read all audio."""
    speech = await client.send("speech/open")
    sent = spoken_up_to = 0
    for deltas in tenths:
        for start in range(0, len(deltas), _BURST):
            burst = deltas[start : start + _BURST]
            await client.append(speech, *burst)
            sent += sum(map(len, burst))
            while spoken_up_to < sent - _AHEAD:
                spoken_up_to = (await client.event("segment"))["text_start"]
        yield
    await client.send("speech/end", speech=speech, quiet=True)
    await client.ended()


async def unread(client: Session, tenths: list[list[str]]) -> AsyncGenerator[None, None]:
    """Send all text into a speech whose window stays closed."""
    speech = await client.send("speech/open", window_ms=200)
    async for _ in _piled(client, speech, tenths):
        yield
    await client.cancel(speech)


async def queued(client: Session, tenths: list[list[str]]) -> AsyncGenerator[None, None]:
    """Send all text into a speech that waits for another one."""
    first = await client.send("speech/open")
    speech = await client.send("speech/open")
    async for _ in _piled(client, speech, tenths):
        yield
    await client.cancel(speech)
    await client.cancel(first)


async def _piled(
    client: Session, speech: int, tenths: list[list[str]]
) -> AsyncGenerator[None, None]:
    for deltas in tenths:
        await client.append(speech, *deltas)
        await client.handled()
        yield


async def pile_afresh(client: Session) -> None:
    """Send deltas into a speech of their own that nobody reads."""
    speech = await client.send("speech/open", window_ms=200)
    await client.append(speech, *_cut(_COMPARED_DELTAS))
    await client.handled()
    await client.cancel(speech)


async def speak_afresh(client: Session) -> None:
    """Have a text spoken that is always the same."""
    await client.hear(long_text(_COMPARED_CHARACTERS))


async def course(server: Daemon, way: Way, compared: Work, deltas: int) -> Course:
    """Go one of the ways, and look at the daemon at every tenth."""
    async with session(server.url) as client, session(server.url) as other:
        await other.hear(long_text(_WARM_UP_CHARACTERS))
        before_mb = server.resident_mb()
        tenths = []
        began, since_s = time.perf_counter(), server.cpu_s()
        async for _ in way(client, _tenths(deltas)):
            ended_s, resident_mb = server.cpu_s(), server.resident_mb()
            await compared(other)
            compared_s = server.cpu_s() - ended_s
            tenths.append(Tenth(ended_s - since_s, compared_s, resident_mb))
            since_s = server.cpu_s()
        seconds = time.perf_counter() - began
        await asyncio.sleep(_SETTLE_S)
        return Course(deltas, before_mb, tenths, server.resident_mb(), seconds)


def _tenths(deltas: int) -> list[list[str]]:
    parts, size = _cut(deltas), deltas // _TENTHS
    return [parts[at : at + size] for at in range(0, size * _TENTHS, size)]


def _cut(deltas: int) -> list[str]:
    characters = deltas * _CHARACTERS
    words = long_text(characters)
    return [words[at : at + _CHARACTERS] for at in range(0, characters, _CHARACTERS)]


def main() -> None:
    """Go all ways, with a daemon each, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--deltas", type=int, default=100_000)
    parser.add_argument("--spoken", type=int, default=20_000)
    args = parser.parse_args()
    rows: list[Row] = []
    complaints: list[str] = []
    ways: list[tuple[str, Way, Work, int]] = [
        ("not read", unread, pile_afresh, args.deltas),
        ("queued", queued, pile_afresh, args.deltas),
        ("spoken", spoken, speak_afresh, args.spoken),
    ]
    for what, way, compared, deltas in ways:
        with daemon() as server:
            rows += asyncio.run(course(server, way, compared, deltas)).rows(what)
            complaints += server.complaints()
    show("A text in deltas of 5 characters", ["measure", "value", "target", "met"], rows)
    show_complaints(complaints)


if __name__ == "__main__":
    main()
