"""What the benchmarks share: a daemon of their own, texts, figures and a table."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

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
    wyoming_port: int
    first_line_ms: float  # from exec until it said where it listens
    ready_ms: float  # from exec until the ready file was there
    log: Path  # gone when the daemon is

    @property
    def url(self) -> str:
        """Where its sessions are."""
        return f"ws://{self.host}:{self.ws_port}/v1/ws"

    def resident_mb(self) -> float:
        """Return the memory that it has in RAM now, with its share of what processes share."""
        return sum(_field(pid, "smaps_rollup", "Pss:") for pid in _family(self.pid)) / 1024

    def peak_mb(self) -> float:
        """Return the most memory that it, and each process of its own, ever had in RAM."""
        return sum(_field(pid, "status", "VmHWM:") for pid in _family(self.pid)) / 1024

    def cpu_s(self) -> float:
        """Return the processor time that it, and its processes, have used so far."""
        return sum(map(_cpu_s, _family(self.pid)))

    def gauge(self, name: str) -> int:
        """Return a gauge of /metrics."""
        connection = HTTPConnection(self.host, self.http_port)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return int(float(next(line for line in lines if line.startswith(f"{name} ")).split()[1]))

    def complaints(self) -> list[str]:
        """Return the lines of its log from WARNING up, and those of tracebacks."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if " INFO voiced" not in line]

    def mapped(self, *names: str) -> list[str]:
        """Return those of `names` of which a shared library is loaded."""
        maps = Path(f"/proc/{self.pid}/maps").read_text(encoding="utf-8")
        paths = {line.rpartition(" ")[2] for line in maps.splitlines() if ".so" in line}
        return [name for name in names if any(name in path for path in paths)]


def _family(pid: int) -> list[int]:
    """Return a process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(found for child in children for found in _family(int(child)))]


def _field(pid: int, file: str, name: str) -> int:
    text = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii")
    return int(next(line for line in text.splitlines() if line.startswith(name)).split()[1])


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process, and of its children that have ended."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2]
    return sum(map(int, stat.split()[11:15])) / os.sysconf("SC_CLK_TCK")


def allow_open_files(count: int) -> None:
    """Let this process, and the daemons that it starts, have so many files open.

    A limit of 1024, as most shells give it, is too low for 1,000 sessions in one process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and hard < count:
        raise SystemExit(f"At most {hard} files may be open here, and {count} are needed.")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@contextmanager
def daemon(**variables: str) -> Iterator[Daemon]:
    """Run a daemon on free ports with a state folder of its own; `variables` go to VOICED_*."""
    with tempfile.TemporaryDirectory(prefix="voiced-benchmark-") as name:
        folder = Path(name)
        config, ready_file, log = folder / "config.toml", folder / "ready.json", folder / "log"
        config.touch()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("VOICED_")}
        environ |= {"STATE_DIRECTORY": name, "VOICED_CONFIG": str(config)}
        environ |= {"VOICED_AUTH__TOKEN": TOKEN, "VOICED_CACHE__MEMORY_MB": "0"}
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
                doors["wyoming"]["port"],
                first_line_ms,
                ready_ms,
                log,
            )
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            process.kill()
            process.communicate()


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


def row_of_times(what: str, times: Sequence[float], target: float | None = None) -> list[str]:
    """Make a row of median, p99, highest, and whether p99 meets a target."""
    figures = [f"{figure:.1f}" for figure in (median(times), p99(times), max(times))]
    met = ["", ""] if target is None else [f"p99 {target}", verdict(p99(times), target)]
    return [what, *figures, *met]


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        justify: Any = "right" if index else "left"
        table.add_column(column, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=120, highlight=False).print(table)


def show_complaints(lines: Sequence[str]) -> None:
    """Print what a daemon logged beside its usual lines: there should be nothing."""
    for line in lines[:20]:
        print(line)
    if len(lines) > 20:
        print(f"... and {len(lines) - 20} lines more in the daemon's log")
