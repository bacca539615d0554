"""The commands, as processes, against a running daemon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import wave
from pathlib import Path

import pytest
from support import Parts, decode, eventually
from tiny_kokoro import tiny_settings

from voiced.cli import COMMANDS


async def run(
    *arguments: str, stdin: str = "", parts: Parts | None = None, **environ: str
) -> tuple[int, str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VOICED_")}
    if parts is not None:
        clean["VOICED_URL"] = parts.url
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voiced", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean | environ,
    )
    out, errors = await asyncio.wait_for(process.communicate(stdin.encode()), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help_with_an_example(command: str) -> None:
    status, out, _ = await run(command, "--help")
    assert status == 0
    assert f"example: voiced {command}" in " ".join(out.split())


async def test_help_loads_no_engine_and_no_server() -> None:
    """The commands must start fast on a small machine."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "voiced", "--help"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    for name in (b"aiohttp", b"numpy", b"pydantic", b"zeroconf", b" av"):
        assert name not in errors, name


@pytest.mark.parametrize("suffix", ["wav", "mp3", "opus", "ogg", "flac", "aac", "pcm"])
async def test_say_writes_files(parts: Parts, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out.{suffix}"
    status, _, errors = await run("say", "Good", "morning", "-o", str(output), parts=parts)
    assert (status, errors) == (0, "")
    if suffix == "pcm":
        assert output.stat().st_size > 24000
        return
    samples, _ = decode(output.read_bytes())
    assert samples.size > 12000
    if suffix == "wav":
        with wave.open(str(output)) as file:
            assert file.getnframes() == (output.stat().st_size - 44) // 2
            assert (file.getframerate(), file.getnchannels()) == (24000, 1)


async def test_say_reads_standard_input(parts: Parts, tmp_path: Path) -> None:
    output = tmp_path / "out.wav"
    status, _, _ = await run("say", "-", "-o", str(output), stdin="Good morning", parts=parts)
    assert status == 0
    again = tmp_path / "again.wav"
    await run("say", "Good morning", "-o", str(again), parts=parts)
    assert output.read_bytes() == again.read_bytes()


async def test_standard_input_is_heard_before_it_has_ended(parts: Parts, tmp_path: Path) -> None:
    output = tmp_path / "out.pcm"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voiced", "say", "-", "-o", str(output)),
        stdin=asyncio.subprocess.PIPE,
        env=os.environ | {"VOICED_URL": parts.url},
    )
    assert process.stdin is not None
    for letters in "Good morning, ünd":
        process.stdin.write(letters.encode()[:1])
        await process.stdin.drain()
        process.stdin.write(letters.encode()[1:])
    await eventually(lambda: output.exists() and output.stat().st_size > 10_000, seconds=10)
    process.stdin.write(b" welcome.")
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert parts.reports[-1].characters == len("Good morning, ünd welcome.")


async def test_say_that_is_interrupted_leaves_a_whole_file(parts: Parts, tmp_path: Path) -> None:
    output = tmp_path / "out.wav"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voiced", "say", "-", "-o", str(output)),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"VOICED_URL": parts.url},
    )
    assert process.stdin is not None
    process.stdin.write(b"Good morning, and welcome. And")
    await eventually(lambda: output.exists() and output.stat().st_size > 10_000, seconds=10)
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (130, b"")
    with wave.open(str(output)) as file:
        assert file.getnframes() * 2 == output.stat().st_size - 44


async def test_a_closed_standard_input_is_named(parts: Parts) -> None:
    process = await asyncio.create_subprocess_shell(
        f"exec {sys.executable} -m voiced say - <&-",
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"VOICED_URL": parts.url},
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors == b"voiced: Standard input is closed; give the text as an argument.\n"


async def test_a_file_as_standard_input_is_read_whole(parts: Parts, tmp_path: Path) -> None:
    text, output = tmp_path / "text", tmp_path / "out.pcm"
    text.write_text("One, two, three. " * 500, encoding="utf-8")
    with text.open("rb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "voiced", "say", "-", "-o", str(output), "--speed", "4"),
            stdin=file,
            env=os.environ | {"VOICED_URL": parts.url},
        )
        assert await asyncio.wait_for(process.wait(), 30) == 0
    assert parts.reports[-1].characters == 17 * 500


async def test_say_takes_what_a_request_takes(parts: Parts, tmp_path: Path) -> None:
    output = tmp_path / "out.wav"
    options = ["--voice", "en-us+f3", "--speed", "2", "--model", "espeak", "--priority", "high"]
    assert (await run("say", "Hello", *options, "-o", str(output), parts=parts))[0] == 0


