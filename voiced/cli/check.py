"""`voiced check`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from voiced import __version__
from voiced.cli import machine
from voiced.cli.finding import Finding, Verdict
from voiced.cli.settings import add_config_argument, config_path
from voiced.errors import ConfigError, VoicedError

if TYPE_CHECKING:
    from voiced.discovery import Found
    from voiced.settings import Settings
    from voiced.synthesis.lane import Lane
    from voiced.synthesis.manager import TTSBackendManager

_LISTEN_S = 3  # for those on the network to answer

HELP = "tell what works here, and what to do about what does not"
EXAMPLE = "voiced check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print a line for each check; status 1 where one failed."""
    has_failed = False
    for finding in _findings(args):
        has_failed |= finding.verdict is Verdict.FAILED
        print(f"{finding.verdict:<7} {finding.what:<14} {finding.detail}", flush=True)
    return 1 if has_failed else 0


def _findings(args: argparse.Namespace) -> Iterator[Finding]:
    from voiced.settings import Sources

    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(Verdict.OK, "voiced", f"{__version__} on Python {version}")
    try:
        settings = Sources(config_path(args), {}).read()
        lane = settings.lane()
        manager = settings.manager(lane)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding(Verdict.FAILED, "configuration", problem)
        return
    path = config_path(args)
    yield Finding(Verdict.OK, "configuration", str(path) if path else "none, all defaults hold")
    yield machine.clock(time.time())
    yield machine.player()
    yield machine.state()
    yield from _encoders()
    yield from _checksums()
    server, about_doors = asyncio.run(_doors(settings))
    yield from asyncio.run(_backends(manager, lane, settings, is_daemon_here=bool(server)))
    yield from about_doors
    yield from asyncio.run(_network(settings, server.get("id")))


def _encoders() -> Iterator[Finding]:
    import av
    import numpy as np

    from voiced.audio.writer import StreamingAudioWriter
    from voiced.speech import OPENAI_RATE, AudioFormat

    works = []
    for name in AudioFormat:
        try:
            writer = StreamingAudioWriter(name, OPENAI_RATE)
            writer.write(np.zeros(OPENAI_RATE, np.int16))
            writer.close()
            works.append(str(name))
        except (av.FFmpegError, ValueError):
            cure = "reinstall av: pip install --force-reinstall av"
            yield Finding(Verdict.FAILED, f"format {name}", cure)
    yield Finding(Verdict.OK, "formats", " ".join(works))


def _checksums() -> Iterator[Finding]:
    """Read every model that was fetched, and compare it with what was published."""
    from voiced.cli.files import known_model
    from voiced.models.published import KOKORO
    from voiced.models.store import ModelFolder, search_folders

    for root in search_folders(os.environ):
        for name in (KOKORO.name, "piper"):
            try:
                model = known_model(name, root, KOKORO)
                folder = ModelFolder(root, model)
                states = {file: folder.check(file) for file in model.all_files()}
            except VoicedError as error:
                yield Finding(Verdict.NOTE, name, error.message)
                continue
            for file in (file for file, state in states.items() if state.is_fault):
                of = (variant for variant, files in model.variants.items() if file in files)
                cure = f"voiced models pull {name} {model.option} {next(of, model.best)}"
                yield Finding(Verdict.FAILED, name, f"{file.name}: {states[file]}; run {cure}")


async def _backends(
    manager: TTSBackendManager, lane: Lane, settings: Settings, *, is_daemon_here: bool
) -> list[Finding]:
    """Speak a word with every configured backend that fits into memory.

    Beside a daemon, which may hold the same model, one that does not fit is no fault.
    """
    from voiced.errors import BackendUnavailable

    findings: list[Finding] = []
    for backend_id, own in settings.backends.items():
        try:
            files = settings.registry.load(own.type).model_files(own)
        except BackendUnavailable:
            files = ()  # which it says itself, below
        about_model = list(machine.model(backend_id, files))
        if not any(finding.verdict is Verdict.FAILED for finding in about_model):
            about_model.append(await _speaks(manager, backend_id, settings))
        elif is_daemon_here:
            about_model = [replace(finding, verdict=Verdict.NOTE) for finding in about_model]
        findings += about_model
    await manager.close()
    await lane.close()
    return findings


