from __future__ import annotations

import json
from typing import Any

import pytest
from bare_session import RATE, TOKEN, Client, frame, start

from voiced.errors import BackendError
from voiced.protocol import messages
from voiced.protocol.actions import (
    Action,
    Authenticated,
    Close,
    ListVoices,
    Start,
    Stop,
    TellStatus,
)
from voiced.protocol.status import BackendStatus, Status
from voiced.request import BackendState, ModelVoice
from voiced.speech import (
    Flushed,
    Notice,
    Priority,
    SegmentEnd,
    SegmentStart,
    Voice,
    Word,
    Words,
)
from voiced.text import SpeechText


def codes(replies: list[dict[str, Any]]) -> list[str]:
    return [reply["error"]["code"] for reply in replies if reply.get("success") is False]


def ends(replies: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [
        (reply["id"], reply["event"]["data"]["reason"])
        for reply in replies
        if reply["type"] == "event" and reply["event"]["type"] == "speech-end"
    ]


# --------------------------------------------------------------------------- authentication


def test_a_session_without_a_token_begins_with_auth_ok() -> None:
    (greeting,) = Client().greeting
    assert greeting["type"] == "auth_ok"
    assert greeting["session"] == "7f3a91c2"
    assert greeting["server"] == {"id": "ab" * 16, "name": "kitchen"}
    assert greeting["limits"]["max_message_bytes"] == 65536
    assert greeting["protocol"] == 1


def test_a_token_is_asked_for_and_opens() -> None:
    client = Client(is_authenticated=False)
    assert client.greeting == [{"type": "auth_required", "voiced_version": "0.1.0", "protocol": 1}]
    assert client.send({"type": "auth", "access_token": TOKEN}) == [Authenticated()]
    assert client.texts()[0]["type"] == "auth_ok"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "auth", "access_token": "wrong"},
        {"type": "auth"},
        {"type": "auth", "access_token": 5},
        {"id": 1, "type": "ping"},
        {"type": "ping", "access_token": TOKEN},
    ],
)
def test_anything_but_the_right_token_closes(message: dict[str, Any]) -> None:
    client = Client(is_authenticated=False)
    (action,) = client.send(message)
    assert isinstance(action, Close)
    assert action.code == 4401
    assert [reply["type"] for reply in client.texts()] == ["auth_invalid"]
    assert client.send({"type": "auth", "access_token": TOKEN}) == []


@pytest.mark.parametrize("message", ["{", b"\x01"])
def test_a_close_ends_what_is_spoken(message: str | bytes) -> None:
    client = Client()
    client.speak(1)
    client.texts()
    actions = client.receive(message)
    assert [type(action) for action in actions] == [Stop, Close]
    assert ends(client.texts()) == [(1, "cancelled")]
    assert client.session.speaking == 0
    assert [type(action) for action in client.session.shut_down()] == [Close]


def test_no_token_in_time_closes() -> None:
    client = Client(is_authenticated=False)
    assert client.session.due_at() == client.time + 10
    client.time += 9.9
    assert client.session.wake() == []
    client.time += 0.1
    (action,) = client.session.wake()
    assert isinstance(action, Close)
    assert action.code == 4408
    assert client.session.due_at() is None
    assert Client().session.due_at() is None


# --------------------------------------------------------------------------------- envelope


@pytest.mark.parametrize("message", ["", "{", "NaN", '{"id": NaN}', "[" * 60_000])
def test_invalid_json_closes(message: str) -> None:
    (action,) = Client().receive(message)
    assert isinstance(action, Close)
    assert action.code == 4400


def test_a_binary_frame_closes() -> None:
    (action,) = Client().receive(b"\x01")
    assert isinstance(action, Close)
    assert action.code == 1003


@pytest.mark.parametrize(
    "message",
    [
        *["5", '"text"', "null", "true", "[5]", "{}", '{"type":"ping"}', '{"id":0,"type":"ping"}'],
        *['{"id":4294967296,"type":"ping"}', '{"id":"1","type":"ping"}', '{"id":true}'],
        *['{"id":1.0,"type":"ping"}', '{"id":-1,"type":"ping"}', "[[]]"],
    ],
)
def test_without_a_valid_id_the_format_is_invalid(message: str) -> None:
    client = Client()
    assert client.receive(message) == []
    (reply,) = client.texts()
    assert (reply["id"], reply["type"], reply["success"]) == (None, "result", False)
    assert reply["error"]["code"] == "invalid_format"
    client.send({"id": 1, "type": "ping"})
    assert client.texts() == [{"id": 1, "type": "pong"}]


