"""`voiced check`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from voiced import __version__
from voiced.cli.settings import add_config_argument, config_path
from voiced.errors import ConfigError, VoicedError

if TYPE_CHECKING:
    from voiced.settings import Settings
    from voiced.synthesis.lane import Lane
    from voiced.synthesis.manager import TTSBackendManager

HELP = "tell what works here, and what to do about what does not"
EXAMPLE = "voiced check"


class Verdict(StrEnum):
    """How a check went."""

    OK = "ok"
    NOTE = "note"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the report."""

    verdict: Verdict
    what: str
    detail: str


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
    yield _player()
    yield _state()
    yield from _encoders()
    yield from asyncio.run(_backends(manager, lane, settings))
    yield from asyncio.run(_doors(settings))


def _player() -> Finding:
    from voiced.cli.player import find_player

    if player := find_player():
        return Finding(Verdict.OK, "player", player)
    return Finding(
        Verdict.NOTE, "player", "none; `say` can only write files. Install alsa-utils to hear it."
    )


def _state() -> Finding:
    from voiced.config import state_folder

    folder = state_folder()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if os.access(existing, os.W_OK):
        return Finding(Verdict.OK, "state folder", str(folder))
    return Finding(
        Verdict.NOTE, "state folder", f"{folder} cannot be written: the daemon's id will not last"
    )


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


async def _backends(manager: TTSBackendManager, lane: Lane, settings: Settings) -> list[Finding]:
    """Speak a word with every configured backend."""
    from voiced.request import OpenAISpeechRequest
    from voiced.speech import OPENAI_RATE, AudioFormat, AudioFrame

    findings = []
    loop = asyncio.get_running_loop()
    for backend_id in settings.backends:
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
            findings.append(Finding(verdict, backend_id, error.message))
            continue
        factor = (loop.time() - began) * OPENAI_RATE / max(samples, 1)
        detail = f"speaks, {len(backend.voices())} voices, real-time factor {factor:.3f}"
        findings.append(Finding(Verdict.OK, backend_id, detail))
    await manager.close()
    await lane.close()
    return findings


def _may_lack(backend_id: str, settings: Settings) -> bool:
    """Tell whether a backend lacks files that nobody has asked for."""
    own = settings.backends[backend_id]
    is_lacking = settings.registry.load(own.type).missing(own) is not None
    return is_lacking and backend_id in settings.unasked


async def _doors(settings: Settings) -> list[Finding]:
    """See who listens where the daemon would."""
    from voiced.client import ClientError, connect
    from voiced.config import is_loopback

    findings = []
    config = settings.config
    door = config.websocket
    host = door.host if is_loopback(door.host) else "127.0.0.1"
    try:
        url = f"ws://{host}:{door.port}/v1/ws"
        async with connect(url, token=settings.token) as client:
            await client.ping()
            name = client.greeting["server"]["name"]
            version = client.greeting["voiced_version"]
            findings.append(Finding(Verdict.OK, "daemon", f"{name!r} answers, {version}"))
    except ClientError:
        places = [("websocket", host, door.port), ("http", host, config.http.port)]
        if config.wyoming.enabled:
            places.append(("wyoming", host, config.wyoming_port))
        findings += await _free(*places)
    except VoicedError as error:
        findings.append(Finding(Verdict.FAILED, "daemon", error.message))
    if is_loopback(door.host):
        detail = "on this machine only, and not advertised; `voiced serve --lan` opens it"
        findings.append(Finding(Verdict.NOTE, "network", detail))
    return findings


async def _free(*places: tuple[str, str, int]) -> list[Finding]:
    findings = [Finding(Verdict.NOTE, "daemon", "not running; start it with `voiced serve`")]
    for name, host, port in places:
        try:
            server = await asyncio.start_server(lambda *_: None, host, port)
        except OSError:
            detail = f"{host}:{port} is taken by another program; stop it or set {name}.port"
            findings.append(Finding(Verdict.FAILED, name, detail))
            continue
        server.close()
        await server.wait_closed()
        findings.append(Finding(Verdict.OK, name, f"{host}:{port} is free"))
    return findings
