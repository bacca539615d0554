from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import aiohttp
import openai
import pytest
from support import Parts, decode, eventually, running_parts, scripted, speak

from voiced.protocol.access import AccessPolicy
from voiced.speech import AudioFormat, EndReason
from voiced.synthesis.lane import Lane

T = TypeVar("T")

TEXT = "Good morning. It is a quarter past nine."
SPEECH = "/v1/audio/speech"
MEDIA = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


@pytest.fixture
async def web() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
        yield session


def sdk(parts: Parts, key: str = "sk-any") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{parts.http_url}/v1", api_key=key, max_retries=0)


async def error_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    body = await response.json()
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert response.headers["X-Request-Id"]
    error: dict[str, Any] = body["error"]
    return error


# ------------------------------------------------------------------------------------ speech


@pytest.mark.parametrize("response_format", list(AudioFormat))
async def test_the_openai_sdk_gets_every_format(parts: Parts, response_format: AudioFormat) -> None:
    _, expected = await speak(parts.manager, TEXT, voice="nova")
    async with sdk(parts) as client:
        answer = await client.audio.speech.create(
            model="tts-1", voice="nova", input=TEXT, response_format=response_format.value
        )
    assert answer.response.headers["content-type"] == MEDIA[response_format]
    assert answer.response.headers["x-voiced-backend"] == "espeak"
    assert answer.response.headers["x-voiced-voice"] == "en-us+f3"
    if response_format is AudioFormat.PCM:
        assert answer.content == expected
        return
    if response_format is AudioFormat.WAV:
        assert answer.content[44:] == expected
        assert struct.unpack_from("<I", answer.content, 40) == (0xFFFFFFFF,)
        return
    samples, rate = decode(answer.content)
    assert 0 <= samples.size / rate - len(expected) / 48000 < 0.2


async def test_mp3_is_the_default(parts: Parts, web: aiohttp.ClientSession) -> None:
    async with web.post(parts.http_url + SPEECH, json={"input": TEXT}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "audio/mpeg"
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert decode(await response.read())[0].size


async def test_the_sdk_s_streaming_response_arrives_in_parts(parts: Parts) -> None:
    async with (
        sdk(parts) as client,
        client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=TEXT * 20, response_format="pcm"
        ) as answer,
    ):
        sizes = [len(part) async for part in answer.iter_bytes(1024)]
    assert sum(sizes) > 24000 * 2 * 30
    assert len(sizes) > 100


@pytest.mark.parametrize("response_format", ["wav", "mp3"])
async def test_without_streaming_the_length_is_told(
    parts: Parts, web: aiohttp.ClientSession, response_format: str
) -> None:
    body = {"input": TEXT, "stream": False, "response_format": response_format}
    async with web.post(parts.http_url + SPEECH, json=body) as response:
        data = await response.read()
        assert response.headers["Content-Length"] == str(len(data))
        assert "Transfer-Encoding" not in response.headers
    if response_format == "wav":
        assert struct.unpack_from("<I", data, 4) == (len(data) - 8,)
        assert struct.unpack_from("<I", data, 40) == (len(data) - 44,)


async def test_server_sent_events(parts: Parts, web: aiohttp.ClientSession) -> None:
    body = {"input": TEXT, "stream_format": "sse", "response_format": "pcm"}
    _, expected = await speak(parts.manager, TEXT)
    async with web.post(parts.http_url + SPEECH, json=body) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in (await response.text()).split("\n\n") if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    audio = b"".join(
        base64.b64decode(event["audio"])
        for event in events
        if event["type"] == "speech.audio.delta"
    )
    assert audio == expected
    assert events[-1]["type"] == "speech.audio.done"
    usage = events[-1]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize("response_format", list(AudioFormat))
async def test_nothing_to_say_is_an_empty_stream(
    parts: Parts, web: aiohttp.ClientSession, response_format: AudioFormat
) -> None:
    body = {"input": " 🙂 ", "response_format": response_format.value}
    async with web.post(parts.http_url + SPEECH, json=body) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == MEDIA[response_format]
        assert len(await response.read()) < 200


async def test_too_many_at_a_time_are_asked_to_come_again(web: aiohttp.ClientSession) -> None:
    body = {"input": TEXT * 500, "response_format": "pcm"}
    async with running_parts({"good": scripted()}, max_sessions=1) as parts:
        speaking = await web.post(parts.http_url + SPEECH, json=body)
        async with web.post(parts.http_url + SPEECH, json=body) as response:
            assert response.status == 503
            assert (await error_of(response))["code"] == "overloaded"
            assert response.headers["Retry-After"] == "1"
            assert "x-should-retry" not in response.headers
        speaking.close()


