"""Kokoro: the daemon over its WebSocket against kokoro-onnx itself, in turns, in one run.

    python benchmarks/kokoro.py [--rounds 5] [--folder FOLDER]

Both speak the same texts with the same model, one after the other in each round, each in a process
of its own. The model is of full size with random weights (`random_kokoro.py`), and is kept in
FOLDER. `create_stream` is kokoro-onnx as its users call it; `bare` is its inference of the text
that the daemon makes its first segment.

A gap is how long a player would have been silent which plays from the first audio on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import random_kokoro
from rig import TOKEN, Daemon, daemon, median, show, show_complaints, text, verdict

from voiced.client import Client, connect

_VOICE = "af_heart"
_RATE = 24000
_MODEL = "local_kokoro_default_onnx"
_LISTENERS = 3
_REPLY = "The front door is open."
_SENTENCES = (
    "Done. I've turned off the kitchen lights and set the thermostat to 19 degrees. "
    "The garage door has been open for more than an hour. Would you like me to close it?"
)
_MEDIUM = "Rain is expected until noon, then sunny spells with a high of 14."


@dataclass(frozen=True, slots=True)
class Spoken:
    """What came of one text."""

    first_s: float
    total_s: float
    cpu_s: float
    audio_s: float
    gap_s: float = 0.0
    first_segment: str = ""


# ------------------------------------------------------------------ kokoro-onnx, in its own process


async def _peer(model: str, voices: str) -> None:
    """Speak the texts of standard input by kokoro-onnx, and print what they cost."""
    from kokoro_onnx import Kokoro  # noqa: PLC0415  # only in this process

    kokoro = Kokoro(model, voices)
    for line in sys.stdin:
        order = json.loads(line)
        cpu_s, began = time.process_time(), time.perf_counter()
        first_s, samples = 0.0, 0
        if order["kind"] == "bare":
            audio, _ = kokoro.create(order["text"], _VOICE)
            samples = audio.size
        else:
            async with aclosing(kokoro.create_stream(order["text"], _VOICE)) as parts:
                async for audio, _ in parts:
                    first_s = first_s or time.perf_counter() - began
                    samples += audio.size
        total_s = time.perf_counter() - began
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told = {
            "first_s": first_s or total_s,
            "total_s": total_s,
            "cpu_s": time.process_time() - cpu_s,
            "audio_s": samples / _RATE,
            "peak_mb": peak_mb,
        }
        print(json.dumps(told), flush=True)


class Peer:
    """kokoro-onnx in another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.peak_mb = 0.0

    def speak(self, words: str, kind: str = "stream") -> Spoken:
        """Speak a text, and wait for the end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"kind": kind, "text": words}), file=self._process.stdin, flush=True)
        told = json.loads(self._process.stdout.readline())
        self.peak_mb = told.pop("peak_mb")
        return Spoken(**told)


@contextmanager
def peer(model: Path, voices: Path) -> Iterator[Peer]:
    """Run kokoro-onnx."""
    command = [sys.executable, __file__, "--peer", str(model), str(voices)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Peer(process)
        assert process.stdin is not None
        process.stdin.close()


# ------------------------------------------------------------------------------------ the daemon


async def speak(client: Client, words: str, server: Daemon | None = None) -> Spoken:
    """Speak a text through the daemon."""
    cpu_s = server.cpu_s() if server else 0.0
    began = time.perf_counter()
    first_s, samples, gap_s = 0.0, 0, 0.0
    async with client.speak(words, model=_MODEL, voice=_VOICE, mode="parallel") as speech:
        async for audio in speech:
            elapsed_s = time.perf_counter() - began
            first_s = first_s or elapsed_s
            gap_s = max(gap_s, elapsed_s - first_s - samples / _RATE)
            samples += len(audio) // 2
        end = speech.segments[0]["text_end"]
    total_s = time.perf_counter() - began
    cpu_s = server.cpu_s() - cpu_s if server else 0.0
    return Spoken(first_s, total_s, cpu_s, samples / _RATE, gap_s, words[:end])


async def compare(
    server: Daemon, other: Peer, words: str, rounds: int
) -> tuple[list[Spoken], list[Spoken], list[Spoken]]:
    """Speak a text by kokoro-onnx, by the daemon, and its first segment bare, in turns.

    The daemon speaks before each of the others: whoever speaks follows another process, since one
    that follows itself has the advantage of warm cores.
    """
    streamed, spoken, bare = [], [], []
    async with connect(server.url, token=TOKEN) as client:
        for _ in range(rounds):
            spoken.append(await speak(client, words, server))
            streamed.append(await asyncio.to_thread(other.speak, words))
            spoken.append(await speak(client, words, server))
            first_segment = spoken[-1].first_segment
            bare.append(await asyncio.to_thread(other.speak, first_segment, "bare"))
    return streamed, spoken, bare


async def listen(url: str, words: str) -> float:
    """Play a text as it comes; return the longest gap."""
    loop = asyncio.get_running_loop()
    began, samples, gap_s = 0.0, 0, 0.0
    async with (
        connect(url, token=TOKEN) as client,
        client.speak(words, model=_MODEL, voice=_VOICE, window_ms=4000) as speech,
    ):
        async for audio in speech:
            now = loop.time()
            began = began or now
            gap_s = max(gap_s, now - began - samples / _RATE)
            samples += len(audio) // 2
            ahead_s = samples / _RATE - (now - began)
            if ahead_s > 3:  # the player's buffer
                await asyncio.sleep(ahead_s - 3)
            await speech.played((loop.time() - began) * 1000)
    return gap_s


async def beside(server: Daemon, listeners: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return the first audio of replies beside listeners to long texts, and their gaps."""
    story = " ".join([text("kettle")] * 2)
    listening = [asyncio.create_task(listen(server.url, story)) for _ in range(listeners)]
    firsts = []
    async with connect(server.url, token=TOKEN) as client:
        await asyncio.sleep(15)
        for _ in range(rounds):
            await asyncio.sleep(4.3)
            if any(task.done() for task in listening):
                break
            firsts.append((await speak(client, _REPLY)).first_s)
    gaps = await asyncio.gather(*listening)
    return firsts, list(gaps)


