"""Providers: what the daemon adds to one's first byte, and what slow ones cost the local engines.

    python benchmarks/remote.py [--rounds 40]

The provider is a small server here with OpenAI's route, in a process of its own. It tells when it
sent its first byte; the clocks of both processes are the same one.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from aiohttp import web
from rig import TOKEN, Daemon, daemon, median, show, show_complaints, verdict

from voiced.audio.writer import StreamingAudioWriter
from voiced.client import Client, connect
from voiced.speech import AudioFormat

_TEXT = "The front door is open, and it has been for more than an hour."
_RATE = 24000
_PART = 2048  # bytes, 43 ms of pcm
_FORMATS = ("pcm", "wav", "mp3", "opus", "aac")
_SLOW = 20
_SLOW_PART_S = 0.2
_FIRST_AUDIO_MS = 10
_spawn = multiprocessing.get_context("spawn")


# ----------------------------------------------------------------- the provider, in its own process


def serve(ends: Connection) -> None:
    """Answer with a tone; send the port, then the time of each first byte."""
    asyncio.run(_serve(ends))


async def _serve(ends: Connection) -> None:
    tone = (8000 * np.sin(np.arange(3 * _RATE) * 2 * np.pi * 220 / _RATE)).astype(np.int16)
    audio = {}
    for name in _FORMATS:
        writer = StreamingAudioWriter(AudioFormat(name), _RATE)
        audio[name] = b"".join(part.data for part in [*writer.write(tone), *writer.close()])

    async def speech(request: web.Request) -> web.StreamResponse:
        asked: dict[str, Any] = await request.json()
        is_slow = asked["model"] == "slow"
        response = web.StreamResponse(headers={"Content-Type": "audio/mpeg"})
        await response.prepare(request)
        await asyncio.sleep(0.05)
        data = audio[asked["response_format"]]
        if not is_slow:
            ends.send(time.perf_counter())
        with suppress(ConnectionError):  # a listener may leave
            for at in range(0, len(data), _PART):
                await response.write(data[at : at + _PART])
                if is_slow:
                    await asyncio.sleep(_SLOW_PART_S)
            await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/v1/audio/speech", speech)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ends.send(runner.addresses[0][1])
    await asyncio.Event().wait()


# ------------------------------------------------------------------------------------ measurements


async def first_byte_to_audio(client: Client, model: str, ends: Connection) -> float:
    """Return the ms from the provider's first byte to the first audio at the client."""
    async with client.speak(_TEXT, model=model) as speech:
        first = 0.0
        async for _ in speech:
            first = first or time.perf_counter()
    sent: float = ends.recv()
    return (first - sent) * 1000


async def local_ms(client: Client) -> tuple[float, float]:
    """Return the ms to the first audio of the local engine, and to its last."""
    began = time.perf_counter()
    first = 0.0
    async with client.speak(_TEXT, model="espeak", mode="parallel") as speech:
        async for _ in speech:
            first = first or time.perf_counter()
    return (first - began) * 1000, (time.perf_counter() - began) * 1000


async def speak_slowly(url: str) -> None:
    """Listen to the slow provider."""
    async with (
        connect(url, token=TOKEN) as client,
        client.speak(_TEXT, model="slow") as speech,
    ):
        async for _ in speech:
            pass


async def measure(server: Daemon, ends: Connection, rounds: int) -> None:
    """Print both tables."""
    rows = []
    async with connect(server.url, token=TOKEN) as client:
        for name in _FORMATS:
            await first_byte_to_audio(client, name, ends)  # the first connection
            times = [await first_byte_to_audio(client, name, ends) for _ in range(rounds)]
            worst = f"{sorted(times)[int(0.9 * len(times))]:.1f}"
            rows.append(
                [name, f"{median(times):.1f}", worst, verdict(median(times), _FIRST_AUDIO_MS)]
            )
    show(
        f"From a provider's first byte to the first audio, of {rounds}",
        ["provider's format", "median, ms", "p90, ms", f"met ({_FIRST_AUDIO_MS} ms)"],
        rows,
    )
    alone: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    async with connect(server.url, token=TOKEN) as client:
        for _ in range(4):  # A B A B
            alone += [await local_ms(client) for _ in range(rounds)]
            slow = [asyncio.create_task(speak_slowly(server.url)) for _ in range(_SLOW)]
            await asyncio.sleep(0.5)
            beside += [await local_ms(client) for _ in range(rounds)]
            assert not any(task.done() for task in slow)
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
    show(
        f"The local engine beside {_SLOW} speeches of a slow provider",
        ["what", "alone, ms", "beside, ms", "ratio"],
        [
            [
                what,
                f"{(a := median([one[i] for one in alone])):.1f}",
                f"{(b := median([one[i] for one in beside])):.1f}",
                f"{b / a:.2f}",
            ]
            for i, what in enumerate(("first audio", "all of it"))
        ],
    )


def main() -> None:
    """Start the provider and a daemon, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    ours, theirs = _spawn.Pipe()
    provider = _spawn.Process(target=serve, args=(theirs,), daemon=True)
    provider.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    settings: dict[str, str] = {}
    for name in (*_FORMATS, "slow"):
        own = {
            "type": "openai",
            "base_url": url,
            "model": name,
            "response_format": "pcm" if name == "slow" else name,
            "max_concurrent": str(_SLOW),
        }
        settings |= {f"BACKENDS__{name}__{key}": value for key, value in own.items()}
    settings["BACKENDS__espeak__type"] = "espeak"
    with daemon(**settings) as server:
        asyncio.run(measure(server, ours, args.rounds))
        complaints = server.complaints()
    provider.terminate()
    show_complaints(complaints)


if __name__ == "__main__":
    main()
