"""OpenAI's speech API, without I/O: the shapes of its bodies, and our errors as its errors."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from voiced.errors import RequestError, VoicedError
from voiced.protocol.messages import decode, encode
from voiced.request import ModelInfo, ModelVoice, OpenAISpeechRequest, parse
from voiced.speech import AudioFormat

_STATUS: Mapping[str, HTTPStatus] = MappingProxyType(
    {
        "model_not_found": HTTPStatus.NOT_FOUND,
        "unauthorized": HTTPStatus.UNAUTHORIZED,
        "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
        "too_many_speeches": HTTPStatus.TOO_MANY_REQUESTS,
        "upstream_quota": HTTPStatus.TOO_MANY_REQUESTS,
        "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
        "shutting_down": HTTPStatus.SERVICE_UNAVAILABLE,
        "backend_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
        "backend_error": HTTPStatus.BAD_GATEWAY,
        "upstream_auth": HTTPStatus.BAD_GATEWAY,
        "timeout": HTTPStatus.GATEWAY_TIMEOUT,
        "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)
_OPENAI_CODES: Mapping[str, str] = MappingProxyType(
    {"text_too_long": "string_above_max_length", "unauthorized": "invalid_api_key"}
)
_CHARACTERS_PER_TOKEN = 4  # as OpenAI's own rule of thumb for English has it
_TOKENS_PER_SECOND = 20  # of audio, by OpenAI's price of speech a minute


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as HTTP tells it."""

    status: HTTPStatus
    body: dict[str, Any]
    headers: dict[str, str]


def error_answer(error: VoicedError) -> ErrorAnswer:
    """Say an error of ours in OpenAI's words."""
    status = _STATUS.get(error.code, HTTPStatus.BAD_REQUEST)
    code = _OPENAI_CODES.get(error.code, error.code)
    return answer(status, error.message, code=code, param=error.param, is_retryable=error.retryable)


def answer(
    status: HTTPStatus,
    message: str,
    *,
    code: str,
    param: str | None = None,
    is_retryable: bool = False,
) -> ErrorAnswer:
    """Make an error body, with the headers that tell clients whether to come again."""
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    headers = {} if is_retryable else {"x-should-retry": "false"}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = "1"
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return ErrorAnswer(status, body, headers)


def read_request(body: bytes) -> OpenAISpeechRequest:
    """Parse the body of `POST /v1/audio/speech`.

    Raises:
        RequestError: it is not JSON, or not such a request.
    """
    try:
        content = decode(body.decode("utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RequestError("The body is not a JSON object (NaN and Infinity are not JSON).")
    return parse(OpenAISpeechRequest, content)


def models_body(models: list[ModelInfo]) -> dict[str, Any]:
    """Return OpenAI's list of models."""
    return {"object": "list", "data": [_model(info) for info in models]}


def model_body(info: ModelInfo) -> dict[str, Any]:
    """Return one model, with the schema of its options."""
    return _model(info) | {"options": info.options}


def _model(info: ModelInfo) -> dict[str, Any]:
    listed = {"id": info.id, "object": "model", "created": 0, "owned_by": "voiced"}
    return listed | {k: v for k, v in info.as_dict().items() if k not in ("id", "options")}


def voices_body(voices: list[ModelVoice]) -> dict[str, Any]:
    """Return the voices, under both names that clients look for."""
    listed = [voice.as_dict() for voice in voices]
    return {"object": "list", "data": listed, "voices": listed}


def sse_delta(data: bytes) -> bytes:
    """Write audio as a server-sent event."""
    audio = base64.b64encode(data).decode()
    return _sse({"type": "speech.audio.delta", "audio": audio})


def sse_done(*, characters: int, audio_s: float) -> bytes:
    """Write the last server-sent event; the tokens are estimates, we have none."""
    tokens_in = math.ceil(characters / _CHARACTERS_PER_TOKEN)
    tokens_out = math.ceil(audio_s * _TOKENS_PER_SECOND)
    usage = {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }
    return _sse({"type": "speech.audio.done", "usage": usage})


def sse_error(error: VoicedError) -> bytes:
    """Write a failure after the first audio."""
    return _sse({"type": "error", **error_answer(error).body})


def _sse(event: dict[str, Any]) -> bytes:
    return f"data: {encode(event)}\n\n".encode()


def openapi(version: str, media_types: Mapping[AudioFormat, str]) -> dict[str, Any]:
    """Describe the HTTP door."""
    schema = OpenAISpeechRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    error = {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
        "required": ["error"],
    }
    failure = {"description": "Failed", "content": _json({"$ref": "#/components/schemas/Error"})}
    audio = {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types.values()
    }
    audio["text/event-stream"] = {"schema": {"type": "string"}}
    speech = {
        "summary": "Speak a text",
        "operationId": "createSpeech",
        "requestBody": {
            "required": True,
            "content": _json({"$ref": "#/components/schemas/OpenAISpeechRequest"}),
        },
        "responses": {
            "200": {"description": "The audio, as it is made", "content": audio},
            "default": failure,
        },
    }
    reads = {
        "/v1/models": "List the models",
        "/v1/audio/voices": "List the voices",
        "/v1/audio/models": "List the models, in short",
        "/healthz": "Tell whether the daemon is alive",
        "/readyz": "Tell whether it can speak",
    }
    paths: dict[str, Any] = {"/v1/audio/speech": {"post": speech}}
    for path, summary in reads.items():
        paths[path] = {"get": _read(summary, failure)}
    paths["/v1/models/{id}"] = {"get": _read("Describe a model", failure, "id", "path")}
    paths["/v1/audio/voices"]["get"] |= _parameter("model", "query")
    return {
        "openapi": "3.1.0",
        "info": {"title": "voiced", "version": version},
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": {"OpenAISpeechRequest": schema, "Error": error},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _read(summary: str, failure: Any, name: str = "", place: str = "") -> dict[str, Any]:
    found = {"description": "Found", "content": _json({"type": "object"})}
    operation = {"summary": summary, "responses": {"200": found, "default": failure}}
    return operation | (_parameter(name, place) if name else {})


def _parameter(name: str, place: str) -> dict[str, Any]:
    parameter = {"name": name, "in": place, "schema": {"type": "string"}}
    return {"parameters": [parameter | ({"required": True} if place == "path" else {})]}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def body_bytes(body: Mapping[str, object]) -> bytes:
    """Write a JSON body."""
    return encode(dict(body)).encode()
