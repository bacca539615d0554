"""What the benchmarks share: a daemon of their own, sessions with it, figures and a table."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect

from voiced.protocol import messages

TEXTS = Path(__file__).with_name("texts")
TOKEN = "benchmark"
_READY_S = 30
_STOP_S = 15


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon in a process of its own."""

    pid: int
    host: str
    ws_port: int
    http_port: int
    first_line_ms: float  # from exec until it said where it listens
    ready_ms: float  # from exec until the ready file was there

    @property
    def url(self) -> str:
        """Where its sessions are."""
        return f"ws://{self.host}:{self.ws_port}/v1/ws"

    def resident_mb(self) -> float:
        """Return the memory that it has in RAM now."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def cpu_s(self) -> float:
        """Return the processor time that it has used so far."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2]
        user, system = stat.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def mapped(self, *names: str) -> list[str]:
        """Return those of `names` of which a shared library is loaded."""
        maps = Path(f"/proc/{self.pid}/maps").read_text(encoding="utf-8")
        paths = {line.rpartition(" ")[2] for line in maps.splitlines() if ".so" in line}
        return [name for name in names if any(name in path for path in paths)]


@contextmanager
def daemon(**variables: str) -> Iterator[Daemon]:
    """Run a daemon on free ports with a state folder of its own; `variables` go to VOICED_*."""
    with tempfile.TemporaryDirectory(prefix="voiced-benchmark-") as name:
        folder = Path(name)
        config, ready_file, log = folder / "config.toml", folder / "ready.json", folder / "log"
        config.touch()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("VOICED_")}
        environ |= {"STATE_DIRECTORY": name, "VOICED_CONFIG": str(config)}
        environ |= {"VOICED_AUTH__TOKEN": TOKEN}
        environ |= {f"VOICED_{key.upper()}": value for key, value in variables.items()}
        command = [sys.executable, "-m", "voiced", "serve", "--port", "0", "--http-port", "0"]
        command += ["--no-zeroconf", "--ready-file", str(ready_file)]
        with log.open("wb") as stderr:
            began = time.perf_counter()
            process = subprocess.Popen(
                command, env=environ, stdout=subprocess.PIPE, stderr=stderr, cwd=folder
            )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            first_line_ms = (time.perf_counter() - began) * 1000
            while not ready_file.exists():
                if process.poll() is not None or time.perf_counter() - began > _READY_S:
                    raise SystemExit(f"The daemon did not start.\n{log.read_text()}")
                time.sleep(0.0005)
            ready_ms = (time.perf_counter() - began) * 1000
            doors = json.loads(ready_file.read_text(encoding="utf-8"))
            yield Daemon(
                process.pid,
                doors["websocket"]["host"],
                doors["websocket"]["port"],
                doors["http"]["port"],
                first_line_ms,
                ready_ms,
            )
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            process.kill()
            process.communicate()


# ---------------------------------------------------------------------------------- sessions


@dataclass(slots=True)
class Heard:
    """What came of one speech."""

    first_audio_ms: float = 0.0  # from just before `speak` was sent
    audio: bytearray = field(default_factory=bytearray)
    reason: str = ""


class Session:
    """A session with nothing between it and the socket that would cost time. One task only."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0

    async def send(self, kind: str, **fields: Any) -> int:
        """Send a command, and return its id."""
        self._last_id += 1
        command = {"id": self._last_id, "type": kind, **fields}
        await self._connection.send(messages.encode(command))
        return self._last_id

    async def result(self, command: int) -> Any:
        """Read up to the result of a command."""
        while True:
            message = await self._connection.recv()
            if isinstance(message, str):
                content = json.loads(message)
                if content["id"] == command and content["type"] == "result":
                    assert content["success"], content
                    return content["result"]

    async def first_audio(self, text: str, **fields: Any) -> tuple[int, float]:
        """Begin a speech; return its id and the ms until its first audio arrived."""
        began = time.perf_counter()
        speech = await self.send("speak", input=text, **fields)
        while True:
            message = await self._connection.recv()
            if isinstance(message, bytes):
                elapsed_ms = (time.perf_counter() - began) * 1000
                _, _, _, of, _, payload = messages.parse_frame(message)
                if of == speech and payload:
                    return speech, elapsed_ms
            elif '"success":false' in message:
                raise SystemExit(message)

    async def read_for(self, seconds: float) -> None:
        """Read, and forget it, for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    await self._connection.recv()

    async def ended(self) -> None:
        """Read, and forget it, up to the end of a speech."""
        while True:
            message = await self._connection.recv()
            if isinstance(message, str) and '"speech-end"' in message:
                return

    async def hear(self, text: str, **fields: Any) -> Heard:
        """Speak and read all of it."""
        heard = Heard()
        began = time.perf_counter()
        speech = await self.send("speak", input=text, **fields)
        while True:
            message = await self._connection.recv()
            if isinstance(message, bytes):
                if not heard.audio:
                    heard.first_audio_ms = (time.perf_counter() - began) * 1000
                _, _, _, of, position, payload = messages.parse_frame(message)
                assert of == speech
                assert position * 2 == len(heard.audio), "a gap in the positions"
                heard.audio += payload
            elif '"speech-end"' in message:
                heard.reason = json.loads(message)["event"]["data"]["reason"]
                return heard
            elif '"success":false' in message:
                raise SystemExit(message)

    async def cancel(self, speech: int) -> float:
        """Cancel a speech; return the ms until the result arrived."""
        began = time.perf_counter()
        result = await self.result(await self.send("speech/cancel", speech=speech))
        elapsed_ms = (time.perf_counter() - began) * 1000
        assert result["state"] == "cancelled", result
        return elapsed_ms


@asynccontextmanager
async def session(url: str) -> AsyncGenerator[Session, None]:
    """Open a session, with the token as a client without headers sends it."""
    async with connect(url, compression=None, max_size=None, proxy=None) as connection:
        assert json.loads(await connection.recv())["type"] == "auth_required"
        await connection.send(messages.encode({"type": "auth", "access_token": TOKEN}))
        assert json.loads(await connection.recv())["type"] == "auth_ok"
        yield Session(connection)


# ------------------------------------------------------------------------ texts, figures, table


def text(name: str) -> str:
    """Return one of the texts beside this file."""
    return (TEXTS / f"{name}.txt").read_text(encoding="utf-8").strip()


def long_text(characters: int) -> str:
    """Return a text of that length: the paragraph again and again, each time with a number."""
    paragraph = text("paragraph")
    count = characters // len(paragraph) + 1
    return " ".join(f"Part {n + 1}. {paragraph}" for n in range(count))[:characters]


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """Return the value that one in a hundred is above."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, round(0.99 * (len(ranked) - 1)))]


def verdict(value: float, limit: float) -> str:
    """Say whether a target is met."""
    return "yes" if value <= limit else "NO"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        justify: Any = "right" if index else "left"
        table.add_column(column, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=120, highlight=False).print(table)
