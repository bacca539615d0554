"""A key is in no log, error, status or printed configuration, whatever goes wrong."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import aiohttp
from providers import KEY, KINDS, Trouble
from test_daemon import serving, spawn

from voiced.client import connect
from voiced.errors import VoicedError

_FILED = "sk-filed-9876543210"
_NAMED = "sk-named-5555555555"
_TEXT = "The combination of the safe is four seven one one."


async def said_by(tmp_path: Path, *arguments: str, **environ: str) -> str:
    run = await spawn(tmp_path, *arguments, **environ)
    out, errors = await asyncio.wait_for(run.process.communicate(), 30)
    return out.decode() + errors.decode()


async def test_no_key_is_told(tmp_path: Path) -> None:
    async with (
        KINDS["openai"].fake() as openai,
        KINDS["elevenlabs"].fake() as elevenlabs,
        KINDS["alltalk"].fake() as alltalk,
    ):
        (tmp_path / "key").write_text(_FILED)
        config = tmp_path / "config.toml"
        config.write_text(
            f"""
            [log]
            level = "debug"
            [backends.espeak]
            type = "espeak"
            [backends.inline]
            type = "openai"
            base_url = "{openai.url}"
            api_key = "{KEY}"
            [backends.filed]
            type = "elevenlabs"
            base_url = "{elevenlabs.url}"
            api_key_file = "{tmp_path / "key"}"
            [backends.named]
            type = "alltalk"
            base_url = "{alltalk.url}"
            api_key_name = "HOME_KEY"
            """
        )
        where = ("--config", str(config))
        told = ""
        async with serving(tmp_path, *where, HOME_KEY=_NAMED, VOICED_CACHE__MEMORY_MB="0") as run:
            async with connect(run.url) as client, aiohttp.ClientSession(run.http_url) as session:
                for trouble in (Trouble(), Trouble(401, {"error": KEY}), Trouble(kind="html")):
                    for backend, fake in (
                        ("inline", openai),
                        ("filed", elevenlabs),
                        ("named", alltalk),
                    ):
                        fake.will(trouble)
                        for strict in (True, False):
                            options = {"strict": strict}
                            try:
                                async with client.speak(
                                    _TEXT, model=backend, model_specific_options=options
                                ) as speech:
                                    async for _ in speech:
                                        pass
                                told += str(speech.notices)
                            except VoicedError as error:
                                told += repr(error)
                        body = {"model": backend, "input": _TEXT, "voice": "alloy"}
                        async with session.post("/v1/audio/speech", json=body) as response:
                            told += str(response.headers) + (await response.read()).decode(
                                "latin-1"
                            )
                told += str(await client.models())
                async with aclosing(client.watch()) as statuses:
                    told += str(await anext(statuses))
                for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/audio/voices"):
                    async with session.get(path) as response:
                        told += await response.text()
            _, errors = await run.stop()
        assert "upstream_auth" in errors
        for command in (("config",), ("config", "--defaults"), ("check",)):
            told += await said_by(tmp_path, *command, *where, HOME_KEY=_NAMED)
        broken = config.read_text().replace('type = "openai"', 'type = "openai"\nmodel = 7')
        config.write_text(broken)
        told += await said_by(tmp_path, "serve", *where)
        assert "backends.inline.model" in told
    sent = [str(headers) for fake in (openai, elevenlabs, alltalk) for headers in fake.headers]
    for key in (KEY, _FILED, _NAMED):
        assert any(key in headers for headers in sent)
        assert key not in errors
        assert key not in told
    assert "combination" not in errors
