"""What the daemon costs: start-up time, memory at rest, per idle session, over a long text.

    python benchmarks/footprint.py [--starts 7] [--sessions 1000] [--characters 200000]

Memory is VmRSS. The long text is read over HTTP at full speed while the daemon's memory is
sampled; its rise is the highest sample after the first tenth of the audio against the highest
within it. An engine counts as loaded when one of its shared libraries is mapped; kokoro_onnx has
none of its own, but imports onnxruntime.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http.client import HTTPConnection

from rig import (
    TOKEN,
    Daemon,
    allow_open_files,
    daemon,
    long_text,
    median,
    show,
    text,
    verdict,
)
from sessions import session

_READY_TARGET_MS = 1000
_REST_TARGET_MB = 90
_SESSION_TARGET_KB = 30
_RISE_TARGET_MB = 5  # what an allocator may do; memory that grows with the text is far more
_ENGINES = ("onnxruntime", "torch", "kokoro_onnx")
_REST_S = 1.0  # after ready
_USES = 20
_SAMPLE_S = 0.02
_BYTES_A_SECOND = 48_000  # of pcm

Row = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class LongRead:
    """A long text, read to its end."""

    characters: int
    total_bytes: int
    seconds: float
    samples: list[tuple[int, float]]  # bytes read so far, MB resident then

    def highest_mb(self, start: float, end: float) -> float:
        """Return the highest memory between two shares of the audio."""
        span = range(int(start * self.total_bytes), int(end * self.total_bytes) + 1)
        return max(mb for at, mb in self.samples if at in span)

    def rise_mb(self) -> float:
        """Return by how much the rest rises above the first tenth."""
        return self.highest_mb(0.1, 1) - self.highest_mb(0, 0.1)


def speak(server: Daemon, words: str, response_format: str) -> LongRead:
    """Have a text spoken over HTTP, at full speed."""
    connection = HTTPConnection(server.host, server.http_port)
    body = {"input": words, "response_format": response_format}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    began = sampled_at = time.perf_counter()
    connection.request("POST", "/v1/audio/speech", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise SystemExit(response.read().decode())
    samples = [(0, server.resident_mb())]
    total = 0
    while part := response.read1(65536):
        total += len(part)
        if (now := time.perf_counter()) - sampled_at >= _SAMPLE_S:
            samples.append((total, server.resident_mb()))
            sampled_at = now
    seconds = time.perf_counter() - began
    samples.append((total, server.resident_mb()))
    connection.close()
    return LongRead(len(words), total, seconds, samples)


async def idle_sessions_mb(server: Daemon, count: int) -> tuple[float, float, float]:
    """Return memory before, with `count` authenticated sessions that do nothing, and after."""
    async with session(server.url):
        pass  # what the first session loads is not what a session costs
    before = server.resident_mb()
    async with AsyncExitStack() as sessions:
        for _ in range(count):
            await sessions.enter_async_context(session(server.url))
        await asyncio.sleep(_REST_S)
        during = server.resident_mb()
    await asyncio.sleep(_REST_S)
    return before, during, server.resident_mb()


def starts(count: int) -> list[Row]:
    """Start the daemon again and again."""
    lines, readies = [], []
    for _ in range(count):
        with daemon() as server:
            lines.append(server.first_line_ms)
            readies.append(server.ready_ms)
    middle = median(readies)
    target = f"{_READY_TARGET_MS} ms"
    return [
        ("start to first line, median", f"{median(lines):.0f} ms", "", ""),
        ("start to ready, median", f"{middle:.0f} ms", target, verdict(middle, _READY_TARGET_MS)),
        ("start to ready, slowest", f"{max(readies):.0f} ms", "", ""),
    ]


def rest_and_use(sessions: int) -> list[Row]:
    """Look at a daemon at rest, with idle sessions, and after some use."""
    allow_open_files(sessions + 100)
    with daemon(limits__max_sessions=str(sessions + 100)) as server:
        time.sleep(_REST_S)
        rest = server.resident_mb()
        engines = server.mapped(*_ENGINES)
        before, during, after = asyncio.run(idle_sessions_mb(server, sessions))
        for response_format in ("pcm", "mp3"):
            for _ in range(_USES):
                speak(server, text("paragraph"), response_format)
        used = server.resident_mb()
    each = (during - before) * 1024 / sessions
    return [
        ("at rest", f"{rest:.1f} MB", f"{_REST_TARGET_MB} MB", verdict(rest, _REST_TARGET_MB)),
        ("engines loaded at rest", ", ".join(engines) or "none", "none", verdict(len(engines), 0)),
        (
            f"idle session, of {sessions}",
            f"{each:.1f} KB",
            f"{_SESSION_TARGET_KB} KB",
            verdict(each, _SESSION_TARGET_KB),
        ),
        ("after these sessions left", f"{after:.1f} MB", "", ""),
        (f"after {_USES} paragraphs of pcm and of mp3", f"{used:.1f} MB", "", ""),
    ]


def long_read(characters: int, response_format: str) -> list[Row]:
    """Look at a daemon that speaks a long text."""
    with daemon(limits__max_input_chars=str(characters)) as server:
        speak(server, text("paragraph"), response_format)
        before_s = server.cpu_s()
        read = speak(server, long_text(characters), response_format)
        cpu_s = server.cpu_s() - before_s
    rise = read.rise_mb()
    what = f"{characters} characters of {response_format}"
    pace = f"{read.seconds:.0f} s, {cpu_s:.0f} s of CPU"
    if response_format == "pcm":
        pace += f", {read.total_bytes / _BYTES_A_SECOND / read.seconds:.0f} x real time"
    return [
        (f"{what}: first 10 %", f"{read.highest_mb(0, 0.1):.1f} MB", "", ""),
        ("  at the end", f"{read.samples[-1][1]:.1f} MB", "", ""),
        ("  rise after 10 %", f"{rise:+.1f} MB", "flat", verdict(rise, _RISE_TARGET_MB)),
        ("  took", pace, "", ""),
    ]


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--characters", type=int, default=200_000)
    args = parser.parse_args()
    rows = [*starts(args.starts), *rest_and_use(args.sessions)]
    for response_format in ("pcm", "mp3"):
        rows += long_read(args.characters, response_format)
    show("Footprint of the daemon", ["measure", "value", "target", "met"], rows)


if __name__ == "__main__":
    main()