@pytest.mark.parametrize("kind", [None, 5, ["ping"], {}])
def test_a_type_that_is_no_string_is_invalid(kind: object) -> None:
    client = Client()
    client.send({"id": 3, "type": kind})
    (reply,) = client.texts()
    assert (reply["id"], reply["error"]["code"]) == (3, "invalid_format")


def test_ids_rise() -> None:
    client = Client()
    for command_id in (5, 5, 4, 6):
        client.send({"id": command_id, "type": "ping"})
    replies = client.texts()
    assert [reply["type"] for reply in replies] == ["pong", "result", "result", "pong"]
    assert codes(replies) == ["id_reuse", "id_reuse"]


def test_an_unknown_command_does_no_harm() -> None:
    client = Client()
    client.send({"id": 1, "type": "make/coffee"})
    client.send({"id": 2, "type": "ping", "unknown": {"field": []}})
    replies = client.texts()
    assert codes(replies) == ["unknown_command"]
    assert replies[1] == {"id": 2, "type": "pong"}


def test_an_array_is_handled_in_order() -> None:
    client = Client()
    client.send(
        {"id": 1, "type": "speak", "input": "a"},
        {"id": 2, "type": "nonsense"},
        {"id": 3, "type": "ping"},
    )
    assert [reply["id"] for reply in client.texts()] == [1, 2, 3]
    assert client.receive("[]") == []


def test_a_long_array_need_not_be_handled_in_one_go() -> None:
    client = Client()
    commands = [{"id": number, "type": "ping"} for number in range(1, 2000)]
    handling = client.session.receive(json.dumps(commands))
    assert next(handling) == []
    assert client.texts() == [{"id": 1, "type": "pong"}]


def test_a_flood_of_errors_closes_and_a_few_do_not() -> None:
    client = Client()
    for command_id in range(1, 150):
        assert client.send({"id": command_id, "type": "nonsense"}) == []
    client.time += 60
    actions = [client.send({"id": i, "type": "nonsense"}) for i in range(150, 400)]
    (action,) = next(found for found in actions if found)
    assert isinstance(action, Close)
    assert action.code == 4429
    assert sum(map(bool, actions)) == 1


# --------------------------------------------------------------------------------- speeches


def test_a_speech_runs_its_course() -> None:
    client = Client()
    (action,) = client.speak(5, priority="high")
    assert isinstance(action, Start)
    assert (action.speech, action.priority) == (5, Priority.HIGH)
    client.time += 0.004
    for event in (
        start(),
        Notice("backend_fallback", "..."),
        SegmentStart(0, 0, 4, 0),
        frame(5000, first=True, first_of_segment=True),
        frame(0, 5000, last=True),
    ):
        client.session.deliver(5, event)
    assert client.session.finish(5) == []
    received = list(client.received())
    kinds = [
        json.loads(item)["event"]["type"] if isinstance(item, str) and "event" in item else item
        for item in received
    ]
    assert json.loads(received[0]) == {
        "id": 5,
        "type": "result",
        "success": True,
        "result": {"speech": 5},
    }
    assert kinds[1:4] == ["speech-start", "notice", "segment"]
    frames = [messages.parse_frame(item) for item in received if isinstance(item, bytes)]
    assert [position for *_, position, _ in frames] == [0, 4096, 5000]
    assert json.loads(received[-1])["event"]["data"] == {
        "reason": "complete",
        "audio_ms": 208,
        "samples": 5000,
        "first_audio_ms": 4,
    }
    assert client.session.speaking == 0


def test_text_without_anything_to_say_has_no_frame() -> None:
    client = Client()
    client.speak(1)
    for event in (start(), Notice("no_speakable_text", "..."), frame(0, first=True, last=True)):
        client.session.deliver(1, event)
    client.session.finish(1)
    received = list(client.received())
    assert all(isinstance(item, str) for item in received)
    assert ends([json.loads(item) for item in received]) == [(1, "complete")]


