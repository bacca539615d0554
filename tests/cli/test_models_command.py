"""`voiced models` and its actions, as processes; the files are small ones."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from small_models import (
    CONTENTS,
    FP32,
    INT8,
    VOICES,
    Answer,
    Mirror,
    folder_of_files,
    running_mirror,
)
from support import REPOSITORY, Parts

NOBODY = "ws://127.0.0.1:9/v1/ws"
SMALL = (str(REPOSITORY / "tests" / "small_models.py"),)
TRUE = ("-m", "voiced", "models")


async def run(
    *arguments: str,
    program: tuple[str, ...] = SMALL,
    environ: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    given = {k: v for k, v in os.environ.items() if not k.startswith("VOICED_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=given | {"VOICED_URL": NOBODY, "NO_PROXY": "*", "COLUMNS": "200"} | dict(environ or {}),
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with running_mirror() as made:
        yield made


@pytest.fixture
def carried(tmp_path: Path) -> str:
    return str(folder_of_files(tmp_path / "carried"))


async def test_a_pull_says_what_it_does_in_plain_lines(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "kokoro"
    folder.mkdir(parents=True)
    (folder / f"{FP32}.part").write_bytes(b"something else")
    status, out, errors = await run(
        "pull", "kokoro", "--from", mirror.url, environ={"STATE_DIRECTORY": str(tmp_path)}
    )
    assert status == 0
    assert out.splitlines() == [
        f"{VOICES} has arrived: 0.0 MB, checksum right",
        f"{FP32} has arrived: 0.2 MB, checksum right",
        f"kokoro fp32 is in {folder}",
        "A running daemon finds it there without a restart.",
    ]
    assert errors == f"voiced: What was left of {FP32} is of another file; it begins anew.\n"
    assert (folder / FP32).read_bytes() == CONTENTS[FP32]


async def test_a_folder_where_no_daemon_looks_is_said(carried: str, tmp_path: Path) -> None:
    arguments = ("pull", "kokoro", "--variant", "int8", "--folder", str(tmp_path / "here"))
    status, out, _ = await run(*arguments, "--from", carried)
    assert status == 0
    assert "No daemon looks there by itself." in out
    assert (tmp_path / "here" / "kokoro" / INT8).read_bytes() == CONTENTS[INT8]


async def test_a_terminal_gets_a_bar(mirror: Mirror, tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *SMALL, "pull", "kokoro", "--from", mirror.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=terminal,
        env=os.environ | {"STATE_DIRECTORY": str(tmp_path), "NO_PROXY": "*", "TERM": "xterm"},
    )
    out, _ = await process.communicate()
    os.close(terminal)
    drawn = await asyncio.to_thread(os.read, controller, 1 << 16)
    os.close(controller)
    assert process.returncode == 0
    assert b"\x1b" in drawn
    assert b"fp32.onnx" in drawn
    assert out.count(b"has arrived") == 2


async def test_verify_tells_what_is_wrong_and_the_cure(carried: str, tmp_path: Path) -> None:
    state = {"STATE_DIRECTORY": str(tmp_path)}
    status, _, errors = await run("verify", environ=state)
    assert status == 1
    assert errors.startswith("voiced: No files of kokoro or piper are there; fetch them")
    for variant in ("fp32", "int8"):
        await run("pull", "kokoro", "--variant", variant, "--from", carried, environ=state)
    status, out, errors = await run("verify", "kokoro", environ=state)
    assert (status, errors) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["installed", name] for name in (FP32, INT8, VOICES)
    ]
    (tmp_path / "models" / "kokoro" / INT8).write_bytes(bytes(len(CONTENTS[INT8])))
    status, out, errors = await run("verify", environ=state)
    assert status == 1
    assert f"wrong checksum {INT8}" in out
    assert "`voiced models pull kokoro --variant int8` mends it" in errors
    assert (await run("pull", "kokoro", "--variant", "int8", "--from", carried, environ=state))[
        0
    ] == 0
    (tmp_path / "models" / "kokoro" / VOICES).unlink()
    status, out, _ = await run("verify", environ=state)
    assert status == 1
    assert f"missing        {VOICES}" in out


async def test_remove_names_what_it_deletes(carried: str, tmp_path: Path) -> None:
    state = {"STATE_DIRECTORY": str(tmp_path)}
    await run("pull", "kokoro", "--from", carried, environ=state)
    status, out, _ = await run("remove", "kokoro", "--variant", "int8", environ=state)
    assert (status, out) == (0, "There was nothing to remove.\n")
    status, out, _ = await run("remove", "kokoro", environ=state)
    assert (status, out) == (0, f"{FP32} removed\n{VOICES} removed\n")


async def test_the_files_are_listed_even_without_a_daemon(carried: str, tmp_path: Path) -> None:
    state = {"STATE_DIRECTORY": str(tmp_path)}
    await run("pull", "kokoro", "--from", carried, environ=state)
    (tmp_path / "models" / "kokoro" / f"{INT8}.part").touch()
    for arguments in ((), ("list",)):
        status, out, errors = await run(*arguments, environ=state)
        assert status == 1
        assert "start it with `voiced serve`" in errors
        assert f"files in {tmp_path}/models" in out
        rows = [line.split() for line in out.splitlines() if line.startswith("kokoro")]
        assert rows == [
            ["kokoro", FP32, "0.2", "MB", "installed"],
            ["kokoro", INT8, "0.1", "MB", "unfinished"],
            ["kokoro", VOICES, "0.0", "MB", "installed"],
        ]


@pytest.mark.parametrize("arguments", [("--json",), ("list", "--json"), ("--json", "list")])
async def test_json_is_what_the_daemon_knows(
    parts: Parts, carried: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    state = {"STATE_DIRECTORY": str(tmp_path), "VOICED_URL": parts.url}
    await run("pull", "kokoro", "--from", carried, environ=state)
    status, out, errors = await run(*arguments, environ=state)
    assert (status, errors) == (0, "")
    assert "espeak" in [model["id"] for model in json.loads(out)]


async def test_the_list_has_the_daemon_s_models_and_the_files(
    parts: Parts, carried: str, tmp_path: Path
) -> None:
    state = {"STATE_DIRECTORY": str(tmp_path), "VOICED_URL": parts.url}
    await run("pull", "kokoro", "--from", carried, environ=state)
    status, out, _ = await run(environ=state)
    assert status == 0
    assert out.index("espeak") < out.index(f"files in {tmp_path}")
    _, named, _ = await run("list", "--url", parts.url, environ={"STATE_DIRECTORY": str(tmp_path)})
    assert named == out


@pytest.mark.parametrize("action", ["list", "pull", "verify", "remove"])
async def test_every_action_has_help_with_an_example(action: str) -> None:
    status, out, _ = await run(action, "--help", program=TRUE)
    assert status == 0
    assert f"example: voiced models {action}" in " ".join(out.split())


async def test_the_true_files_are_asked_for_by_their_names(mirror: Mirror, tmp_path: Path) -> None:
    """The command itself, not the small one: these are not the published voices."""
    mirror.always = Answer(body=b"x")
    arguments = ("pull", "kokoro", "--from", mirror.url, "--folder", str(tmp_path))
    status, _, errors = await run(*arguments, program=TRUE)
    assert status == 1
    assert errors.startswith("voiced: 127.0.0.1 has another voices-v1.0.bin of 1 bytes;")
    assert mirror.asked == [("/voices-v1.0.bin", "")]


async def test_a_disk_that_fills_up_is_one_line(carried: str, tmp_path: Path) -> None:
    """The limit on the size of a file stands for the end of the disk."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -f 100; exec "$@"', "sh", sys.executable, *SMALL),
        *("pull", "kokoro", "--from", carried, "--folder", str(tmp_path / "models")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith(f"voiced: Cannot write {FP32}: File too large;")
    assert errors.count(b"\n") == 1
    assert not (tmp_path / "models" / "kokoro" / FP32).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["pull"],
        ["pull", "kokorro"],
        ["pull", "kokoro", "--variant", "fp64"],
        ["remove"],
        ["delete", "kokoro"],
    ],
)
async def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert (await run(*arguments, program=TRUE))[0] == 2
