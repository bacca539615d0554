"""At home: phrases that come again, Home Assistant's stream, and its `describe` beside Kokoro.

    python benchmarks/home.py [--rounds 50] [--folder FOLDER]

A phrase is asked for over the WebSocket again and again, in each format, and after a restart. Home
Assistant's stream writes a text for three seconds over Wyoming. `describe` is asked for on a fresh
connection each time, as Home Assistant does, while Kokoro speaks; its model is of full size with
random weights (`random_kokoro.py`), and is kept in FOLDER.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import random_kokoro
from rig import TOKEN, Daemon, daemon, median, p99, show, show_complaints, text, verdict
from wyoming.audio import AudioChunk
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info
from wyoming.tts import SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped

from voiced.client import Client, connect

_PHRASE = "The front door is open."
_FORMATS = ("pcm", "wav", "mp3", "opus", "aac", "flac")
_WRITTEN_S = 3.0
_PHRASE_MS, _DESCRIBE_MS = 5, 100


async def first_audio(client: Client, words: str, **fields: Any) -> float:
    """Return the ms from the request to its first audio."""
    began = time.perf_counter()
    first = 0.0
    async with client.speak(words, **fields) as speech:
        async for _ in speech:
            first = first or time.perf_counter()
    return (first - began) * 1000


async def repeated(server: Daemon, rounds: int) -> list[list[str]]:
    """Measure a phrase that was said before, in each format."""
    rows = []
    async with connect(server.url, token=TOKEN) as client:
        for name in _FORMATS:
            await first_audio(client, _PHRASE, response_format=name)
            times = [
                await first_audio(client, _PHRASE, response_format=name) for _ in range(rounds)
            ]
            rows.append(_row(name, times, _PHRASE_MS))
    return rows


async def again(server: Daemon) -> float:
    """Return the first audio of the phrase in a fresh daemon, the first time."""
    async with connect(server.url, token=TOKEN) as client:
        await client.ping()
        return await first_audio(client, _PHRASE)


async def streamed(server: Daemon) -> tuple[float, float]:
    """Write a text as it comes; return when its first audio came, and when it had ended, in s."""
    words = text("kettle").split()
    began = time.perf_counter()
    first = ended = 0.0

    async def write(client: AsyncTcpClient) -> None:
        nonlocal ended
        await client.write_event(SynthesizeStart().event())
        for word in words:
            await client.write_event(SynthesizeChunk(text=f"{word} ").event())
            await asyncio.sleep(_WRITTEN_S / len(words))
        await client.write_event(SynthesizeStop().event())
        ended = time.perf_counter() - began

    async with AsyncTcpClient(server.host, server.wyoming_port) as client:
        writing = asyncio.create_task(write(client))
        while event := await client.read_event():
            if AudioChunk.is_type(event.type):
                first = first or time.perf_counter() - began
            if SynthesizeStopped.is_type(event.type):
                break
        await writing
    return first, ended


async def described(server: Daemon) -> float:
    """Return the ms of a `describe` on a connection of its own."""
    began = time.perf_counter()
    async with AsyncTcpClient(server.host, server.wyoming_port) as client:
        await client.write_event(Describe().event())
        while (event := await client.read_event()) and not Info.is_type(event.type):
            pass
    return (time.perf_counter() - began) * 1000


async def beside_kokoro(server: Daemon, rounds: int) -> list[list[str]]:
    """Measure `describe` while nobody speaks, and while Kokoro does."""
    await described(server)  # learns the voices
    idle = [await described(server) for _ in range(rounds)]
    async with (
        connect(server.url, token=TOKEN) as client,
        client.speak(" ".join([text("kettle")] * 3), model="kokoro") as speech,
    ):
        await anext(aiter(speech))
        busy = [await described(server) for _ in range(rounds)]
    return [
        _row("nobody speaks", idle, _DESCRIBE_MS, is_p99=True),
        _row("Kokoro speaks", busy, _DESCRIBE_MS, is_p99=True),
    ]


def _row(what: str, times: list[float], target: float, *, is_p99: bool = False) -> list[str]:
    worst = p99(times)
    met = verdict(worst if is_p99 else median(times), target)
    return [what, f"{median(times):.1f}", f"{worst:.1f}", str(target), met]


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "voiced-kokoro"))
    args = parser.parse_args()
    model, voices = random_kokoro.make(args.folder)
    columns = ["median, ms", "p99, ms", "target, ms", "met"]
    complaints = []
    with tempfile.TemporaryDirectory() as cache:
        settings = {"CACHE__MEMORY_MB": "64", "CACHE__DISK_MB": "64", "CACHE__PATH": cache}
        with daemon(**settings) as server:
            rows = asyncio.run(repeated(server, args.rounds))
            complaints += server.complaints()
        restarted = []
        for _ in range(5):
            with daemon(**settings) as server:
                restarted.append(asyncio.run(again(server)))
        rows.append(_row("after a restart, pcm", restarted, _PHRASE_MS))
    show("First audio of a phrase that was said before", ["format", *columns], rows)
    with daemon() as server:
        first_s, ended_s = asyncio.run(streamed(server))
    show(
        "Home Assistant's stream",
        ["first audio, s", "text ended, s", "met"],
        [[f"{first_s:.2f}", f"{ended_s:.2f}", verdict(first_s, ended_s)]],
    )
    kokoro = {
        "BACKENDS__local_kokoro_default_onnx__MODEL_PATH": str(model),
        "BACKENDS__local_kokoro_default_onnx__VOICES_PATH": str(voices),
        "DEFAULTS__PRELOAD": "local_kokoro_default_onnx",
    }
    with daemon(**kokoro) as server:
        rows = asyncio.run(beside_kokoro(server, args.rounds))
        complaints += server.complaints()
    show("describe", ["while", *columns], rows)
    show_complaints(complaints)


if __name__ == "__main__":
    main()