async def test_say_plays_by_the_player_that_is_there(parts: Parts, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    player = tmp_path / "aplay"
    player.write_text(f'#!/bin/sh\necho "$@" > {heard}.args\nexec cat > {heard}\n')
    player.chmod(player.stat().st_mode | stat.S_IXUSR)
    status, _, errors = await run(
        "say", "Good morning", parts=parts, PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    assert (status, errors) == (0, "")
    assert heard.stat().st_size > 24000
    assert "24000" in heard.with_suffix(".args").read_text()


async def test_a_player_that_fails_is_named(parts: Parts, tmp_path: Path) -> None:
    player = tmp_path / "aplay"
    player.write_text("#!/bin/sh\nexit 3\n")
    player.chmod(player.stat().st_mode | stat.S_IXUSR)
    status, _, errors = await run(
        "say", "Good morning", parts=parts, PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    assert status == 1
    assert "aplay could not play" in errors


async def test_without_a_player_the_cure_is_said(parts: Parts, tmp_path: Path) -> None:
    status, _, errors = await run("say", "Good morning", parts=parts, PATH=str(tmp_path))
    assert status == 1
    assert "alsa-utils" in errors


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["say", "x", "--voice", "nope", "-o", "x.wav"], "nope"),
        (["say", "x", "-o", "x.doc"], "x.doc"),
        (["say", "x", "-o", "/nowhere/x.wav"], "x.wav"),
        (["say", "x", "--url", "ws://127.0.0.1:9/v1/ws", "-o", "x.wav"], "voiced serve"),
        (["say", "x", "--token-file", "/nowhere"], "--token-file"),
        (["voices", "--model", "nope"], "nope"),
    ],
)
async def test_trouble_is_one_line_and_status_1(
    parts: Parts, tmp_path: Path, arguments: list[str], word: str
) -> None:
    status, _, errors = await run(*arguments, parts=parts, cwd=str(tmp_path))
    assert status == 1
    assert errors.count("\n") == 1
    assert errors.startswith("voiced: ")
    assert word in errors


async def test_a_notice_is_passed_on(parts: Parts, tmp_path: Path) -> None:
    output = str(tmp_path / "x.wav")
    status, _, errors = await run("say", "x", "--model", "tts-1", "-o", output, parts=parts)
    assert status == 0
    assert "espeak" in errors


async def test_voices_and_models(parts: Parts) -> None:
    status, out, _ = await run("voices", "--json", "--language", "de", parts=parts)
    assert status == 0
    assert [voice["id"] for voice in json.loads(out)] == ["de"]
    status, out, _ = await run("models", parts=parts)
    assert status == 0
    assert '[backends."openai_official_tts-1"]' in out
    assert "\x1b" not in out


async def test_config_masks_secrets(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[auth]\ntoken = 's3cret'\n[backends.x]\ntype = 'espeak'\n")
    status, out, _ = await run("config", "--config", str(config))
    assert status == 0
    assert "s3cret" not in out
    assert 'token = "********"' in out
    assert '[backends."x"]' in out
    status, _, errors = await run("config", "--config", str(config), VOICED_HTTP__PROT="1")
    assert status == 78
    assert "did you mean 'port'" in errors


async def test_check_says_what_works(parts: Parts, tmp_path: Path) -> None:
    port = str(parts.websocket_port)
    status, out, _ = await run("check", VOICED_WEBSOCKET__PORT=port, STATE_DIRECTORY=str(tmp_path))
    assert status == 0, out
    assert "'test' answers" in out
    assert "espeak" in out
    assert "mp3 opus aac flac wav pcm" in out


async def test_check_says_what_does_not(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = str(server.sockets[0].getsockname()[1])
    status, out, _ = await run(
        "check",
        VOICED_HTTP__PORT=port,
        VOICED_WEBSOCKET__PORT="1",
        PHONEMIZER_ESPEAK_LIBRARY="/nowhere",
    )
    server.close()
    await server.wait_closed()
    assert status == 1
    assert f"127.0.0.1:{port} is taken" in out
    assert "not running; start it with" in out
    assert "PHONEMIZER_ESPEAK_LIBRARY" in out


async def test_check_tells_every_fault_of_the_configuration() -> None:
    status, out, _ = await run("check", VOICED_HTTP__PROT="1", VOICED_LANE__THREADS="-1")
    assert status == 1
    assert out.count("FAILED") == 2


async def test_bench_measures_what_is_here(tmp_path: Path) -> None:
    kokoro = tiny_settings()
    config = tmp_path / "config.toml"
    config.write_text(
        "[lane]\nthreads = 2\n[backends.tiny]\ntype = 'kokoro'\n"
        f"model_path = '{kokoro.model_path}'\nvoices_path = '{kokoro.voices_path}'\n"
    )
    status, out, errors = await run("bench", "--config", str(config), "--json")
    assert status == 0, errors
    rows = json.loads(out)
    assert [(row["backend"], row["threads"]) for row in rows] == [
        ("espeak", 2),
        ("tiny", 2),
        ("tiny", 1),
    ]
    for row in rows:
        assert 0 < row["long"] < 1
        assert 0 < row["first_audio_ms"] < 10_000
        assert row["listeners"] == int(0.88 / row["long"])
    assert "local_kokoro_default_onnx: Kokoro has no files here" in errors


async def test_bench_says_what_to_use(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.touch()
    status, out, _ = await run("bench", "--config", str(config))
    assert status == 0
    assert "Use espeak: first audio after 0.0" in out
    assert out.endswith("That is what the configuration does.\n")


async def test_bench_begins_nothing_when_the_time_is_up(tmp_path: Path) -> None:
    status, out, errors = await run("bench", "--seconds", "-1", "--json")
    assert (status, out) == (1, "[]\n")
    assert "the time is up" in errors
