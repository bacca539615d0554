"""The daemon as people run it: a process, signals, exit statuses."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tiny_kokoro import tiny_settings
from websockets.asyncio.client import connect as open_websocket

from voiced.client import ClientError, connect

QUICK = ("--no-zeroconf", "--port", "0", "--http-port", "0")


@dataclass
class Run:
    process: asyncio.subprocess.Process
    doors: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.doors['websocket']['port']}/v1/ws"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.doors['http']['port']}"

    async def stop(self, name: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(name)
        return await self.end()

    async def end(self) -> tuple[int, str]:
        _, errors = await asyncio.wait_for(self.process.communicate(), 20)
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()


async def spawn(tmp_path: Path, *arguments: str, **environ: str) -> Run:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VOICED_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voiced", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean | {"STATE_DIRECTORY": str(tmp_path / "state"), **environ},
        cwd=tmp_path,
    )
    return Run(process)


@asynccontextmanager
async def serving(tmp_path: Path, *arguments: str, **environ: str) -> AsyncIterator[Run]:
    ready = tmp_path / "ready.json"
    ready.unlink(missing_ok=True)
    run = await spawn(tmp_path, "serve", *QUICK, "--ready-file", str(ready), *arguments, **environ)
    try:
        async with asyncio.timeout(15):
            while not ready.exists():
                if run.process.returncode is not None:
                    pytest.fail((await run.end())[1])
                await asyncio.sleep(0.02)
        run.doors = json.loads(ready.read_text())
        yield run
    finally:
        if run.process.returncode is None:
            run.process.kill()
            await run.process.communicate()


async def test_it_serves_and_leaves_with_status_0(tmp_path: Path) -> None:
    async with serving(tmp_path) as run:
        assert run.doors["pid"] == run.process.pid
        async with connect(run.url) as client:
            server_id = client.greeting["server"]["id"]
            async with client.speak("Good morning.") as speech:
                assert [part async for part in speech]
        status, errors = await run.stop()
        assert status == 0
        assert "reason=complete" in errors
        assert "Good morning" not in errors
    assert re.fullmatch("[0-9a-f]{32}", server_id)
    async with serving(tmp_path) as run, connect(run.url) as client:
        assert client.greeting["server"]["id"] == server_id


async def test_ready_says_a_line_for_each_door(tmp_path: Path) -> None:
    async with serving(tmp_path) as run:
        assert run.process.stdout is not None
        lines = [(await run.process.stdout.readline()).decode().split() for _ in range(2)]
        assert lines == [["websocket", run.url], ["http", f"{run.http_url}/v1"]]


async def test_a_port_in_use_is_one_clear_line_and_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option, door in (("--port", "websocket"), ("--http-port", "http")):
            run = await spawn(tmp_path, "serve", *QUICK, option, str(port), "--log-level", "error")
            status, errors = await run.end()
            assert status == 1
            assert errors.count("\n") == 1
            assert str(port) in errors
            assert f"{door}.port" in errors


async def test_a_broken_configuration_tells_all_and_ends_with_78(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        "[websocket]\nprot = 1\n[http]\nport = -1\n[backends.a]\ntype = 'espeek'\n"
        "[auth]\ntoken = 's3cret'\nallowed_hosts = 5\n"
    )
    run = await spawn(tmp_path, "serve", "--config", str(config))
    status, errors = await run.end()
    assert status == 78
    for word in ("websocket.prot", "http.port", "auth.allowed_hosts"):
        assert word in errors
    assert "Traceback" not in errors
    assert "s3cret" not in errors


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[backends.a]\ntype = 'espeek'\n", "espeek"),
        ("[defaults]\nmodel = 'nope'\n", "defaults.model"),
        ("[auth]\ntoken_file = '/nowhere'\n", "auth.token_file"),
    ],
)
async def test_names_that_mean_nothing_are_a_broken_configuration(
    tmp_path: Path, text: str, word: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    run = await spawn(tmp_path, "serve", *QUICK, "--config", str(config))
    status, errors = await run.end()
    assert (status, word in errors) == (78, True), errors


async def test_an_open_door_to_the_network_is_refused(tmp_path: Path) -> None:
    run = await spawn(tmp_path, "serve", *QUICK, "--host", "0.0.0.0")
    status, errors = await run.end()
    assert status == 78
    assert "token" in errors


async def test_a_ready_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    run = await spawn(tmp_path, "serve", *QUICK, "--ready-file", "/nowhere/ready.json")
    status, errors = await run.end()
    assert status == 1
    assert "--ready-file" in errors
    assert "Traceback" not in errors


async def test_lan_makes_a_token_once(tmp_path: Path) -> None:
    async with serving(tmp_path, "--lan") as run:
        token_file = tmp_path / "state" / "token"
        token = token_file.read_text().strip()
        assert len(token) >= 32
        assert token_file.stat().st_mode & 0o777 == 0o600
        async with connect(run.url, token=token) as client:
            await client.ping()
        status, errors = await run.stop()
        assert status == 0
        assert token not in errors
    async with serving(tmp_path, "--lan"):
        assert token_file.read_text().strip() == token


async def test_sigterm_lets_a_speech_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as run, connect(run.url) as client:
        async with client.speak("Good morning, this takes a moment to say.") as speech:
            run.process.send_signal(signal.SIGTERM)
            assert [part async for part in speech]
        assert speech.ended is not None
        assert speech.ended.reason == "complete"
        assert (await run.end())[0] == 0


async def test_sigterm_ends_what_does_not_end_in_time(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with (
        serving(tmp_path, VOICED_DEFAULTS__DRAIN_S="1") as run,
        connect(run.url) as client,
        client.speak("One, two, three, four, five. " * 1000) as speech,
        aiohttp.ClientSession() as web,
    ):
        body = {"input": "One, two, three, four, five. " * 1000, "response_format": "pcm"}
        answer = await web.post(f"{run.http_url}/v1/audio/speech", json=body)
        parts = aiter(speech)
        await anext(parts)
        await answer.content.read(1000)
        began = loop.time()
        run.process.send_signal(signal.SIGTERM)
        with pytest.raises(ClientError, match="shutdown"):
            async for _ in parts:  # half an hour of speech, faster than it is heard
                pass
        assert speech.ended is not None
        assert speech.ended.reason == "shutdown"
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        assert (await run.end())[0] == 0
        assert loop.time() - began < 2


async def test_a_session_that_hangs_while_it_closes_does_not_hold_up_the_end(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    async with serving(tmp_path, VOICED_DEFAULTS__DRAIN_S="1") as run:
        # It reads nothing after its queue is full, so it never answers the server's close.
        hanging = await open_websocket(run.url, max_queue=1)
        await hanging.send(json.dumps({"id": 1, "type": "speak", "input": "One, two. " * 1000}))
        await hanging.send("{")
        async with connect(run.url) as client:
            await client.ping()
        began = loop.time()
        status, errors = await run.stop()
        assert status == 0
        assert "Traceback" not in errors
        assert loop.time() - began < 2
        hanging.transport.abort()


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with (
        serving(tmp_path, VOICED_DEFAULTS__DRAIN_S="30") as run,
        connect(run.url) as client,
        client.speak("One, two, three, four, five. " * 1000) as speech,
    ):
        await anext(aiter(speech))
        began = loop.time()
        await _signal(run, signal.SIGINT, "stopping")
        run.process.send_signal(signal.SIGINT)
        assert (await run.end())[0] == 0
        assert loop.time() - began < 5


async def test_a_second_daemon_goes_without_wyoming_where_nobody_set_its_port(
    tmp_path: Path,
) -> None:
    try:
        taken_port = socket.create_server(("127.0.0.1", 10210))
    except OSError:
        pytest.skip("something here listens on 10210")
    with taken_port:
        # The port of another one of the doors is a fixed one, so that Wyoming's is, too.
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        async with serving(tmp_path, "--port", port) as run:
            assert "wyoming" not in run.doors
            _, errors = await run.stop()
            assert "set wyoming.port or wyoming.host. Until then there is no Wyoming door" in errors
        taken = await spawn(tmp_path, "serve", *QUICK, "--wyoming-port", "10210")
        status, errors = await taken.end()
        assert status == 1
        assert "Cannot listen on 127.0.0.1:10210" in errors


async def test_sighup_reloads_and_keeps_what_was_when_it_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    mappings = tmp_path / "openai_tts_mappings.json"
    config.write_text("[auth]\ntoken = 'first'\n")
    async with (
        serving(tmp_path, "--config", str(config)) as run,
        connect(run.url, token="first") as client,
    ):
        config.write_text("[auth]\ntoken = 'second'\n")
        mappings.write_text('{"models": {"mine": "espeak"}}')
        await _signal(run, signal.SIGHUP, "reloaded")
        async with connect(run.url, token="second"):
            pass
        config.write_text("[auth]\ntokn = 'third'\n")
        await _signal(run, signal.SIGHUP, "not reloaded: auth.tokn")
        async with connect(run.url, token="second"):
            pass
        config.write_text("[auth]\ntoken = 'fourth'\n")
        mappings.write_text("{")
        await _signal(run, signal.SIGHUP, "not reloaded: openai_tts_mappings.json")
        async with connect(run.url, token="second"):
            pass
        async with client.speak("Still here.", model="mine") as speech:  # its session lives on
            assert [part async for part in speech]


async def _signal(run: Run, name: signal.Signals, answer: str) -> None:
    """Send a signal and wait for the line in the log that answers it."""
    run.process.send_signal(name)
    assert run.process.stderr is not None
    async with asyncio.timeout(5):
        while answer not in (line := (await run.process.stderr.readline()).decode()):
            assert line


async def test_heavy_engines_are_not_imported(tmp_path: Path) -> None:
    """Looks at what the process has mapped, after it has spoken."""
    async with serving(tmp_path) as run:
        async with connect(run.url) as client, client.speak("One.") as speech:
            assert [part async for part in speech]
        maps = Path(f"/proc/{run.process.pid}/maps").read_text()
        assert "espeak" not in maps  # which has a process of its own
        assert not re.search("onnxruntime|torch|kokoro|phonemizer", maps)


async def test_kokoro_speaks_where_its_files_are(tmp_path: Path) -> None:
    tiny = tiny_settings()
    paths = {
        "VOICED_BACKENDS__LOCAL_KOKORO_DEFAULT_ONNX__MODEL_PATH": tiny.model_path,
        "VOICED_BACKENDS__LOCAL_KOKORO_DEFAULT_ONNX__VOICES_PATH": tiny.voices_path,
    }
    async with serving(tmp_path, "--log-level", "debug", **paths) as run:
        async with connect(run.url) as client:
            assert client.greeting["defaults"]["model"] == "kokoro"  # loaded before it was ready
            async with client.speak("Good [tomato](/təmˈɑːtoʊ/).", marks="word") as speech:
                assert [part async for part in speech]
            assert speech.start["backend"] == "local_kokoro_default_onnx"
            assert [mark.is_estimated for mark in speech.marks] == [False, False]
            async with client.speak("Guten Morgen.", language="de") as speech:
                assert [part async for part in speech]
            assert speech.start["backend"] == "espeak"
        status, errors = await run.stop()
        assert status == 0
        assert "tomato" not in errors
        assert "ɑːtoʊ" not in errors
        assert not re.search("WARNING|ERROR", errors)


async def test_the_metrics_tell_what_the_daemon_does(tmp_path: Path) -> None:
    async with serving(tmp_path) as run, aiohttp.ClientSession() as web, connect(run.url) as client:
        for _ in range(2):
            async with client.speak("One, two.") as speech:
                assert [part async for part in speech]
        text = await (await web.get(f"{run.http_url}/metrics")).text()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['voiced_sessions{door="websocket"}'] == "1.0"
    assert values['voiced_sessions{door="http"}'] == "0.0"
    assert values['voiced_cache_phrases_total{result="hit"}'] == "1.0"
    assert values['voiced_cache_phrases_total{result="miss"}'] == "1.0"
    assert float(values["voiced_cache_bytes"]) > 1000
    assert 0 <= float(values['voiced_real_time_factor{backend="espeak"}']) < 1
    assert values['voiced_backend_ready{backend="espeak"}'] == "1.0"
    assert values['voiced_backend_ready{backend="elevenlabs_english_v1"}'] == "0.0"
    for name in ("speaking", "lane_queued", "lane_preemptions_total", "underruns_total"):
        assert values[f"voiced_{name}"] == "0.0"


async def test_a_reload_forgets_the_phrases_in_memory(tmp_path: Path) -> None:
    async with serving(tmp_path) as run, aiohttp.ClientSession() as web:
        async with connect(run.url) as client, client.speak("One, two.") as speech:
            assert [part async for part in speech]
        await _signal(run, signal.SIGHUP, "reloaded")
        text = await (await web.get(f"{run.http_url}/metrics")).text()
    assert "voiced_cache_bytes 0.0" in text


async def test_keys_and_text_are_in_no_log(tmp_path: Path) -> None:
    async with serving(tmp_path, "--log-level", "debug", VOICED_AUTH__TOKEN="s3cret-token") as run:
        async with (
            connect(run.url, token="s3cret-token") as client,
            client.speak("A very private sentence.") as speech,
        ):
            assert [part async for part in speech]
        headers = {"Authorization": "Bearer s3cret-token"}
        async with aiohttp.ClientSession(headers=headers) as web:
            body = {"input": "A very private sentence.", "voice": "nope"}
            async with web.post(f"{run.http_url}/v1/audio/speech", json=body) as answer:
                assert answer.status == 400
        _, errors = await run.stop()
    assert "private" not in errors
    assert "s3cret" not in errors