async def test_a_body_that_comes_late_finds_no_more_room_than_others() -> None:
    async with running_parts({"good": scripted()}, max_sessions=1) as parts:
        body = json.dumps({"input": "Hello there. " * 500, "response_format": "pcm"}).encode()
        head = (
            "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
            f"\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        streams = [await asyncio.open_connection("127.0.0.1", parts.http_port) for _ in range(3)]
        for _, writer in streams:
            writer.write(head)
        await asyncio.sleep(0.05)  # all three are in the handler, waiting for a body
        for _, writer in streams:
            writer.write(body)
        answers = [await asyncio.wait_for(reader.readline(), 5) for reader, _ in streams]
        assert sorted(answer.split()[1] for answer in answers) == [b"200", b"503", b"503"]
        for _, writer in streams:
            writer.transport.abort()


async def test_a_method_that_is_not_allowed_says_which_are(
    parts: Parts, web: aiohttp.ClientSession
) -> None:
    async with web.delete(parts.http_url + SPEECH) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"


async def test_a_client_that_leaves_cancels_its_speech(
    parts: Parts, web: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"input": TEXT * 500, "response_format": "pcm"}
    response = await web.post(parts.http_url + SPEECH, json=body)
    await response.content.read(1000)
    response.close()
    await eventually(lambda: bool(parts.reports))
    assert parts.reports[0].reason is EndReason.CANCELLED
    assert parts.manager.speaking == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "invalid_request", "input"),
        ({"input": ""}, 400, "invalid_request", "input"),
        ({"input": 5}, 400, "invalid_request", "input"),
        ({"input": "x" * 32_769}, 400, "string_above_max_length", "input"),
        ({"input": "x", "speed": 9}, 400, "invalid_request", "speed"),
        ({"input": "x", "speed": "1"}, 400, "invalid_request", "speed"),
        ({"input": "x", "voice": "nope"}, 400, "voice_not_found", "voice"),
        ({"input": "x", "response_format": "ogg"}, 400, "format_not_supported", "response_format"),
        (
            {"input": "x", "model_specific_options": {"nope": 1}},
            400,
            "invalid_option",
            "model_specific_options.nope",
        ),
        ({"input": "x", "model": "nope"}, 404, "model_not_found", "model"),
        (
            {"input": "x", "model": "tts-1", "model_specific_options": {"strict": True}},
            503,
            "backend_unavailable",
            None,
        ),
    ],
)
async def test_bad_requests(
    parts: Parts,
    web: aiohttp.ClientSession,
    body: dict[str, Any],
    status: int,
    code: str,
    param: str | None,
) -> None:
    async with web.post(parts.http_url + SPEECH, json=body) as response:
        assert response.status == status
        error = await error_of(response)
        assert (error["code"], error["param"]) == (code, param)
        assert response.headers["x-should-retry"] == "false"


async def test_the_sdk_raises_the_right_exceptions(parts: Parts) -> None:
    async with sdk(parts) as client:
        with pytest.raises(openai.NotFoundError, match="nope"):
            await client.audio.speech.create(model="nope", voice="alloy", input="x")
        with pytest.raises(openai.BadRequestError, match="did you mean"):
            await client.audio.speech.create(model="espeak", voice="en-uz", input="x")


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b'{"input": "x"}', "text/plain", 415),
        (b'{"input": "x"}', "application/x-www-form-urlencoded", 415),
        (b'{"input": NaN}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"input": "' + b"x" * 1_100_000 + b'"}', "application/json", 413),
    ],
)
async def test_bad_bodies(
    parts: Parts, web: aiohttp.ClientSession, data: bytes, content_type: str, status: int
) -> None:
    headers = {"Content-Type": content_type}
    async with web.post(
        parts.http_url + SPEECH, data=io.BytesIO(data), headers=headers
    ) as response:
        assert response.status == status
        await error_of(response)
    async with web.get(f"{parts.http_url}/healthz") as response:
        assert response.status == 200


class LostWorkers:
    """Threads of which a native library has ended one."""

    def submit(self, function: Callable[[], T]) -> asyncio.Future[T]:
        raise AssertionError

    def are_alive(self) -> bool:
        return False

    async def close(self) -> None: ...


