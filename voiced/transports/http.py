"""The HTTP door: OpenAI's speech API, and what looks after a daemon needs."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus

from aiohttp import web

from voiced.audio.writer import MEDIA_TYPES, WAV_HEADER_BYTES, wav_header
from voiced.errors import BusyError, ShuttingDown, VoicedError
from voiced.metrics import CONTENT_TYPE, Metrics
from voiced.protocol import openai
from voiced.protocol.access import AccessPolicy
from voiced.protocol.openai import ErrorAnswer, answer, body_bytes, error_answer
from voiced.request import BackendState, Plan
from voiced.speech import (
    OPENAI_RATE,
    AudioFormat,
    AudioFrame,
    Priority,
    SpeechEvent,
    SpeechStart,
)
from voiced.synthesis.manager import TTSBackendManager
from voiced.transports.sockets import dual_stack, keep_unsent_low

log = logging.getLogger(__name__)
_library_log = logging.getLogger(f"{__name__}.library")
_library_log.setLevel(logging.CRITICAL)  # it logs malformed requests whole, keys and all

_LARGEST_BODY = 1024 * 1024
_READ_S = 30  # for a request's line, headers and body, and for a silent connection
_WRITE_S = 30  # without the client taking anything: it is gone, or will never listen
_CATALOGUE = ("/v1/models", "/v1/audio/voices", "/v1/audio/models")
_OPEN = ("/", "/healthz", "/readyz")
_ID = web.RequestKey("id", str)
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpDoor:
    """Serves section 3 of the protocol. `start`, then `drain`, then `close`."""

    def __init__(
        self,
        manager: TTSBackendManager,
        *,
        policy: AccessPolicy,
        metrics: Metrics,
        version: str,
        max_speeches: int = 256,
        is_catalogue_public: bool = True,
        read_s: float = _READ_S,
    ) -> None:
        self.policy = policy
        self._manager = manager
        self._metrics = metrics
        self._version = version
        self._is_catalogue_public = is_catalogue_public
        self._read_s = read_s
        self._is_draining = False
        self._max_speeches = max_speeches
        self._speeches: set[asyncio.Task[object]] = set()
        self._runner: web.AppRunner | None = None

    @property
    def speeches(self) -> int:
        """How many requests are being spoken."""
        return len(self._speeches)

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is the system's choice for port 0.

        Raises:
            OSError: the address cannot be bound.
        """
        app = web.Application(
            middlewares=[self._answer_errors, self._check_access], client_max_size=_LARGEST_BODY
        )
        app.on_response_prepare.append(self._add_headers)
        app.router.add_post("/v1/audio/speech", self._speech)
        for path, handler in {
            "/v1/models": self._models,
            "/v1/models/{id:.+}": self._model,
            "/v1/audio/voices": self._voices,
            "/v1/audio/models": self._audio_models,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics_page,
            "/openapi.json": self._openapi,
            "/": self._root,
        }.items():
            app.router.add_get(path, handler)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,  # a client that leaves cancels its speech
            auto_decompress=False,  # 1 MiB may not become 1 GiB
            keepalive_timeout=self._read_s,  # also ends connections that are silent, or drip
            lingering_time=2,  # for what a client still sends after its answer
            shutdown_timeout=0.2,  # all speeches have ended by then
            access_log=None,
            logger=_library_log,
        )
        await self._runner.setup()
        sock = dual_stack(host, port)
        site = web.SockSite(self._runner, sock) if sock else web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        bound: int = self._runner.addresses[0][1]
        return bound

    async def drain(self) -> None:
        """Take no new speeches, and return when all have ended."""
        self._is_draining = True
        while self._speeches:
            await asyncio.wait(self._speeches)

    async def close(self) -> None:
        """Cut off what is still spoken, and close every connection."""
        for task in self._speeches:
            task.cancel()
        if self._speeches:
            await asyncio.wait(self._speeches)
        if self._runner is not None:
            await self._runner.cleanup()

    # --------------------------------------------------------------------------- around all

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        request[_ID] = _request_id(request)
        try:
            return await handler(request)
        except VoicedError as error:
            return _error(error_answer(error))
        except web.HTTPException as error:
            status = HTTPStatus(error.status)
            code = {413: "request_too_large", 404: "not_found"}.get(status, "invalid_request")
            response = _error(answer(status, f"{status.phrase}.", code=code))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except TimeoutError:
            message = "The request did not arrive in time."
            return _error(answer(HTTPStatus.REQUEST_TIMEOUT, message, code="timeout"))
        except Exception:
            log.exception("request %s failed", request[_ID])
            return _error(error_answer(VoicedError("The daemon failed; its log says where.")))

    @web.middleware
    async def _check_access(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        headers = request.headers
        origin = headers.get("Origin")
        refusal = self.policy.check(
            request.path_qs,
            host=headers.get("Host"),
            origin=origin,
            authorization=headers.get("Authorization"),
        )
        if refusal is None and request.method == "OPTIONS" and origin is not None:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        is_authorized = self.policy.is_authorized(headers.get("Authorization"))
        if refusal is None and (is_authorized or self._is_public(request)):
            return await handler(request)
        if refusal is not None and refusal.status is not HTTPStatus.UNAUTHORIZED:
            code = "forbidden" if refusal.status is HTTPStatus.FORBIDDEN else "invalid_request"
            return _error(answer(refusal.status, refusal.message, code=code))
        message = "The API key is missing or wrong; send it as `Authorization: Bearer KEY`."
        return _error(answer(HTTPStatus.UNAUTHORIZED, message, code="invalid_api_key"))

    def _is_public(self, request: web.Request) -> bool:
        path = request.path
        if request.method not in ("GET", "HEAD"):
            return False
        is_catalogue = path in _CATALOGUE or path.startswith("/v1/models/")
        return path in _OPEN or (is_catalogue and self._is_catalogue_public)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Request-Id"] = request[_ID]
        origin = request.headers.get("Origin")
        if origin is not None and self.policy.is_origin_listed(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = request.headers.get(
                "Access-Control-Request-Headers", "Authorization, Content-Type"
            )
            response.headers["Access-Control-Expose-Headers"] = (
                "X-Request-Id, X-Voiced-Backend, X-Voiced-Voice"
            )

    # ------------------------------------------------------------------------------- speech

    async def _speech(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json":
            return _error(
                answer(
                    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                    "Only application/json is read; set the Content-Type.",
                    code="unsupported_media_type",
                )
            )
        async with asyncio.timeout(self._read_s):
            wanted = openai.read_request(await request.read())
        plan = self._manager.plan(wanted, default_format=AudioFormat.MP3, sample_rate=OPENAI_RATE)
        is_high = request.headers.get("X-Voiced-Priority", "").lower() == "high"
        priority = Priority.HIGH if is_high else Priority.NORMAL
        task = asyncio.current_task()
        assert task is not None
        self._admit(task)
        try:
            spoken = self._manager.speak(plan, label=request[_ID], priority=priority)
            async with aclosing(spoken) as events:
                return await self._answer_speech(request, plan, events)
        finally:
            self._speeches.discard(task)

    def _admit(self, task: asyncio.Task[object]) -> None:
        if self._is_draining:
            raise ShuttingDown("The daemon is stopping; try again in a moment.")
        if len(self._speeches) >= self._max_speeches:
            raise BusyError(
                f"{self._max_speeches} requests are being spoken; try again in a moment."
            )
        self._speeches.add(task)

    async def _answer_speech(
        self, request: web.Request, plan: Plan, events: AsyncGenerator[SpeechEvent, None]
    ) -> web.StreamResponse:
        """Answer once there is audio: until then an error is still an honest status."""
        start: SpeechStart | None = None
        async for event in events:
            if isinstance(event, SpeechStart):
                start = event
            elif isinstance(event, AudioFrame):
                assert start is not None
                if not plan.request.stream and plan.request.stream_format == "audio":
                    return await _buffered(request, start, event, events)
                return await self._streamed(request, plan, start, event, events)
        raise AssertionError("a speech has a last frame")

    async def _streamed(
        self,
        request: web.Request,
        plan: Plan,
        start: SpeechStart,
        first: AudioFrame,
        events: AsyncGenerator[SpeechEvent, None],
    ) -> web.StreamResponse:
        transport = request.transport  # which the request forgets when the client goes away
        assert transport is not None
        keep_unsent_low(transport)
        is_sse = plan.request.stream_format == "sse"
        response = web.StreamResponse(headers=_speech_headers(start, is_sse=is_sse))
        response.enable_chunked_encoding()
        await response.prepare(request)
        failure: VoicedError | None = None
        samples = 0
        try:
            async for frame in _frames(first, events):
                samples += frame.samples
                if frame.data:
                    await _write(response, openai.sse_delta(frame.data) if is_sse else frame.data)
            if is_sse:
                usage = openai.sse_done(
                    characters=len(plan.text), audio_s=samples / start.sample_rate
                )
                await _write(response, usage)
        except VoicedError as error:
            failure = error
        except (TimeoutError, ConnectionError):
            transport.abort()  # the client takes nothing any more, or is gone
            return response
        except asyncio.CancelledError:
            transport.close()  # never a clean end, if the client is still there
            raise
        if failure is not None:
            if is_sse:
                await _write(response, openai.sse_error(failure))
            transport.close()  # without the closing chunk: no clean end
        return response

    # ---------------------------------------------------------------------------- catalogue

    async def _models(self, _request: web.Request) -> web.Response:
        return _json(openai.models_body(self._manager.models()))

    async def _model(self, request: web.Request) -> web.Response:
        return _json(openai.model_body(self._manager.model(request.match_info["id"])))

    async def _voices(self, request: web.Request) -> web.Response:
        voices = await self._manager.voices(model=request.query.get("model"))
        return _json(openai.voices_body(voices))

    async def _audio_models(self, _request: web.Request) -> web.Response:
        return _json({"models": [{"id": info.id} for info in self._manager.models()]})

    # -------------------------------------------------------------------------------- health

    async def _healthz(self, _request: web.Request) -> web.Response:
        if trouble := self._manager.trouble():
            body = {"status": "failed", "reason": trouble, "version": self._version}
            return _json(body, status=HTTPStatus.SERVICE_UNAVAILABLE)
        return _json({"status": "ok", "version": self._version})

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._is_draining:
            body = {"status": "draining", "reason": "The daemon is stopping."}
            return _json(body, status=HTTPStatus.SERVICE_UNAVAILABLE)
        default = self._manager.model(self._manager.defaults.model)
        if default.state is BackendState.UNAVAILABLE:
            unready = {"status": "unavailable", "reason": default.cure}
            return _json(unready, status=HTTPStatus.SERVICE_UNAVAILABLE)
        return _json({"status": "ready", "backend": default.backend})

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def _openapi(self, _request: web.Request) -> web.Response:
        return _json(openai.openapi(self._version, MEDIA_TYPES))

    async def _root(self, _request: web.Request) -> web.Response:
        return web.Response(
            text=f"voiced {self._version} speaks here. POST /v1/audio/speech; GET /openapi.json.\n"
        )


async def _frames(
    first: AudioFrame, events: AsyncGenerator[SpeechEvent, None]
) -> AsyncGenerator[AudioFrame, None]:
    yield first
    async for event in events:
        if isinstance(event, AudioFrame):
            yield event


async def _buffered(
    request: web.Request,
    start: SpeechStart,
    first: AudioFrame,
    events: AsyncGenerator[SpeechEvent, None],
) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    keep_unsent_low(transport)
    parts = [frame.data async for frame in _frames(first, events)]
    response = web.StreamResponse(headers=_speech_headers(start, is_sse=False))
    response.content_length = sum(map(len, parts))
    if start.response_format is AudioFormat.WAV:
        data_bytes = response.content_length - WAV_HEADER_BYTES
        parts[0] = wav_header(start.sample_rate, data_bytes) + parts[0][WAV_HEADER_BYTES:]
    try:
        await response.prepare(request)
        for part in parts:
            await _write(response, part)
    except (TimeoutError, ConnectionError):
        transport.abort()  # the client takes nothing any more, or is gone
    return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(_WRITE_S):
        await response.write(data)


def _speech_headers(start: SpeechStart, *, is_sse: bool) -> dict[str, str]:
    return {
        "Content-Type": "text/event-stream" if is_sse else MEDIA_TYPES[start.response_format],
        "Cache-Control": "no-store",
        "X-Voiced-Backend": start.backend,
        "X-Voiced-Voice": start.voice,
    }


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def _json(body: Mapping[str, object], *, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=body_bytes(body), status=status, content_type="application/json")


def _error(error: ErrorAnswer) -> web.Response:
    return web.Response(
        body=body_bytes(error.body),
        status=error.status,
        headers=error.headers,
        content_type="application/json",
    )
