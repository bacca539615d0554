"""The rigs themselves; what they are for is run by hand (see CONTRIBUTING.md)."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support import REPOSITORY
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

RIGS = REPOSITORY / "tests" / "rigs"
FINE = {f"1.1.{case}": ("OK", "OK") for case in range(247)}


def test_without_a_python_2_the_autobahn_rig_says_so(tmp_path: Path) -> None:
    for name in ("cc", "timeout"):
        (tmp_path / name).symlink_to("/bin/true")
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run(
        [RIGS / "autobahn.sh"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, "VOICED_PYTHON": sys.executable, "PYTHON27": "false"},
    )
    assert ran.returncode == 1
    assert ran.stderr == "autobahn: PYTHON27 is no Python 2.7: false\n"


# --------------------------------------------------------------------------- Autobahn's echo


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """The echo server; gives its URL, and sees that it ends in peace."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, RIGS / "autobahn_echo.py"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        url = await asyncio.wait_for(process.stdout.readline(), 15)
        yield url.decode().strip()
        process.terminate()
        assert await asyncio.wait_for(process.communicate(), 15) == (b"", b"")
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def send_all(connection: ClientConnection, messages: Sequence[bytes]) -> None:
    for message in messages:
        await connection.send(message)


async def test_the_echo_returns_text_bytes_and_what_came_in_fragments() -> None:
    async with echoing() as url, asyncio.timeout(15), connect(url) as connection:
        for message in ("Grüße", b"\x00\xff", "x" * 65536):
            await connection.send(message)
            assert await connection.recv() == message
        await connection.send(["in ", "three ", "parts"])
        assert await connection.recv() == "in three parts"


async def test_the_echo_keeps_the_order_of_more_than_it_holds() -> None:
    messages = [bytes([number]) * 60_000 for number in range(200)]
    async with (
        echoing() as url,
        asyncio.timeout(15),
        connect(url) as connection,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(send_all(connection, messages))
        for message in messages:
            assert await connection.recv() == message


async def test_the_echo_has_the_checks_and_the_limits_of_the_door() -> None:
    async with echoing() as url, asyncio.timeout(15):
        with pytest.raises(InvalidStatus, match="404"):
            await connect(f"{url}/elsewhere")
        with pytest.raises(InvalidStatus, match="403"):
            await connect(url, origin=Origin("https://evil.com"))
        async with connect(url) as connection:
            await connection.send(b"x" * 65537)
            with pytest.raises(ConnectionClosed, match="1009"):
                await connection.recv()


# ------------------------------------------------------------------------- Autobahn's report


def told(folder: Path, results: Mapping[str, tuple[str, str]]) -> tuple[int, str]:
    """Return the report's exit status and text about cases: how messages, and the close, went."""
    page = {"description": "Send it.", "result": "It was lost.", "resultClose": "Well closed."}
    (folder / "page.json").write_text(json.dumps(page))
    index = {
        case: {"behavior": message, "behaviorClose": close, "reportfile": "page.json"}
        for case, (message, close) in results.items()
    }
    (folder / "index.json").write_text(json.dumps({"voiced": index} if index else {}))
    ran = subprocess.run(
        [sys.executable, RIGS / "autobahn_report.py", folder / "index.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


@pytest.mark.parametrize(
    ("message", "close"),
    [("OK", "OK"), ("NON-STRICT", "OK"), ("INFORMATIONAL", "INFORMATIONAL")],
)
def test_the_report_is_content(tmp_path: Path, message: str, close: str) -> None:
    status, text = told(tmp_path, {**FINE, "1.1.7": (message, close)})
    assert status == 0, text
    assert "cases run: 247 of 247" in text
    assert "failed unexpectedly: none" in text


def test_the_report_forgives_what_is_known_and_nothing_else_in_its_place(tmp_path: Path) -> None:
    rest = dict(list(FINE.items())[1:])
    status, text = told(tmp_path, {**rest, "7.1.5": ("FAILED", "WRONG CODE")})
    assert status == 0, text
    assert "failed as known: 7.1.5" in text
    status, text = told(tmp_path, {**rest, "7.1.5": ("FAILED", "UNCLEAN")})
    assert status == 1
    assert "failed as known: none" in text


@pytest.mark.parametrize(
    ("message", "close"),
    [("FAILED", "OK"), ("UNIMPLEMENTED", "OK"), ("OK", "UNCLEAN"), ("OK", "WRONG CODE")],
)
def test_the_report_names_what_failed(tmp_path: Path, message: str, close: str) -> None:
    status, text = told(tmp_path, {**FINE, "1.1.7": (message, close)})
    assert status == 1
    assert "failed unexpectedly: 1\n" in text
    assert f"  1.1.7: {message.lower()}, close {close.lower()}\n    Send it.\n" in text


def test_the_report_misses_cases_that_did_not_run(tmp_path: Path) -> None:
    assert told(tmp_path, dict(list(FINE.items())[1:]))[0] == 1
    assert told(tmp_path, {})[0] == 1


# -------------------------------------------------------------------- what two machines said


@pytest.mark.parametrize(
    ("name", "theirs", "status", "told"),
    [
        ("1-de.22050.pcm", [0, 5, -9], 0, "the same"),
        ("1-de.22050.pcm", [0, 6, -9], 1, "1 of 3 differ, by up to 1"),
        ("1-de.24000.pcm", [1, 5, -7], 1, "2 of 3 differ, by up to 2"),
        ("1-de.24000.pcm", [0, 5], 1, "3 and 2 samples"),
    ],
)
def test_two_machines_have_to_say_the_same(
    tmp_path: Path, name: str, theirs: list[int], status: int, told: str
) -> None:
    for folder, samples in (("ours", [0, 5, -9]), ("theirs", theirs)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(struct.pack(f"<{len(samples)}h", *samples))
    ran = compared(tmp_path)
    assert (ran.returncode, ran.stderr) == (status, "")
    assert ran.stdout.rstrip().endswith(told)


def test_machines_of_which_one_said_nothing_are_not_alike(tmp_path: Path) -> None:
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
    assert compared(tmp_path).returncode == 1
    (tmp_path / "ours" / "1-de.24000.pcm").write_bytes(b"\0\0")
    assert compared(tmp_path).returncode == 1


def compared(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RIGS / "arm64_speech.py", "compare", folder / "ours", folder / "theirs"],
        capture_output=True,
        text=True,
        check=False,
    )