async def test_a_daemon_whose_engines_are_lost_is_not_healthy(web: aiohttp.ClientSession) -> None:
    lane = Lane(workers=LostWorkers())
    async with (
        running_parts({"good": scripted()}, lane=lane) as parts,
        web.get(f"{parts.http_url}/healthz") as response,
    ):
        assert response.status == 503
        assert (await response.json())["reason"] == "A local engine ended its thread."


async def test_a_compressed_body_is_not_inflated(parts: Parts, web: aiohttp.ClientSession) -> None:
    bomb = zlib.compress(b'{"input": "' + b"x" * 50_000_000 + b'"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "deflate"}
    async with web.post(parts.http_url + SPEECH, data=bomb, headers=headers) as response:
        assert response.status == 400


async def test_unknown_paths_and_methods_have_json_errors(
    parts: Parts, web: aiohttp.ClientSession
) -> None:
    async with web.get(f"{parts.http_url}/v1/nope") as response:
        assert response.status == 404
        await error_of(response)
    async with web.get(parts.http_url + SPEECH) as response:
        assert response.status == 405
        await error_of(response)


async def test_a_failure_before_the_first_audio_is_an_honest_status(
    web: aiohttp.ClientSession,
) -> None:
    async with (
        running_parts({"bad": scripted(fails_after_chunks=0)}) as parts,
        web.post(parts.http_url + SPEECH, json={"input": "Hello there."}) as response,
    ):
        assert response.status == 502
        assert (await error_of(response))["code"] == "backend_error"


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_a_failure_after_the_first_audio_is_no_clean_end(
    web: aiohttp.ClientSession, stream_format: str
) -> None:
    body = {"input": "Hello there.", "response_format": "pcm", "stream_format": stream_format}
    async with running_parts({"bad": scripted(fails_after_chunks=5)}) as parts:
        received = b""
        with pytest.raises(aiohttp.ClientPayloadError):  # noqa: PT012  # the end is what fails
            async with web.post(parts.http_url + SPEECH, json=body) as response:
                assert response.status == 200
                async for part in response.content.iter_any():
                    received += part
        assert received
        if stream_format == "sse":
            last = json.loads(received.decode().strip().rpartition("data: ")[2])
            assert last["type"] == "error"
            assert last["error"]["code"] == "backend_error"


# ------------------------------------------------------------------------------------ access


async def test_the_token_guards_all_but_the_catalogue_and_health(
    web: aiohttp.ClientSession,
) -> None:
    async with running_parts(policy=AccessPolicy(token="s3cret")) as parts:
        for path, status in {
            "/v1/models": 200,
            "/v1/models/espeak": 200,
            "/v1/audio/voices": 200,
            "/v1/audio/models": 200,
            "/healthz": 200,
            "/readyz": 200,
            "/": 200,
            "/metrics": 401,
            "/openapi.json": 401,
        }.items():
            async with web.get(parts.http_url + path) as response:
                assert response.status == status, path
        async with web.post(parts.http_url + SPEECH, json={"input": "x"}) as response:
            assert response.status == 401
            assert (await error_of(response))["code"] == "invalid_api_key"
        async with sdk(parts, "wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.audio.speech.create(model="tts-1", voice="alloy", input="x")
        async with sdk(parts, "s3cret") as client:
            answer = await client.audio.speech.create(model="tts-1", voice="alloy", input="x")
            assert answer.content


async def test_the_catalogue_may_be_guarded_too(web: aiohttp.ClientSession) -> None:
    policy = AccessPolicy(token="s3cret")
    async with running_parts(policy=policy, is_catalogue_public=False) as parts:
        for path, status in {"/v1/models": 401, "/v1/models/espeak": 401, "/healthz": 200}.items():
            async with web.get(parts.http_url + path) as response:
                assert response.status == status, path


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/healthz", {"Host": "evil.com"}, 403),
        ("/healthz", {"Origin": "https://evil.com"}, 403),
        ("/healthz?token=x", {}, 400),
    ],
)
async def test_hosts_origins_and_urls_are_checked(
    parts: Parts,
    web: aiohttp.ClientSession,
    path: str,
    headers: dict[str, str],
    status: int,
) -> None:
    async with web.get(parts.http_url + path, headers=headers) as response:
        assert response.status == status
        await error_of(response)


