"""What a home sees of a running daemon: its lexicon, its phrases, alarms, Home Assistant."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import aiohttp
import pytest
from support import Parts, running_parts
from test_daemon import _signal, serving, spawn
from wyoming.audio import AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.tts import Synthesize

from voiced.client import Client, connect

TEXT = "Siobhán is at the door."


async def command(
    tmp_path: Path, *arguments: str, stdin: str = "", **environ: str
) -> tuple[int, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VOICED_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voiced", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=clean | {"STATE_DIRECTORY": str(tmp_path / "state")} | environ,
    )
    out, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 30)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def length(client: Client, text: str = TEXT) -> int:
    async with client.speak(text) as speech:
        return sum([len(part) async for part in speech])


async def test_the_lexicon_is_read_again(tmp_path: Path) -> None:
    config, lexicon = tmp_path / "config.toml", tmp_path / "lexicon.toml"
    config.write_text("")
    async with serving(tmp_path, "--config", str(config)) as run, connect(run.url) as client:
        plain = await length(client)
        lexicon.write_text('[[word]]\nwrite = "Siobhán"\nsay = "My dear old friend shi vawn"\n')
        await _signal(run, signal.SIGHUP, "reloaded")
        said = await length(client)
        assert said > plain * 1.3
        lexicon.write_text('[[word]]\nwrite = "Siobhán"\n')
        await _signal(run, signal.SIGHUP, "not reloaded: lexicon.toml: word.0")
        assert await length(client) == said
    run = await spawn(tmp_path, "serve", "--config", str(config))
    status, errors = await run.end()
    assert status == 78
    assert "voiced: lexicon.toml: word.0" in errors
    config.write_text("[reading]\nlexicon = '~nobody-here/lexicon.toml'\n")
    run = await spawn(tmp_path, "serve", "--config", str(config))
    status, errors = await run.end()
    assert status == 78
    assert "lexicon.toml: [Errno 2]" in errors


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["It costs $5."], "It costs 5 dollars."),
        (["**Bold** at 10:00", "&", "more"], "Bold at 10 o'clock & more"),
        (["4/5/2026", "--language", "en-gb"], "the 4th of May 2026"),
        (["$5", "--model", "tts-1"], "$5"),
        (["Siobhán"], "shi vawn"),
    ],
)
async def test_a_dry_run_needs_no_daemon(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    (tmp_path / "lexicon.toml").write_text('[[word]]\nwrite = "Siobhán"\nsay = "shi vawn"\n')
    where = ("--config", str(config))
    status, out = await command(tmp_path, "say", "--dry-run", *arguments, *where)
    assert (status, out) == (0, f"{expected}\n")


async def test_a_dry_run_shows_phonemes(tmp_path: Path) -> None:
    status, out = await command(tmp_path, "say", "--dry-run", "--phonemes", "It is 5°C.")
    assert status == 0
    assert out.splitlines() == ["It is 5 degrees Celsius.", "ɪɾ ɪz fˈaɪv dᵻɡɹˈiːz sˈɛlsɪəs."]
    status, out = await command(tmp_path, "say", "--dry-run", "x", "--model", "nothing")
    assert status == 1
    assert "There is no model 'nothing'" in out


async def test_phrases_outlive_the_daemon_and_can_be_deleted(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    environ = {"VOICED_CACHE__DISK_MB": "10", "CACHE_DIRECTORY": str(cache)}
    status, out = await command(tmp_path, "cache", "stats", **environ)
    assert status == 1
    assert "Nothing is kept on the disk" in out
    async with serving(tmp_path, **environ) as run:
        lines = "Good morning.\n\nThe door is open.\n"
        url = {"VOICED_URL": run.url}
        status, out = await command(tmp_path, "cache", "warm", "-", stdin=lines, **environ, **url)
        assert (status, out) == (0, "2 phrases are ready\n")
        await run.stop()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    status, out = await command(tmp_path, "cache", "stats", **environ)
    assert (status, out.startswith("2 phrases")) == (0, True)
    status, out = await command(tmp_path, "cache", "clear", **environ)
    assert (status, out) == (0, "0 phrases, 0.0 MB\n")


async def test_an_alarm_starts_while_stories_run_and_they_go_on() -> None:
    story = "Once upon a time there was a kettle that nobody had ever filled. " * 40
    async with (
        running_parts() as parts,
        connect(parts.url) as client,
        client.speak(story, window_ms=2000) as one,
        client.speak(story, mode="parallel", window_ms=2000) as two,
    ):
        await anext(aiter(one))
        await anext(aiter(two))
        body = {"model": "espeak", "input": "Smoke in the kitchen.", "voice": "alloy"}
        async with (
            aiohttp.ClientSession(parts.http_url) as session,
            session.post(
                "/v1/audio/speech", json=body, headers={"X-Voiced-Priority": "high"}
            ) as response,
        ):
            assert len(await response.read()) > 1000
        async with client.speak("Smoke!", priority="high", mode="parallel") as speech:
            assert [part async for part in speech]
        await one.played(1500)
        assert await anext(aiter(one))


@pytest.mark.parametrize("door", ["websocket", "http", "wyoming"])
async def test_silence_around_a_speech_is_as_configured(door: str) -> None:
    from voiced.synthesis.catalogue import SpeechDefaults  # noqa: PLC0415

    async def samples(parts: Parts) -> int:
        if door == "websocket":
            async with connect(parts.url) as client:
                return await length(client) // 2
        if door == "http":
            body = {"model": "espeak", "input": TEXT, "voice": "en-us", "response_format": "pcm"}
            async with (
                aiohttp.ClientSession(parts.http_url) as session,
                session.post("/v1/audio/speech", json=body) as response,
            ):
                return len(await response.read()) // 2
        async with AsyncTcpClient("127.0.0.1", parts.wyoming_port) as client:
            await client.write_event(Synthesize(text=TEXT).event())
            count = 0
            while (event := await client.read_event()) and not AudioStop.is_type(event.type):
                count += len(event.payload or b"") // 2
            return count

    async with running_parts() as parts:
        plain = await samples(parts)
    defaults = SpeechDefaults(lead_silence_ms=300, tail_silence_ms=200)
    async with running_parts(defaults=defaults) as parts:
        assert await samples(parts) - plain == 12000
