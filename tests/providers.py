"""OpenAI, ElevenLabs and AllTalk in small: strict about what they take, and faulty when told to be.

Written from what the three publish of their APIs, and from recorded answers. What a client sends
that they do not know is refused, so that a test fails where the true ones would go on in silence;
that they are not too strict is shown by the providers' own clients, which speak with them too.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

from voiced.audio.writer import StreamingAudioWriter, wav_header
from voiced.backends.alltalk import AllTalkBackend, AllTalkSettings
from voiced.backends.base import BackendSettings, TTSBackendBase
from voiced.backends.elevenlabs import ElevenLabsBackend, ElevenLabsSettings
from voiced.backends.openai import OpenAIBackend, OpenAISettings
from voiced.backends.remote.settings import RemoteSettings
from voiced.speech import AudioFormat, Int16

RATE = 24000
KEY = "sk-test-0123456789"
CHARACTER_S = 0.05  # of audio
ANNA = "AnnaAnnaAnnaAnnaAnna"
BERT = "BertBertBertBertBert"
LIBRARY = "LibLibLibLibLibLibL1"  # a voice that is in no list, and yet is there
_PARTS = (1213, 3990, 1557, 280, 16384)  # bytes, as ElevenLabs was seen to send


@dataclass(frozen=True)
class Trouble:
    """What goes wrong with one request."""

    status: int = 200
    body: Any = None  # JSON
    retry_after: str = ""
    kind: str = ""  # slow, cut, reset, html, endless, empty, silence, stall, redirect, half
    after_bytes: int = 20_000


@dataclass
class Fake:
    """A running fake: what it was asked, and what goes wrong next."""

    url: str = ""
    troubles: list[Trouble] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)  # path, body or query
    headers: list[Mapping[str, str]] = field(default_factory=list)
    left: int = 0  # requests whose client went away
    open: int = 0
    most_open: int = 0
    first_byte_at: float = 0.0
    is_gone: bool = False  # answers 503 to everything
    newcomers: list[tuple[str, str, str]] = field(default_factory=list)
    """Voices of ElevenLabs that came later: id, name, language."""

    released: asyncio.Event = field(default_factory=asyncio.Event)

    def will(self, *troubles: Trouble) -> None:
        """Let the next requests for speech go wrong so."""
        self.troubles += troubles


def tone(text: str, speed: float = 1.0) -> Int16:
    """What a fake says for a text: as long as that is."""
    time = np.arange(round(len(text) * CHARACTER_S / speed * RATE)) / RATE
    return (8000 * np.sin(2 * np.pi * 220 * time)).astype(np.int16)


def _refuse(status: int, body: Any, retry_after: str = "") -> web.Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return web.json_response(body, status=status, headers=headers)


async def _stream(
    fake: Fake, request: web.Request, data: bytes, kind: str, parts: Iterator[bytes] | None = None
) -> web.StreamResponse:
    """Send audio in odd parts, or what the next trouble says."""
    trouble = fake.troubles.pop(0) if fake.troubles else Trouble()
    if trouble.status != 200:
        return _refuse(trouble.status, trouble.body, trouble.retry_after)
    if trouble.kind == "redirect":
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/elsewhere"})
    if trouble.kind == "html":
        return web.Response(text="<html>Bad Gateway</html>", content_type="text/html")
    if trouble.kind == "slow":
        await fake.released.wait()
    response = web.StreamResponse(headers={"Content-Type": kind})
    response.enable_chunked_encoding()
    await response.prepare(request)
    sent = 0
    for part in _faulty(trouble, data, parts):
        if trouble.kind in ("cut", "reset", "half") and sent >= trouble.after_bytes:
            assert request.transport is not None
            if trouble.kind == "reset":
                request.transport.abort()
            else:
                request.transport.close()
            return response
        if trouble.kind == "stall" and sent >= trouble.after_bytes:
            await fake.released.wait()
        fake.first_byte_at = fake.first_byte_at or asyncio.get_running_loop().time()
        await response.write(part)
        sent += len(part)
    await response.write_eof()
    return response


def _faulty(trouble: Trouble, data: bytes, parts: Iterator[bytes] | None) -> Iterator[bytes]:
    match trouble.kind:
        case "empty":
            return
        case "silence":
            yield bytes(len(data))
        case "endless":
            while True:
                yield data
        case _ if parts is not None:
            yield from parts
        case _:
            at = number = 0
            while at < len(data):
                size = _PARTS[number % len(_PARTS)]
                yield data[at : at + size]
                at, number = at + size, number + 1


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _running(fake: Fake, routes: Mapping[tuple[str, str], Handler]) -> AsyncIterator[Fake]:
    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        fake.headers.append(dict(request.headers))
        if fake.is_gone:
            return _refuse(503, {})
        fake.open += 1
        fake.most_open = max(fake.most_open, fake.open)
        try:
            return await handler(request)
        except asyncio.CancelledError:
            fake.left += 1
            raise
        finally:
            fake.open -= 1

    app = web.Application(middlewares=[watch])
    for (method, path), handler in routes.items():
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        fake.released.set()
        await runner.cleanup()


def _unknown(body: Mapping[str, Any], known: set[str]) -> list[str]:
    return sorted(set(body) - known)


# ----------------------------------------------------------------------------------------- OpenAI

OPENAI_VOICES = "alloy ash coral echo fable onyx nova sage shimmer".split()
_OPENAI_TYPES = {
    "pcm": "audio/pcm",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
}


def _openai_error(message: str, code: str | None = None) -> dict[str, Any]:
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return {"error": body}


@asynccontextmanager
async def fake_openai(*, voices: Any = None) -> AsyncIterator[Fake]:
    """`/v1/audio/speech`; with `voices`, also the list of them that other servers have."""
    fake = Fake()

    async def speech(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            body = _openai_error("Incorrect API key provided: sk-wrong.", "invalid_api_key")
            return web.Response(status=401, text=json.dumps(body), content_type="text/plain")
        body = await request.json()
        fake.asked.append((request.path, body))
        known = {"model", "input", "voice", "response_format", "speed", "instructions"}
        if unknown := _unknown(body, known | {"stream_format"}):
            return _refuse(400, _openai_error(f"Unknown parameter: {unknown[0]}."))
        if body.get("model") not in ("tts-1", "tts-1-hd", "gpt-4o-mini-tts"):
            return _refuse(404, _openai_error("The model does not exist.", "model_not_found"))
        if body.get("voice") not in OPENAI_VOICES:
            return _refuse(400, _openai_error(f"[{{'input': {body.get('voice')!r}}}]"))
        if not 1 <= len(body.get("input", "")) <= 4096:
            return _refuse(400, _openai_error("String should have at most 4096 characters"))
        if not 0.25 <= body.get("speed", 1.0) <= 4.0:
            return _refuse(400, _openai_error("speed"))
        kind = body.get("response_format", "mp3")
        writer = StreamingAudioWriter(AudioFormat(kind), RATE)
        encoded = [*writer.write(tone(body["input"], body.get("speed", 1.0))), *writer.close()]
        data = b"".join(part.data for part in encoded)
        return await _stream(fake, request, data, _OPENAI_TYPES[kind])

    async def listed(_request: web.Request) -> web.Response:
        return web.json_response(voices)

    routes: dict[tuple[str, str], Handler] = {("POST", "/v1/audio/speech"): speech}
    if voices is not None:
        routes[("GET", "/v1/audio/voices")] = listed
    async with _running(fake, routes):
        fake.url += "/v1"
        yield fake


# ------------------------------------------------------------------------------------- ElevenLabs


def _detail(code: str, message: str, status: str | None = None) -> dict[str, Any]:
    told = {"type": "error", "code": code, "message": message, "status": status or code}
    return {"detail": told | {"request_id": "0" * 32}}


def _page(*entries: tuple[str, str, str], token: str | None = None) -> dict[str, Any]:
    voices = [
        {"voice_id": i, "name": n, "category": "premade", "labels": {"language": language}}
        for i, n, language in entries
    ]
    return {"voices": voices, "has_more": token is not None, "next_page_token": token}


@asynccontextmanager
async def fake_elevenlabs(*, may_list: bool = True) -> AsyncIterator[Fake]:  # noqa: C901  # a list of refusals
    """The two streaming routes and the list of voices, in two pages."""
    fake = Fake()

    async def voices(request: web.Request) -> web.Response:
        if refused := _key_refused(request):
            return refused
        if not may_list:
            return _refuse(401, {"detail": {"status": "missing_permissions", "message": "No."}})
        if unknown := _unknown(
            request.query, {"page_size", "next_page_token", "include_total_count"}
        ):
            return _refuse(422, {"detail": [{"type": "extra", "loc": ["query", unknown[0]]}]})
        if request.query.get("next_page_token") == "2":
            return web.json_response(_page((BERT, "Bert", "de"), *fake.newcomers))
        return web.json_response(_page((ANNA, "Anna", "en"), token="2"))

    async def speech(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if problem := _schema_problem(body):
            return _refuse(422, {"detail": [{"type": problem, "loc": ["body"]}]})
        if refused := _key_refused(request):
            return refused
        fake.asked.append((request.path, body | dict(request.query)))
        form = request.query.get("output_format", "mp3_44100_128")
        known = {ANNA, BERT, LIBRARY, *(voice for voice, *_ in fake.newcomers)}
        for is_wrong, status, code in (
            (request.match_info["voice"] not in known, 404, "voice_not_found"),
            (form not in ("pcm_24000", "mp3_44100_128"), 403, "invalid_output_format"),
            (len(body["text"]) > 10000, 400, "text_too_long"),
        ):
            if is_wrong:
                return _refuse(status, _detail(code, "Refused."))
        samples = tone(body["text"], body.get("voice_settings", {}).get("speed", 1.0))
        data = samples.tobytes()
        if form.startswith("mp3"):
            writer = StreamingAudioWriter(AudioFormat.MP3, RATE)
            data = b"".join(p.data for p in [*writer.write(samples), *writer.close()])
        if not request.path.endswith("/with-timestamps"):
            return await _stream(
                fake, request, data, f"audio/{'pcm' if form[0] == 'p' else 'mpeg'}"
            )
        lines = _timed(body["text"], data)
        return await _stream(fake, request, data, "application/json", lines)

    routes: dict[tuple[str, str], Handler] = {
        ("GET", "/v2/voices"): voices,
        ("POST", "/v1/text-to-speech/{voice}/stream"): speech,
        ("POST", "/v1/text-to-speech/{voice}/stream/with-timestamps"): speech,
    }
    async with _running(fake, routes):
        yield fake


def _key_refused(request: web.Request) -> web.Response | None:
    key = request.headers.get("xi-api-key")
    if key is None:
        return _refuse(401, _detail("unauthorized", "No header.", "needs_authorization"))
    if key != KEY:
        return _refuse(401, _detail("unauthorized", "Invalid API key", "invalid_api_key"))
    return None


def _schema_problem(body: Mapping[str, Any]) -> str | None:
    known = {"text", "model_id", "language_code", "voice_settings", "seed"}
    if unknown := _unknown(body, known):
        return f"unknown_{unknown[0]}"
    if not isinstance(body.get("text"), str):
        return "missing"
    settings = body.get("voice_settings", {})
    shares = {"stability", "similarity_boost", "style"}
    if _unknown(settings, shares | {"use_speaker_boost", "speed"}):
        return "unknown_setting"
    if any(not 0 <= settings.get(name, 0) <= 1 for name in shares):
        return "less_than_equal"
    return None if 0.7 <= settings.get("speed", 1) <= 1.2 else "invalid_voice_settings"


def _timed(text: str, data: bytes) -> Iterator[bytes]:
    """A line for every ten characters, an empty one, one without times; parts that cut lines."""
    share = len(data) // len(text) & ~1
    lines = b""
    for at in range(0, len(text), 10):
        piece = text[at : at + 10]
        starts = [round((at + n) * CHARACTER_S, 3) for n in range(len(piece))]
        times = {
            "characters": list(piece),
            "character_start_times_seconds": starts,
            "character_end_times_seconds": [s + CHARACTER_S for s in starts],
        }
        end = len(data) if at + 10 >= len(text) else (at + 10) * share
        audio = base64.b64encode(data[at * share : end]).decode()
        line = {"audio_base64": audio, "alignment": times, "normalized_alignment": None}
        lines += json.dumps(line).encode() + b"\n"
    lines += b'\n{"audio_base64": "", "alignment": null, "normalized_alignment": null}\n'
    for at in range(0, len(lines), 5000):
        yield lines[at : at + 5000]


# ---------------------------------------------------------------------------------------- AllTalk


@asynccontextmanager
async def fake_alltalk(*, can_stream: bool = True) -> AsyncIterator[Fake]:
    """Its own streaming route and that for OpenAI's clients, as the engine can."""
    fake = Fake()

    async def ready(_request: web.Request) -> web.Response:
        return web.Response(text="Ready")

    async def settings(_request: web.Request) -> web.Response:
        engine = "xtts" if can_stream else "piper"
        return web.json_response({"current_engine_loaded": engine, "streaming_capable": can_stream})

    async def voices(_request: web.Request) -> web.Response:
        return web.json_response({"status": "success", "voices": ["female_01.wav", "male_01.wav"]})

    async def streaming(request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        fake.asked.append((request.path, query))
        wanted = {"text", "voice", "language", "output_file"}
        if missing := sorted(wanted - set(query)):
            detail = [{"type": "missing", "loc": ["query", missing[0]]}]
            return _refuse(422, {"detail": detail})
        if _unknown(query, wanted) or not can_stream:
            return _refuse(400, {"error": "Invalid value: Streaming not supported"})
        data = wav_header(RATE)[:-4] + bytes(4) + tone(query["text"]).tobytes()
        if query["voice"] not in ("female_01.wav", "male_01.wav"):
            fake.will(Trouble(kind="half", after_bytes=44))
        return await _stream(fake, request, data, "audio/wav")

    async def speech(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fake.asked.append((request.path, body))
        known = {"model", "input", "voice", "response_format", "speed"}
        voices = "alloy echo fable nova onyx shimmer".split()
        if _unknown(body, known) or body.get("voice") not in voices or "model" not in body:
            return web.Response(status=500, text="Internal Server Error")
        data = wav_header(RATE) + tone(body["input"], body.get("speed", 1.0)).tobytes()
        return await _stream(fake, request, data, "audio/wav")

    routes: dict[tuple[str, str], Handler] = {
        ("GET", "/api/ready"): ready,
        ("GET", "/api/currentsettings"): settings,
        ("GET", "/api/voices"): voices,
        ("GET", "/api/tts-generate-streaming"): streaming,
        ("POST", "/v1/audio/speech"): speech,
    }
    async with _running(fake, routes):
        yield fake


# ------------------------------------------------------------------------------- as our backends


@dataclass(frozen=True)
class Kind:
    """A provider's fake, and the backend that speaks with it."""

    fake: Callable[..., AbstractAsyncContextManager[Fake]]
    backend: type[TTSBackendBase]
    settings: Callable[..., BackendSettings]


def _settings_of(kind: type[RemoteSettings]) -> Callable[..., BackendSettings]:
    def make(fake: Fake, **keys: Any) -> BackendSettings:
        given = {"api_key": KEY, "first_audio_timeout_s": 2, "stall_timeout_s": 0.1, **keys}
        return kind(type="cloud", base_url=fake.url, **given)

    return make


KINDS = {
    "openai": Kind(fake_openai, OpenAIBackend, _settings_of(OpenAISettings)),
    "elevenlabs": Kind(fake_elevenlabs, ElevenLabsBackend, _settings_of(ElevenLabsSettings)),
    "alltalk": Kind(fake_alltalk, AllTalkBackend, _settings_of(AllTalkSettings)),
}