async def test_only_allowed_origins_get_cors_answers(web: aiohttp.ClientSession) -> None:
    panel = "https://panel.example.org"
    policy = AccessPolicy(token="s3cret", allowed_origins=frozenset({panel}))
    async with running_parts({"good": scripted()}, policy=policy) as parts:
        url = parts.http_url + SPEECH
        async with web.options(url, headers={"Origin": panel}) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == panel
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        async with web.options(url, headers={"Origin": "https://evil.com"}) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers
        same = {"Origin": parts.http_url}
        async with web.get(f"{parts.http_url}/healthz", headers=same) as response:
            assert response.status == 200
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_request_ids_are_echoed_or_made(parts: Parts, web: aiohttp.ClientSession) -> None:
    url = f"{parts.http_url}/healthz"
    async with web.get(url, headers={"X-Request-Id": "mine-1"}) as response:
        assert response.headers["X-Request-Id"] == "mine-1"
    async with web.get(url, headers={"X-Request-Id": "no spaces, please"}) as response:
        assert response.headers["X-Request-Id"].startswith("req_")


# --------------------------------------------------------------------------------- catalogue


async def test_the_sdk_lists_models(parts: Parts) -> None:
    async with sdk(parts) as client:
        names = [model.id async for model in client.models.list()]
        assert {"auto", "espeak", "tts-1"} <= set(names)
        model = await client.models.retrieve("espeak")
        assert model.owned_by == "voiced"
        assert "pitch" in model.model_dump()["options"]["properties"]
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nope")


async def test_open_webui_finds_voices_and_models(parts: Parts, web: aiohttp.ClientSession) -> None:
    async with web.get(f"{parts.http_url}/v1/audio/voices") as response:
        body = await response.json()
        assert body["object"] == "list"
        assert body["voices"] == body["data"]
        assert {"id", "name"} <= body["voices"][0].keys()
    async with web.get(f"{parts.http_url}/v1/audio/voices?model=nope") as response:
        assert response.status == 404
    async with web.get(f"{parts.http_url}/v1/audio/models") as response:
        assert {"id": "espeak"} in (await response.json())["models"]


async def test_metrics_count_speeches(parts: Parts, web: aiohttp.ClientSession) -> None:
    async with web.post(parts.http_url + SPEECH, json={"input": "One."}) as response:
        await response.read()
    async with web.get(f"{parts.http_url}/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        text = await response.text()
    assert 'voiced_speeches_total{backend="espeak",reason="complete"} 1.0' in text
    assert 'voiced_first_audio_seconds_count{backend="espeak"} 1.0' in text


async def test_the_description_names_every_route(parts: Parts, web: aiohttp.ClientSession) -> None:
    async with web.get(f"{parts.http_url}/openapi.json") as response:
        document = await response.json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/audio/speech" in document["paths"]
    for path, methods in document["paths"].items():
        if "{" not in path and "get" in methods:
            async with web.get(parts.http_url + path) as response:
                assert response.status == 200, path


async def test_readiness_needs_a_backend(web: aiohttp.ClientSession) -> None:
    async with running_parts({"bad": scripted(problem=ZeroDivisionError())}) as parts:
        async with web.get(f"{parts.http_url}/readyz") as response:
            assert response.status == 503
        async with web.get(f"{parts.http_url}/healthz") as response:
            assert response.status == 200


# -------------------------------------------------------------------------------- slow clients


@pytest.mark.parametrize(
    "request_part",
    [b"", b"GET /healthz HTTP/1.1\r\nHost: loc", b"POST /v1/audio/speech HTTP/1.1\r\n"],
)
async def test_a_silent_or_dripping_connection_is_closed(request_part: bytes) -> None:
    async with running_parts({"good": scripted()}, read_s=0.2) as parts:
        reader, writer = await asyncio.open_connection("127.0.0.1", parts.http_port)
        writer.write(request_part)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_never_comes_is_not_waited_for() -> None:
    async with running_parts({"good": scripted()}, read_s=0.2) as parts:
        reader, writer = await asyncio.open_connection("127.0.0.1", parts.http_port)
        writer.write(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        answer = await asyncio.wait_for(reader.readline(), 5)
        assert answer.startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


async def test_the_door_drains(web: aiohttp.ClientSession) -> None:
    async with running_parts({"good": scripted()}) as parts:
        body = {"input": "Hello there. " * 100, "response_format": "pcm"}
        response = await web.post(parts.http_url + SPEECH, json=body)
        draining = asyncio.create_task(parts.http.drain())
        await asyncio.sleep(0)
        async with web.post(parts.http_url + SPEECH, json=body) as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "1"
        async with web.get(f"{parts.http_url}/readyz") as unready:
            assert unready.status == 503
        assert not draining.done()
        await response.read()
        await asyncio.wait_for(draining, 5)