async def together(server: Daemon, count: int) -> list[float]:
    """Return when each of so many replies, asked for at once, is first heard."""
    async with connect(server.url, token=TOKEN) as client:
        spoken = await asyncio.gather(*(speak(client, _MEDIUM) for _ in range(count)))
    return sorted(reply.first_s for reply in spoken)


def middle(spoken: list[Spoken], what: str) -> float:
    """Return the median of a figure."""
    return median([getattr(one, what) for one in spoken])


def figures(*values: float) -> list[str]:
    """Write figures."""
    return [f"{value:.2f}" for value in values]


def measure(server: Daemon, other: Peer, rounds: int) -> None:
    """Measure and print both tables."""
    other.speak(_REPLY)  # the first inference is slow everywhere
    firsts, wholes = [], []
    factor = 0.0
    for name, words, target in (
        ("paragraph", text("kettle"), 1 / 6),
        ("three sentences", _SENTENCES, 1 / 3),
        ("one sentence", _REPLY, 1.0),
    ):
        streamed, spoken, bare = asyncio.run(compare(server, other, words, rounds))
        first_s, stream_s = middle(spoken, "first_s"), middle(streamed, "first_s")
        bare_s = middle(bare, "total_s")
        met = (verdict(first_s, stream_s * target), verdict(first_s, 1.15 * bare_s))
        sooner = figures(stream_s, first_s, stream_s / first_s)
        firsts.append([name, *sooner, met[0], *figures(bare_s, first_s / bare_s), met[1]])
        cpu = middle(spoken, "cpu_s"), middle(streamed, "cpu_s")
        gap_s = max(one.gap_s for one in spoken)
        factor = middle(spoken, "total_s") / middle(spoken, "audio_s")
        totals = figures(middle(streamed, "total_s"), middle(spoken, "total_s"), *cpu[::-1])
        costs = [*figures(cpu[0] / cpu[1]), verdict(cpu[0], cpu[1])]
        wholes.append([name, *totals, *costs, *figures(factor, gap_s), verdict(gap_s, 0.0)])
    show(
        f"First audio in s, medians of {rounds} rounds; to be 6, 3, 1 times sooner, 1.15 of bare",
        ["text", "create_stream", "daemon", "sooner", "met", "bare", "to bare", "met"],
        firsts,
    )
    show(
        "Whole texts in s; targets: CPU at most kokoro-onnx's, no gap",
        [
            *("text", "create_stream", "daemon", "its CPU", "daemon's CPU", "ratio", "met"),
            *("real time", "gap", "met"),
        ],
        wholes,
    )


def crowd(server: Daemon, rounds: int) -> None:
    """Measure several listeners at once, and print a table."""
    idle = [asyncio.run(_alone(server)) for _ in range(rounds)]
    factor = median([one.total_s / one.audio_s for one in idle])
    rows = []
    if listeners := max(0, min(_LISTENERS, int(0.88 / factor) - 1)):
        beside_s, gaps = asyncio.run(beside(server, listeners, rounds))
        ratio = median(beside_s) / median([one.first_s for one in idle])
        rows = [
            (f"first audio beside {listeners} listeners, to that alone", ratio, 1.4),
            ("longest gap of the listeners, s", max(gaps), 0.0),
        ]
    else:
        print(f"No listener beside another: the real-time factor here is {factor:.2f}.")
    lasts = []
    for _ in range(rounds):
        (alone_s,) = asyncio.run(together(server, 1))
        lasts.append(asyncio.run(together(server, 4))[-1] / 4 / alone_s)
    rows.append(("last of 4 replies at once, to 4 of one alone", median(lasts), 1.0))
    show(
        "Several at once",
        ["what", "value", "target", "met"],
        [[what, *figures(value, most), verdict(value, most)] for what, value, most in rows],
    )


async def _alone(server: Daemon) -> Spoken:
    async with connect(server.url, token=TOKEN) as client:
        return await speak(client, _REPLY)


def main() -> None:
    """Make the model, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "voiced-kokoro"))
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        asyncio.run(_peer(*args.peer))
        return
    model, voices = random_kokoro.make(args.folder)
    settings: dict[str, Any] = {
        f"BACKENDS__{_MODEL}__MODEL_PATH": str(model),
        f"BACKENDS__{_MODEL}__VOICES_PATH": str(voices),
    }
    with daemon(**settings) as server, peer(model, voices) as other:
        measure(server, other, args.rounds)
        peak_mb = server.peak_mb()
        ratio = peak_mb / other.peak_mb
        crowd(server, args.rounds)
        complaints = server.complaints()
    show(
        "Memory at its peak, after the texts",
        ["kokoro-onnx, MB", "daemon, MB", "ratio", "target", "met"],
        [[f"{other.peak_mb:.0f}", f"{peak_mb:.0f}", *figures(ratio), "0.6", verdict(ratio, 0.6)]],
    )
    show_complaints(complaints)


if __name__ == "__main__":
    main()