def test_a_failure_is_told_with_its_error() -> None:
    client = Client()
    client.speak(1)
    client.session.finish(1, BackendError("The engine failed."))
    end = client.texts()[-1]["event"]["data"]
    assert end["reason"] == "failed"
    assert end["error"] == {
        "code": "backend_error",
        "message": "The engine failed.",
        "retryable": True,
    }


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"voice": "nobody"}, "voice_not_found"),
        ({"input": 5}, "invalid_request"),
        ({"speed": "fast"}, "invalid_request"),
        ({"speed": 5}, "invalid_request"),
        ({"response_format": "ogg"}, "format_not_supported"),
        ({"response_format": 1}, "invalid_request"),
        ({"mode": "later"}, "invalid_request"),
        ({"priority": 1}, "invalid_request"),
        ({"sample_rate": 12345}, "invalid_request"),
        ({"sample_rate": 8000.0}, "invalid_request"),
        ({"model_specific_options": []}, "invalid_request"),
        ({"marks": "letter"}, "invalid_request"),
        ({"window_ms": 199}, "invalid_request"),
        ({"window_ms": 60_001}, "invalid_request"),
        ({"window_ms": 500.5}, "invalid_request"),
    ],
)
def test_a_wrong_request_is_refused_and_opens_nothing(fields: dict[str, Any], code: str) -> None:
    client = Client()
    assert client.speak(1, **fields) == []
    (reply,) = client.texts()
    assert reply["error"]["code"] == code
    assert reply["error"]["param"] == next(iter(fields))
    assert client.session.speaking == 0


def test_unknown_and_null_fields_are_ignored() -> None:
    client = Client()
    assert client.speak(1, nonsense=1, voice=None, model=None, speed=None)
    assert client.texts()[0]["success"]


def test_speeches_queue_up_in_order() -> None:
    client = Client()
    assert len(client.speak(1)) == 1
    assert client.speak(2) == []
    assert client.speak(3) == []
    (action,) = client.session.finish(1)
    assert isinstance(action, Start)
    assert action.speech == 2


def test_a_parallel_speech_does_not_wait_and_a_queued_one_waits_for_it() -> None:
    client = Client()
    client.speak(1)
    (action,) = client.speak(2, mode="parallel")
    assert isinstance(action, Start)
    assert client.speak(3) == []
    assert client.session.finish(1) == []
    assert [a.speech for a in client.session.finish(2) if isinstance(a, Start)] == [3]


def test_replace_ends_the_others_before_its_own_result() -> None:
    client = Client()
    client.speak(1)
    client.speak(2)
    client.texts()
    actions = client.speak(3, mode="replace")
    assert [type(action) for action in actions] == [Stop, Start]
    replies = client.texts()
    assert ends(replies) == [(1, "replaced"), (2, "replaced")]
    assert replies[-1]["result"] == {"speech": 3}


def test_a_wrong_replacement_replaces_nothing() -> None:
    client = Client()
    client.speak(1)
    client.texts()
    assert client.speak(2, mode="replace", voice="nobody") == []
    assert ends(client.texts()) == []
    assert client.session.speaking == 1


def test_a_cancel_is_a_fence() -> None:
    client = Client()
    client.speak(1)
    client.session.deliver(1, start())
    client.session.deliver(1, frame(4000))
    client.session.pop()  # the result
    client.session.pop()  # speech-start
    assert client.send({"id": 2, "type": "speech/cancel", "speech": 1}) == [Stop(1)]
    client.session.deliver(1, frame(4000))
    client.session.finish(1)
    received = list(client.received())
    assert all(isinstance(item, str) for item in received)
    end, result = (json.loads(item) for item in received)
    assert ends([end]) == [(1, "cancelled")]
    assert end["event"]["data"]["samples"] == 0
    assert result["result"] == {"speech": 1, "state": "cancelled"}


def test_a_cancel_of_a_speech_whose_audio_waits_takes_the_audio_back() -> None:
    client = Client()
    client.speak(1)
    client.session.deliver(1, frame(4000))
    client.session.finish(1)
    assert client.send({"id": 2, "type": "speech/cancel", "speech": 1}) == []
    received = list(client.received())
    assert all(isinstance(item, str) for item in received)
    assert ends([json.loads(item) for item in received]) == [(1, "cancelled")]


def test_a_cancel_is_idempotent() -> None:
    client = Client()
    client.speak(1)
    for command_id, speech in ((2, 1), (3, 1), (4, 99), (5, 0), (6, 2**32)):
        client.send({"id": command_id, "type": "speech/cancel", "speech": speech, "quiet": True})
    states = [
        reply["result"]["state"] for reply in client.texts() if reply.get("result", {}).get("state")
    ]
    assert states == ["cancelled", *["inactive"] * 4]


def test_a_cancel_lets_the_next_one_begin() -> None:
    client = Client()
    client.speak(1)
    client.speak(2)
    actions = client.send({"id": 3, "type": "speech/cancel", "speech": 1})
    assert [type(action) for action in actions] == [Stop, Start]


