"""What systemd is told, by a socket as systemd has one."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from support import eventually
from test_daemon import QUICK, serving, spawn

from voiced.client import connect
from voiced.service import ServiceManager


@dataclass
class Systemd:
    """A notification socket, and what came."""

    socket: socket.socket
    address: str
    heard: list[str] = field(default_factory=list)

    def read(self) -> list[str]:
        while True:
            try:
                self.heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    async def expect(self, *wanted: str, within_s: float = 10) -> None:
        """Wait until each has come, in this order; what comes between does not matter."""
        async with asyncio.timeout(within_s):
            while not _in_order(wanted, self.read()):  # noqa: ASYNC110  # it is a datagram socket
                await asyncio.sleep(0.02)


def _in_order(wanted: tuple[str, ...], heard: list[str]) -> bool:
    rest = iter(heard)
    return all(any(message.startswith(start) for message in rest) for start in wanted)


@contextmanager
def systemd(address: str) -> Iterator[Systemd]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(address.replace("@", "\0"))
        yield Systemd(opened, address)


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    is_file = request.param == "file"
    with systemd(str(tmp_path / "notify") if is_file else f"@voiced-test-{os.getpid()}") as made:
        yield made


def test_it_is_told_by_its_own_protocol(manager: Systemd) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "8000000"}
    service = ServiceManager.from_environ(environ)
    assert service.watchdog_s == 8
    service.ready()
    service.status("clients: 1")
    service.status("clients: 1")  # nothing new
    service.alive()
    service.reloading()
    service.stopping()
    *before, reloading, after = manager.read()
    assert before == ["READY=1", "STATUS=clients: 1", "WATCHDOG=1"]
    assert after == "STOPPING=1"
    state, stamp = reloading.splitlines()
    assert state == "RELOADING=1"
    assert stamp.removeprefix("MONOTONIC_USEC=").isdecimal()


def test_without_a_service_manager_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    service = ServiceManager.from_environ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    assert service.watchdog_s is None
    service.ready()
    service.alive()
    assert not caplog.messages


def test_one_that_went_away_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceManager(str(tmp_path / "gone")).ready()
    assert caplog.messages == [
        "the service manager was not told READY=1: No such file or directory"
    ]


async def test_the_daemon_tells_from_its_start_to_its_end(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    with systemd(str(tmp_path / "notify")) as manager:
        watched = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000000"}
        async with serving(tmp_path, "--config", str(config), **watched) as run:
            assert "READY=1" in manager.read()
            await manager.expect("READY=1", "WATCHDOG=1", "WATCHDOG=1")
            async with connect(run.url):
                await manager.expect("STATUS=clients: 1, speaking: 0")
            config.write_text("[log]\nlevle = 'info'\n")
            run.process.send_signal(signal.SIGHUP)
            await manager.expect("RELOADING=1", "READY=1", "STATUS=not reloaded: log.levle")
            config.write_text("")
            run.process.send_signal(signal.SIGHUP)
            await manager.expect("STATUS=not", "RELOADING=1", "READY=1", "STATUS=clients: 0")
            status, _ = await run.stop()
        assert status == 0
        await manager.expect("STATUS=clients: 0", "STOPPING=1")


async def test_a_service_waits_for_a_port_that_is_taken(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with systemd(str(tmp_path / "notify")) as manager:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            run = await spawn(
                tmp_path,
                *("serve", "--no-zeroconf", "--port", "0", "--http-port", port),
                *("--ready-file", str(ready)),
                NOTIFY_SOCKET=manager.address,
            )
            await manager.expect(f"STATUS=waits for a port. Cannot listen on 127.0.0.1:{port}")
        await manager.expect("READY=1", "STATUS=clients: 0")
        assert ready.exists()
        status, errors = await run.stop()
    assert status == 0
    assert errors.count("It is tried again") == 1


PLUGIN = '''
import asyncio
import ctypes
from collections.abc import AsyncGenerator, Sequence

from voiced.backends.base import Emit, TTSBackendBase
from voiced.speech import PcmChunk, Segment, Voice


class DeadlyBackend(TTSBackendBase):
    """Its native library ends the thread that it is called on, at the time that `voice` says."""

    is_local = True

    async def initialize(self) -> None:
        if self.settings.voice == "slow":
            await asyncio.sleep(3600)
        if self.settings.voice == "load":
            await self.lane.call(self._end_thread)

    def voices(self) -> Sequence[Voice]:
        return [Voice("one", "One", ("en",), 16000)]

    async def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        async for chunk in self.lane.stream(segment, self._synthesize):
            yield chunk

    def _synthesize(self, segment: Segment, emit: Emit) -> None:
        self._end_thread()

    def _end_thread(self) -> None:
        ctypes.CDLL(None).pthread_exit(None)

    async def close(self) -> None:
        if self.settings.voice == "close":
            await self.lane.call(self._end_thread)
'''


def plugin(folder: Path) -> Path:
    """Install the backend type `deadly` in a folder for `PYTHONPATH`."""
    info = folder / "deadly-1.dist-info"
    info.mkdir(parents=True)
    (folder / "deadly.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[voiced.backends]\ndeadly = deadly:DeadlyBackend\n")
    return folder


async def test_a_thread_that_an_engine_ended_ends_the_daemon_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[backends.deadly]\ntype = 'deadly'\n")
    path = {"PYTHONPATH": str(plugin(tmp_path / "plugin"))}
    async with serving(tmp_path, "--config", str(config), **path) as run:
        async with aiohttp.ClientSession() as web:
            body = {"input": "One.", "model": "deadly"}
            with pytest.raises(aiohttp.ClientError):
                async with web.post(f"{run.http_url}/v1/audio/speech", json=body) as answer:
                    answer.raise_for_status()
        async with asyncio.timeout(3):
            status, errors = await run.end()
    assert status == 1
    assert "a local engine ended its thread" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("when", ["load", "close", "slow"])
async def test_a_backend_that_hangs_keeps_nobody(tmp_path: Path, when: str) -> None:
    """While it is loaded at start, with or without a thread, or when it is closed."""
    config = tmp_path / "config.toml"
    config.write_text(
        f"[defaults]\npreload = ['deadly']\n[backends.deadly]\ntype = 'deadly'\nvoice = '{when}'\n"
    )
    ready = tmp_path / "ready.json"
    run = await spawn(
        tmp_path,
        *("serve", *QUICK, "--config", str(config), "--ready-file", str(ready)),
        PYTHONPATH=str(plugin(tmp_path / "plugin")),
    )
    assert run.process.stderr is not None
    if when == "close":
        await eventually(ready.exists, seconds=15)
        run.process.terminate()
    if when == "slow":
        while b"listens" not in await run.process.stderr.readline():
            pass
        await asyncio.sleep(0.2)
        run.process.terminate()
    async with asyncio.timeout(15):
        status, _ = await run.end()
    assert status == (0 if when == "slow" else 1)
    assert ready.exists() == (when == "close")