async def _speaks(manager: TTSBackendManager, backend_id: str, settings: Settings) -> Finding:
    from voiced.request import OpenAISpeechRequest
    from voiced.speech import OPENAI_RATE, AudioFormat, AudioFrame
    from voiced.synthesis.pace import FAST_ENOUGH

    loop = asyncio.get_running_loop()
    request = OpenAISpeechRequest(
        model=backend_id, input="One, two, three.", model_specific_options={"strict": True}
    )
    try:
        backend = await manager.get_backend(backend_id)
        plan = manager.plan(request, default_format=AudioFormat.PCM, sample_rate=OPENAI_RATE)
        began = loop.time()
        spoken = manager.speak(plan, label="check")
        samples = sum([e.samples async for e in spoken if isinstance(e, AudioFrame)])
    except VoicedError as error:
        verdict = Verdict.NOTE if _may_lack(backend_id, settings) else Verdict.FAILED
        return Finding(verdict, backend_id, error.message)
    factor = (loop.time() - began) * OPENAI_RATE / max(samples, 1)
    detail = f"speaks, {len(backend.voices())} voices, real-time factor {factor:.3f}"
    if backend.is_local and factor >= FAST_ENOUGH:
        cure = "too slow to speak by itself; `voiced bench` says what suits this machine"
        return Finding(Verdict.NOTE, backend_id, f"{detail}: {cure}")
    return Finding(Verdict.OK, backend_id, detail)


def _may_lack(backend_id: str, settings: Settings) -> bool:
    """Tell whether a backend lacks files that nobody has asked for."""
    own = settings.backends[backend_id]
    if backend_id not in settings.unasked:
        return False
    return settings.registry.load(own.type).missing(own) is not None


async def _doors(settings: Settings) -> tuple[dict[str, Any], list[Finding]]:
    """See who listens where the daemon would; return what it says of itself, too."""
    from voiced.client import ClientError, connect
    from voiced.doors import netloc

    config = settings.config
    door = config.websocket
    try:
        url = f"ws://{netloc(_from_here(door.host), door.port)}/v1/ws"
        async with connect(url, token=settings.token) as client:
            await client.ping()
            server = client.greeting["server"]
            detail = f"{server['name']!r} answers, {client.greeting['voiced_version']}"
            return server, [Finding(Verdict.OK, "daemon", detail)]
    except ClientError:
        places = [("websocket", door.host, door.port), ("http", config.http.host, config.http.port)]
        if config.wyoming.enabled:
            places.append(("wyoming", config.wyoming.host, config.wyoming_port))
        return {}, await _free(*places)
    except VoicedError as error:
        return {}, [Finding(Verdict.FAILED, "daemon", error.message)]


def _from_here(host: str) -> str:
    """Return where this machine reaches a door that listens there."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # it is compared


async def _network(settings: Settings, server_id: str | None) -> list[Finding]:
    from voiced.config import is_loopback

    if is_loopback(settings.config.websocket.host):
        detail = "on this machine only, and not advertised; `voiced serve --lan` opens it"
        return [Finding(Verdict.NOTE, "network", detail)]
    if settings.config.zeroconf.enabled:
        return await _found(settings.config.zeroconf.name, server_id)
    return []


async def _found(name: str, server_id: str | None) -> list[Finding]:
    """See which daemons the network tells of."""
    from voiced.discovery import discover

    try:
        found = [one async for one in discover(_LISTEN_S)]
    except OSError as error:
        cure = "is there a network? Else let multicast through"
        return [Finding(Verdict.FAILED, "mDNS", f"{error.strerror}; {cure}.")]
    return judge(found, name=name, server_id=server_id)


def judge(found: Sequence[Found], *, name: str, server_id: str | None) -> list[Finding]:
    """Say what it means that those were found; `server_id` is that of the one that runs here."""
    others = [one for one in found if one.server_id != server_id]
    namesakes = [one for one in others if one.name.partition(" (")[0] == name]
    findings = [
        Finding(
            Verdict.NOTE,
            "mDNS",
            f"{one.url} is called {one.name!r}, too; give one of them another zeroconf.name",
        )
        for one in namesakes
    ]
    if server_id is None:
        return findings
    if len(others) < len(found):
        return [*findings, Finding(Verdict.OK, "mDNS", f"{name!r} is found")]
    detail = (
        "the daemon runs, and nobody finds it: let UDP port 5353 through the firewall "
        "(`sudo ufw allow mdns`), or see in its log whether it is advertised"
    )
    return [*findings, Finding(Verdict.FAILED, "mDNS", detail)]


async def _free(*places: tuple[str, str, int]) -> list[Finding]:
    from voiced.doors import netloc

    how = "sudo systemctl start voiced" if machine.has_service() else "voiced serve"
    findings = [Finding(Verdict.NOTE, "daemon", f"not running; start it with `{how}`")]
    for name, host, port in places:
        try:
            server = await asyncio.start_server(lambda *_: None, host, port)
        except OSError:
            detail = f"{netloc(host, port)} is taken, or not of this machine; free it, or set "
            detail += f"{name}.port or {name}.host"
            findings.append(Finding(Verdict.FAILED, name, detail))
            continue
        server.close()
        await server.wait_closed()
        findings.append(Finding(Verdict.OK, name, f"{netloc(host, port)} is free"))
    return findings
