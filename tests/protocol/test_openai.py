from __future__ import annotations

import base64
import json

import pytest

from voiced import errors
from voiced.errors import VoicedError
from voiced.protocol import openai


def all_errors(base: type[VoicedError] = VoicedError) -> list[type[VoicedError]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in all_errors(child))]


WIRE_ERRORS = [
    kind
    for kind in all_errors()
    if kind.__module__ == errors.__name__ and kind is not errors.ConfigError
]


@pytest.mark.parametrize("kind", WIRE_ERRORS)
def test_every_error_has_openai_s_four_keys_and_says_whether_to_retry(
    kind: type[VoicedError],
) -> None:
    answer = openai.error_answer(kind("It is so.", param="voice"))
    assert set(answer.body["error"]) == {"message", "type", "param", "code"}
    assert 400 <= answer.status < 600
    assert ("x-should-retry" in answer.headers) == (not kind.retryable)
    assert ("Retry-After" in answer.headers) == (answer.status in (429, 503))


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (errors.RequestError, 400, "invalid_request"),
        (errors.TextTooLong, 400, "string_above_max_length"),
        (errors.VoiceNotFound, 400, "voice_not_found"),
        (errors.InvalidOption, 400, "invalid_option"),
        (errors.FormatNotSupported, 400, "format_not_supported"),
        (errors.Unauthorized, 401, "invalid_api_key"),
        (errors.ModelNotFound, 404, "model_not_found"),
        (errors.VoicedError, 500, "internal_error"),
        (errors.BackendError, 502, "backend_error"),
        (errors.BackendUnavailable, 503, "backend_unavailable"),
        (errors.ShuttingDown, 503, "shutting_down"),
        (errors.SpeechTimeout, 504, "timeout"),
    ],
)
def test_statuses(kind: type[VoicedError], status: int, code: str) -> None:
    answer = openai.error_answer(kind("It is so."))
    assert (answer.status, answer.body["error"]["code"]) == (status, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b'{"input": NaN}', b"null"])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(errors.RequestError):
        openai.read_request(body)


def test_sse_carries_the_bytes_and_the_usage() -> None:
    delta = openai.sse_delta(b"\x00\xff")
    assert delta.startswith(b"data: {")
    assert delta.endswith(b"\n\n")
    event = json.loads(delta.removeprefix(b"data: "))
    assert event["type"] == "speech.audio.delta"
    assert base64.b64decode(event["audio"]) == b"\x00\xff"
    done = json.loads(openai.sse_done(characters=9, audio_s=1.5).removeprefix(b"data: "))
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 3, "output_tokens": 30, "total_tokens": 33},
    }
    failed = json.loads(openai.sse_error(VoicedError("Oh.")).removeprefix(b"data: "))
    assert failed["type"] == "error"
    assert failed["error"]["code"] == "internal_error"