def test_a_cancel_tells_what_was_heard() -> None:
    client = Client()
    client.speak(1)
    client.session.deliver(1, SegmentStart(0, 0, 4, 0))
    client.session.deliver(1, frame(RATE))
    client.session.deliver(1, Words((Word(0, 3, 0),), is_estimated=False))
    client.session.deliver(1, SegmentEnd(0, RATE))
    client.session.deliver(1, SegmentStart(1, 5, 9, RATE))
    client.session.deliver(1, Words((Word(5, 8, RATE),), is_estimated=False))
    client.session.deliver(1, frame(RATE, RATE))
    client.texts()
    client.send({"id": 2, "type": "speech/cancel", "speech": 1, "played_ms": 1500})
    result = client.texts()[-1]["result"]
    assert result["text_spoken"] == "One. "
    assert result["text_remaining"] == "Two."
    assert result["exact"] is True


def test_nobody_heard_more_than_was_sent() -> None:
    client = Client()
    client.speak(1)
    client.session.deliver(1, SegmentStart(0, 0, 4, 0))
    client.session.deliver(1, frame(RATE))
    client.send({"id": 2, "type": "speech/cancel", "speech": 1, "played_ms": 99_999})
    assert client.texts()[-1]["result"]["text_spoken"] == ""


def test_of_a_segment_still_being_made_no_more_is_heard_than_was_played() -> None:
    text = "This is one long sentence that has only begun to be made when it is cut off, is it not."
    client = Client()
    client.speak(1, input=text)
    client.session.deliver(1, SegmentStart(0, 0, len(text), 0))
    client.session.deliver(1, frame(RATE // 2))
    client.texts()
    client.send({"id": 2, "type": "speech/cancel", "speech": 1, "played_ms": 300})
    assert len(client.texts()[-1]["result"]["text_spoken"]) < 10


def test_clear_cancels_all() -> None:
    client = Client()
    client.speak(1)
    client.speak(2)
    client.texts()
    assert client.send({"id": 3, "type": "clear", "quiet": True}) == [Stop(1)]
    replies = client.texts()
    assert ends(replies) == [(1, "cancelled"), (2, "cancelled")]
    assert replies[-1]["result"] == {"cancelled": [1, 2]}


def test_too_many_speeches_are_an_error_and_an_end_makes_room() -> None:
    client = Client(max_speeches=2)
    client.speak(1)
    client.speak(2)
    client.texts()
    client.speak(3)
    assert codes(client.texts()) == ["too_many_speeches"]
    client.session.finish(1)
    client.texts()
    client.speak(4)
    assert client.texts()[0]["success"]


def test_quiet_suppresses_success_and_no_error() -> None:
    client = Client()
    client.speak(1, quiet=True)
    assert client.texts() == []
    client.speak(2, quiet=True, voice="nobody")
    assert codes(client.texts()) == ["voice_not_found"]


def test_a_speech_has_room_for_a_moment_of_audio() -> None:
    client = Client()
    client.speak(1)
    assert client.session.has_room(1)
    for at in range(4):
        client.session.deliver(1, frame(RATE // 4, at * RATE // 4))
    assert not client.session.has_room(1)
    list(client.received())
    assert client.session.has_room(1)


def test_a_draining_session_takes_no_speech_and_shutdown_ends_those_there_are() -> None:
    client = Client()
    client.speak(1)
    client.session.drain()
    client.speak(2)
    assert codes(client.texts()) == ["shutting_down"]
    stop, close = client.session.shut_down()
    assert stop == Stop(1)
    assert isinstance(close, Close)
    assert close.code == 1001
    assert ends(client.texts()) == [(1, "shutdown")]


# ---------------------------------------------------------------------------------- lists


def test_models_are_listed_with_the_cure_where_there_is_one() -> None:
    client = Client()
    client.send({"id": 1, "type": "models/list"})
    first, second = client.texts()[0]["result"]["models"]
    assert first == {"id": "a", "backend": "fake", "state": "ready", "local": True, "options": {}}
    assert second["cure"] == "Do it."


def test_voices_are_looked_up_by_the_owner() -> None:
    client = Client()
    (action,) = client.send({"id": 1, "type": "voices/list", "language": "en"})
    assert action == ListVoices(1, None, "en", is_quiet=False)
    assert isinstance(action, ListVoices)
    voice = Voice("one", "One", ("en",), RATE)
    client.session.answer_voices(action, [ModelVoice("fake", voice)])
    assert client.texts()[0]["result"] == {
        "voices": [
            {
                "id": "one",
                "name": "One",
                "languages": ["en"],
                "model": "fake",
                "sample_rate": RATE,
                "marks": "segment",
            }
        ]
    }


# -------------------------------------------------------------------------------- coalescing


def test_messages_are_joined_where_the_client_can_take_it() -> None:
    client = Client()
    client.send({"id": 1, "type": "supported_features", "features": {"coalesce_messages": 1}})
    client.send({"id": 2, "type": "ping"}, {"id": 3, "type": "ping"})
    (batch,) = client.received()
    assert isinstance(batch, str)
    assert [reply["id"] for reply in json.loads(batch)] == [1, 2, 3]
    client.send({"id": 4, "type": "ping"})
    assert client.texts() == [{"id": 4, "type": "pong"}]  # one alone is no array


def test_frames_stay_between_the_events_that_they_came_between() -> None:
    client = Client()
    client.send({"id": 1, "type": "supported_features", "features": {"coalesce_messages": 1}})
    client.speak(2)
    client.session.deliver(2, start())
    client.session.deliver(2, SegmentStart(0, 0, 4, 0))
    client.session.deliver(2, frame(100))
    client.session.finish(2)
    opening, audio, end = client.received()
    assert len(json.loads(opening)) == 4
    assert isinstance(audio, bytes)
    assert json.loads(end)["event"]["type"] == "speech-end"


@pytest.mark.parametrize("features", [{}, {"coalesce_messages": 0}, {"other": 5}])
def test_without_the_feature_each_message_goes_alone(features: dict[str, Any]) -> None:
    client = Client()
    client.send({"id": 1, "type": "supported_features", "features": features})
    client.send({"id": 2, "type": "ping"})
    assert len(client.texts()) == 2


@pytest.mark.parametrize("features", [5, "coalesce_messages", ["coalesce_messages"]])
def test_wrong_features_are_told(features: object) -> None:
    client = Client()
    client.send({"id": 1, "type": "supported_features", "features": features})
    assert codes(client.texts()) == ["invalid_request"]


# ------------------------------------------------------------------------------------ status


def status(speaking: int = 0) -> Status:
    return Status("ready", 1, speaking, 0, (BackendStatus("espeak", BackendState.READY),))


def told(client: Client) -> list[tuple[int, int]]:
    """Return which subscriptions heard of how many speeches."""
    return [
        (reply["id"], reply["event"]["data"]["speaking"])
        for reply in client.texts()
        if reply["type"] == "event"
    ]


def test_a_subscriber_is_told_at_once_and_then_what_has_changed() -> None:
    client = Client()
    assert not client.session.is_subscribed
    assert client.send({"id": 1, "type": "subscribe_status"}) == [TellStatus()]
    assert client.session.is_subscribed
    assert client.texts() == [{"id": 1, "type": "result", "success": True, "result": None}]
    client.session.tell(status())
    (event,) = client.texts()
    assert event == {
        "id": 1,
        "type": "event",
        "event": {
            "type": "status",
            "data": {
                "state": "ready",
                "sessions": 1,
                "speaking": 0,
                "queued": 0,
                "backends": [{"id": "espeak", "state": "ready"}],
            },
        },
    }
    client.time += 9
    client.session.tell(status())
    assert told(client) == []
    client.session.tell(status(speaking=1))
    assert told(client) == [(1, 1)]


def test_a_subscriber_is_told_at_most_twice_a_second() -> None:
    client = Client()
    client.send({"id": 1, "type": "subscribe_status"})
    client.texts()
    heard = []
    for step in range(30):
        client.session.tell(status(step))
        heard += told(client)
        client.time += 0.125
    assert len(heard) == 8  # in 3.75 s
    client.send({"id": 2, "type": "subscribe_status"})
    client.texts()
    client.session.tell(status(99))
    assert (2, 99) in told(client)


def test_a_client_that_does_not_read_is_told_less() -> None:
    client = Client()
    client.send({"id": 1, "type": "subscribe_status"})
    for step in range(100):
        client.session.tell(status(step))
        client.time += 1
    assert len(list(client.received())) == 1  # the result; nothing was piled up behind it
    client.session.tell(status(100))
    assert told(client) == [(1, 100)]


def test_an_unsubscription_ends_it_and_twice_does_no_harm() -> None:
    client = Client()
    client.send({"id": 1, "type": "subscribe_status"})
    client.send({"id": 2, "type": "unsubscribe_events", "subscription": 1})
    client.send({"id": 3, "type": "unsubscribe_events", "subscription": 1})
    assert not client.session.is_subscribed
    client.send({"id": 4, "type": "unsubscribe_events"})
    assert codes(client.texts()) == ["invalid_request"]
    client.session.tell(status())
    assert told(client) == []


def test_subscriptions_are_bounded() -> None:
    client = Client()
    for command_id in range(1, 10):
        client.send({"id": command_id, "type": "subscribe_status"})
    assert codes(client.texts()) == ["invalid_request"]


# ---------------------------------------------------------------------- windows and priority


def windowed(window_ms: int, **fields: Any) -> Client:
    """A client with speech 1 under way, and four quarters of a second delivered."""
    client = Client(**fields)
    client.speak(1, window_ms=window_ms)
    client.session.deliver(1, start())
    for quarter in range(4):
        client.session.deliver(1, frame(RATE // 4, quarter * RATE // 4))
    return client


def sent_ms(client: Client) -> float:
    """Return how much audio goes out now."""
    frames = [m for m in client.received() if isinstance(m, bytes)]
    return sum(len(message) - 16 for message in frames) / 2 / RATE * 1000


def progress(client: Client, command_id: int, played_ms: object) -> list[Action]:
    return client.send(
        {"id": command_id, "type": "speech/progress", "speech": 1, "played_ms": played_ms}
    )


def test_no_more_is_sent_than_was_played_and_the_window() -> None:
    client = windowed(500)
    assert sent_ms(client) <= 500
    assert sent_ms(client) == 0
    progress(client, 2, 250.0)
    total = sent_ms(client)
    assert 0 < total <= 250
    progress(client, 3, 250)
    progress(client, 4, 0)  # it never goes back
    assert sent_ms(client) == 0
    progress(client, 5, 10_000)  # all that was sent
    assert sent_ms(client) == 250


def test_an_underrun_is_when_all_was_played_and_more_is_to_come() -> None:
    client = windowed(500)
    list(client.received())
    progress(client, 2, 250)
    list(client.received())
    assert client.session.underruns == 0
    progress(client, 3, 750)
    progress(client, 4, 750)  # says nothing new
    assert client.session.underruns == 1
    list(client.received())
    client.session.finish(1)
    progress(client, 5, 1000)
    assert client.session.underruns == 1


def test_a_closed_window_leaves_no_room() -> None:
    client = windowed(200)
    list(client.received())
    assert not client.session.has_room(1)


def test_events_take_room_too() -> None:
    client = windowed(200)
    for number in range(200):
        if not client.session.has_room(1):
            break
        client.session.deliver(1, Flushed(number, 0))
    assert number < 200 - 1
    quiet = Client()
    quiet.speak(1)
    for number in range(1000):
        if not quiet.session.has_room(1):
            break
        quiet.session.deliver(1, Flushed(number, 0))
    assert 100 < number < 200


@pytest.mark.parametrize("played", ["1e308", "1" + "0" * 300])
def test_what_was_played_may_be_any_number(played: str) -> None:
    client = windowed(200)
    list(client.received())
    for command_id, kind in ((2, "speech/progress"), (3, "speech/cancel")):
        client.receive(f'{{"id":{command_id},"type":"{kind}","speech":1,"played_ms":{played}}}')
    assert client.texts()[-1]["result"]["state"] == "cancelled"


def test_one_closed_window_holds_up_nobody_else() -> None:
    client = windowed(200)
    list(client.received())
    client.speak(2, mode="parallel")
    client.session.deliver(2, start())
    client.session.deliver(2, frame(RATE))
    assert sent_ms(client) == 1000
    client.send({"id": 3, "type": "ping"})
    assert client.texts() == [{"id": 3, "type": "pong"}]


def test_a_queued_speech_waits_until_the_one_before_it_fits_into_its_window() -> None:
    client = windowed(500)
    client.speak(2)
    assert client.session.finish(1) == []
    list(client.received())
    (action,) = progress(client, 3, 500)
    assert isinstance(action, Start)
    assert action.speech == 2


def test_a_speech_whose_window_stays_closed_ends() -> None:
    client = windowed(500, stalled_s=30)
    client.time += 100  # nothing was closed yet: nobody has sent anything
    list(client.received())
    assert client.session.due_at() == client.time + 30
    client.time += 20
    progress(client, 2, 100)  # moves, though too little to let the next frame through
    list(client.received())
    client.time += 20
    progress(client, 3, 100)  # moves nothing
    assert client.session.wake() == []
    client.time += 10
    assert client.session.wake() == [Stop(1)]
    (end,) = (text for text in client.texts() if text["type"] == "event")
    assert end["event"]["data"]["reason"] == "stalled"
    assert end["event"]["data"]["error"]["code"] == "timeout"
    assert client.session.due_at() is None


def test_an_open_window_may_be_idle() -> None:
    client = windowed(5000)
    list(client.received())
    assert client.session.due_at() is None


@pytest.mark.parametrize("played", [-1, "1", None, True])
def test_wrong_progress_is_told(played: object) -> None:
    client = windowed(500)
    list(client.received())
    progress(client, 2, played)
    assert client.texts()[0]["error"]["param"] == "played_ms"


def test_progress_of_a_speech_that_is_over_does_no_harm() -> None:
    client = Client()
    client.send({"id": 1, "type": "speech/progress", "speech": 99, "played_ms": 5})
    assert client.texts()[0]["result"] is None


def test_high_priority_goes_before_normal_speeches_that_have_begun_or_not() -> None:
    client = Client()
    client.speak(1)
    client.speak(2)
    (action,) = client.speak(3, priority="high")
    assert isinstance(action, Start)
    assert action.speech == 3
    assert client.session.finish(1) == []  # 2 waits for 3 as well
    client.session.deliver(3, frame(100))
    client.texts()
    (action,) = client.session.finish(3)
    assert isinstance(action, Start)
    assert action.speech == 2


def test_frames_of_high_priority_go_first() -> None:
    client = Client()
    client.speak(1)
    client.speak(2, priority="high")
    client.texts()
    client.session.deliver(1, frame(100))
    client.session.deliver(2, frame(100))
    frames = [messages.parse_frame(m) for m in client.received() if isinstance(m, bytes)]
    assert [speech for _, _, _, speech, _, _ in frames] == [2, 1]


# ------------------------------------------------------------------------------------- marks


def marked(marks: str, *, is_estimated: bool = False) -> dict[str, Any]:
    """Return the data of the marks of a segment of two words."""
    client = Client()
    client.speak(1, marks=marks)
    client.session.deliver(1, start())
    client.session.deliver(1, SegmentStart(0, 0, 9, RATE, 2400))
    client.session.deliver(1, frame(RATE * 2, RATE))
    words = (Word(0, 3, RATE + 2400), Word(5, 8, RATE * 2))
    client.session.deliver(1, Words(words, is_estimated=is_estimated))
    client.session.deliver(1, SegmentEnd(0, RATE * 3))
    *_, last = client.texts()
    return dict(last["event"]) if last["event"]["type"] == "marks" else {}


def test_marks_follow_their_segment() -> None:
    assert marked("word")["data"] == {
        "segment": 0,
        "estimated": False,
        "marks": [[0, 3, 1100, 2000], [5, 8, 2000, 3000]],
    }
    assert marked("segment")["data"] == {
        "segment": 0,
        "estimated": False,
        "marks": [[0, 9, 1100, 3000]],
    }
    assert marked("none") == {}


def test_what_was_computed_is_called_estimated() -> None:
    assert marked("word", is_estimated=True)["data"]["estimated"] is True
    assert marked("segment", is_estimated=True)["data"]["estimated"] is False


# ------------------------------------------------------------------------- incremental text


def opened(client: Client, **fields: Any) -> SpeechText:
    """Open speech 1 and return its text."""
    (action,) = client.send({"id": 1, "type": "speech/open", **fields})
    assert isinstance(action, Start)
    assert client.texts()[0]["result"] == {"speech": 1}
    return action.plan.text


def test_text_comes_piece_by_piece() -> None:
    client = Client()
    text = opened(client, max_delay_ms=500)
    assert text.max_delay_s == 0.5
    client.send({"id": 2, "type": "speech/text", "speech": 1, "text": "One "})
    client.send({"id": 3, "type": "speech/flush", "speech": 1})
    client.send(
        {"id": 4, "type": "speech/text", "speech": 1, "text": ""},
        {"id": 5, "type": "speech/text", "speech": 1, "text": "\ud83d", "quiet": True},
    )
    client.send({"id": 6, "type": "speech/flush", "speech": 1})
    assert not text.is_ended
    client.send({"id": 7, "type": "speech/end", "speech": 1})
    assert (text.read(0, 5), text.is_ended) == ("One \ud83d", True)
    assert [(reply["id"], reply["result"]) for reply in client.texts()] == [
        (2, None),
        (3, {"flush": 1}),
        (4, None),
        (6, {"flush": 2}),
        (7, None),
    ]
    client.session.deliver(1, Flushed(1, 4711))
    assert client.texts()[0]["event"] == {
        "type": "flushed",
        "data": {"flush": 1, "position": 4711},
    }


@pytest.mark.parametrize("kind", ["speech/text", "speech/flush", "speech/end"])
def test_a_speech_that_takes_no_text_is_closed(kind: str) -> None:
    client = Client()
    client.speak(1)  # its text is whole
    client.send({"id": 2, "type": "speech/open"})
    client.send({"id": 3, "type": "speech/open"})
    client.send({"id": 4, "type": "speech/end", "speech": 2})
    client.send({"id": 5, "type": "speech/cancel", "speech": 3})
    client.texts()
    for command_id, speech in enumerate((1, 2, 3, 99), 6):
        client.send({"id": command_id, "type": kind, "speech": speech, "text": "x"})
    replies = client.texts()
    assert codes(replies) == ["speech_closed"] * 4
    assert replies[0]["error"]["param"] == "speech"


def test_too_much_text_is_refused_and_the_speech_lives_on() -> None:
    client = Client(max_input_chars=5, max_speech_chars=8)
    text = opened(client)
    for command_id, part in enumerate(("x" * 6, "x" * 5, "y" * 4, "y" * 3), 2):
        client.send({"id": command_id, "type": "speech/text", "speech": 1, "text": part})
    replies = client.texts()
    assert [reply["success"] for reply in replies] == [False, True, False, True]
    assert codes(replies) == ["text_too_long"] * 2
    assert text.read(0, 8) == "xxxxxyyy"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": 5}, "text"),
        ({}, "text"),
        ({"text": "x", "speech": "1"}, "speech"),
        ({"text": "x", "speech": None}, "speech"),
    ],
)
def test_wrong_text_is_told(fields: dict[str, Any], param: str) -> None:
    client = Client()
    opened(client)
    client.send({"id": 2, "type": "speech/text", "speech": 1, **fields})
    (reply,) = client.texts()
    assert (reply["error"]["code"], reply["error"]["param"]) == ("invalid_request", param)


@pytest.mark.parametrize("delay", [-1, 5001, 1.5, "100"])
def test_a_delay_has_bounds(delay: object) -> None:
    client = Client()
    client.send({"id": 1, "type": "speech/open", "max_delay_ms": delay})
    assert client.texts()[0]["error"]["param"] == "max_delay_ms"


def test_flushes_that_wait_are_bounded() -> None:
    client = Client()
    opened(client)
    for command_id in range(2, 300):
        client.send({"id": command_id, "type": "speech/flush", "speech": 1, "quiet": True})
    refused = codes(client.texts())
    assert set(refused) == {"overloaded"}
    assert len(refused) == 298 - 256


def test_a_speech_without_text_for_too_long_ends() -> None:
    client = Client(idle_text_ms=1000)
    opened(client)
    client.speak(2)  # waits behind it
    client.texts()
    assert client.session.due_at() == client.time + 1
    client.time += 0.9
    client.send({"id": 3, "type": "speech/text", "speech": 1, "text": ""})  # keeps it open
    client.send({"id": 4, "type": "speech/flush", "speech": 1})  # does not
    client.time += 0.9
    assert client.session.wake() == []
    client.texts()
    client.time += 0.2
    stop, start = client.session.wake()
    assert stop == Stop(1)
    assert isinstance(start, Start)
    assert start.speech == 2
    (end,) = client.texts()
    assert end["event"]["data"]["reason"] == "timeout"
    assert end["event"]["data"]["error"]["code"] == "timeout"
    assert client.session.due_at() is None


def test_a_speech_with_all_its_text_has_all_the_time() -> None:
    client = Client(idle_text_ms=1000)
    opened(client)
    client.send({"id": 2, "type": "speech/end", "speech": 1})
    client.time += 100
    assert client.session.due_at() is None
    assert client.session.wake() == []


def test_a_cancel_splits_all_the_text_so_far() -> None:
    client = Client()
    opened(client)
    client.send({"id": 2, "type": "speech/text", "speech": 1, "text": "One. "})
    client.session.deliver(1, start())
    client.session.deliver(1, SegmentStart(0, 0, 4, 0))
    client.session.deliver(1, frame(2400))
    client.send({"id": 3, "type": "speech/text", "speech": 1, "text": "Two"})
    list(client.received())
    client.send({"id": 4, "type": "speech/cancel", "speech": 1, "played_ms": 60_000})
    result = client.texts()[-1]["result"]
    assert result["text_spoken"] + result["text_remaining"] == "One. Two"
