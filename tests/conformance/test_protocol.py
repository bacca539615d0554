"""The wire contract of `voiced.v1`, from outside: what a client may rely on, and no more.

Without VOICED_CONFORMANCE_URL a daemon's parts are started here, with espeak behind them. With it
(and VOICED_TOKEN) the same tests run against that address; those which need limits of their own
are skipped there. `promises.Checker` sees every message of every test.

    file                       needs
    -------------------------  -------------------------------------------------------
    test_protocol.py           nothing: session start, envelope, lists
    test_protocol_speak.py     speak: formats, errors, positions, modes and order
    test_protocol_cancel.py    speak, speech/cancel, clear
    test_protocol_text.py      speech/open, speech/text, speech/flush, speech/end
    test_protocol_window.py    window_ms, speech/progress; marks and speech/open where named
    test_protocol_marks.py     marks; window_ms and speech/open where named
    test_protocol_status.py    subscribe_status, unsubscribe_events
    test_protocol_together.py  supported_features; and all of the above at once
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from doors import Door, close_code, first_message, own_daemon
from heard import LARGEST_ID
from texts import SHORT
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wire import Wire

# ------------------------------------------------------------------------------------ session start


@pytest.mark.parametrize("offered", [None, ["voiced.v1"], ["other", "voiced.v1"], ["other"]])
async def test_the_subprotocol_is_echoed_and_never_demanded(
    door: Door, offered: list[Any] | None
) -> None:
    async with door.dial(subprotocols=offered) as wire:
        expected = "voiced.v1" if offered and "voiced.v1" in offered else None
        assert wire.connection.subprotocol == expected


async def test_nothing_is_compressed(door: Door) -> None:
    async with door.dial(compression="deflate") as wire:
        assert wire.connection.protocol.extensions == []


async def test_a_token_in_the_url_is_a_bad_request(door: Door) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await door.knock("?token=x")
    assert caught.value.response.status_code == 400


async def test_a_foreign_origin_is_refused(door: Door) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await door.knock(origin="https://evil.example")
    assert caught.value.response.status_code == 403


async def test_a_page_of_the_same_host_is_let_in(door: Door) -> None:
    async with door.dial(origin=f"http://{door.netloc}") as wire:
        await wire.ping()


async def test_a_foreign_host_is_refused(door: Door) -> None:
    address = urlsplit(door.url)
    foreign = f"ws://evil.example:{address.port}{address.path}"
    with pytest.raises(InvalidStatus) as caught:
        await connect(foreign, host=address.hostname, port=address.port, proxy=None)
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "voiced", "kitchen.local", "192.168.1.7", "[::1]"])
async def test_a_host_of_the_home_is_let_in(door: Door, host: str) -> None:
    address = urlsplit(door.url)
    url = f"ws://{host}:{address.port}{address.path}"
    async with connect(url, host=address.hostname, port=address.port, proxy=None) as connection:
        assert (await first_message(connection))["type"] in {"auth_ok", "auth_required"}


async def test_the_greeting_says_what_a_client_needs_to_know(door: Door) -> None:
    async with door.dial() as wire, door.dial() as other:
        greeting = wire.greeting
        assert isinstance(greeting["voiced_version"], str)
        assert greeting["protocol"] == 1
        assert isinstance(greeting["session"], str)
        assert greeting["session"] != other.greeting["session"]
        assert len(greeting["server"]["id"]) == 32
        assert int(greeting["server"]["id"], 16) >= 0
        assert greeting["server"] == other.greeting["server"]
        assert isinstance(greeting["server"]["name"], str)
        assert all(isinstance(feature, str) for feature in greeting["features"])
        assert isinstance(greeting["defaults"]["model"], str)
        assert isinstance(greeting["defaults"]["voice"], str)
        assert greeting["defaults"]["sample_rate"] == 24000
        for limit in ("max_message_bytes", "max_input_chars", "max_speeches", "idle_text_ms"):
            assert type(greeting["limits"][limit]) is int
            assert greeting["limits"][limit] > 0


@pytest.mark.parametrize("feature", ["incremental", "window", "marks"])
async def test_the_greeting_names_the_feature(wire: Wire, feature: str) -> None:
    assert feature in wire.greeting["features"]


async def test_what_the_greeting_calls_defaults_is_what_speaks(wire: Wire) -> None:
    speech = await wire.speak(SHORT)
    named = await wire.speak(SHORT, **{name: wire.defaults[name] for name in ("model", "voice")})
    assert speech.start is not None
    assert named.start is not None
    assert speech.start["voice"] == named.start["voice"] == wire.defaults["voice"]
    assert speech.start["backend"] == named.start["backend"]
    assert speech.rate == wire.defaults["sample_rate"]
    assert speech.samples == named.samples


async def test_without_a_token_any_key_is_accepted() -> None:
    headers = {"Authorization": "Bearer sk-not-needed"}
    async with own_daemon() as door, door.knock(additional_headers=headers) as connection:
        assert (await first_message(connection))["type"] == "auth_ok"


async def test_a_wrong_bearer_header_is_unauthorized() -> None:
    async with own_daemon(token="s3cret") as door:
        with pytest.raises(InvalidStatus) as caught:
            await door.knock(additional_headers={"Authorization": "Bearer wrong"})
    assert caught.value.response.status_code == 401


async def test_a_right_bearer_header_is_greeted_at_once_even_by_a_foreign_name() -> None:
    headers = {"Authorization": "Bearer s3cret"}
    async with own_daemon(token="s3cret") as door:
        address = urlsplit(door.url)
        async with connect(
            f"ws://speech.example:{address.port}{address.path}",
            host=address.hostname,
            port=address.port,
            proxy=None,
            additional_headers=headers,
        ) as connection:
            assert (await first_message(connection))["type"] == "auth_ok"


async def test_a_token_is_asked_for_and_opens() -> None:
    async with own_daemon(token="s3cret") as door, door.knock() as connection:
        asked = await first_message(connection)
        assert asked["type"] == "auth_required"
        assert isinstance(asked["voiced_version"], str)
        assert asked["protocol"] == 1
        await connection.send(json.dumps({"type": "auth", "access_token": "s3cret"}))
        greeting = await first_message(connection)
        assert greeting["type"] == "auth_ok"
        padding = "x" * (greeting["limits"]["max_message_bytes"] - 100)
        await connection.send(json.dumps({"id": 1, "type": "ping", "padding": padding}))
        assert await first_message(connection) == {"id": 1, "type": "pong"}


async def test_a_wrong_token_is_told_and_closes_with_4401() -> None:
    async with own_daemon(token="s3cret") as door, door.knock() as connection:
        await first_message(connection)
        await connection.send(json.dumps({"type": "auth", "access_token": "wrong"}))
        refusal = await first_message(connection)
        assert refusal["type"] == "auth_invalid"
        assert isinstance(refusal["message"], str)
        assert await close_code(connection) == 4401


async def test_more_than_4_kib_before_the_token_are_not_read() -> None:
    async with own_daemon(token="s3cret") as door, door.knock() as connection:
        await first_message(connection)
        message = {"type": "auth", "access_token": "s3cret", "padding": "x" * 4096}
        await connection.send(json.dumps(message))
        assert await close_code(connection) in {1009, 4401}


async def test_no_token_in_time_closes_with_4408() -> None:
    async with own_daemon(token="s3cret", auth_s=0.2) as door, door.knock() as connection:
        await first_message(connection)
        assert await close_code(connection) == 4408


async def test_too_many_sessions_are_asked_to_come_again() -> None:
    async with own_daemon(max_sessions=1) as door, door.dial():
        with pytest.raises(InvalidStatus) as caught:
            await door.knock()
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["Retry-After"]


# ----------------------------------------------------------------------------------------- envelope


async def test_a_ping_gets_its_pong_and_nothing_else(wire: Wire) -> None:
    answer = await wire.answer(await wire.send("ping"))
    assert answer == {"id": 1, "type": "pong"}
    assert await wire.listen(0.1) == []


async def test_ids_may_leap_as_long_as_they_rise(wire: Wire) -> None:
    for command_id in (1, 7, 4000, LARGEST_ID - 1, LARGEST_ID):
        answer = await wire.answer(await wire.send("ping", id=command_id))
        assert answer["id"] == command_id
    wire.give_up()  # no id is left to settle with


async def test_the_largest_id_makes_a_speech_too(wire: Wire) -> None:
    speech = await wire.speak(SHORT, id=LARGEST_ID)
    assert {frame.speech for frame in speech.frames} == {LARGEST_ID}
    wire.give_up()


@pytest.mark.parametrize("command_id", [9, 5, 1])
async def test_an_id_that_does_not_rise_is_reused(wire: Wire, command_id: int) -> None:
    for used in (1, 5, 9):
        await wire.answer(await wire.send("ping", id=used))
    await wire.send("speak", id=command_id, input=SHORT)
    await wire.until(lambda: wire.checker.reused == [command_id])
    await wire.ping()


@pytest.mark.parametrize(
    "command_id",
    ["0", "-1", "4294967296", "1.5", '"1"', "true", "null", "[1]", "{}", "1e999", None],
)
async def test_without_a_valid_id_the_format_is_invalid(wire: Wire, command_id: str | None) -> None:
    given = "" if command_id is None else f'"id":{command_id},'
    await wire.send_text("{" + given + '"type":"ping"}')
    await wire.until(lambda: len(wire.checker.unidentified) == 1)
    await wire.ping()


@pytest.mark.parametrize("text", ["1", "-0.5", '"ping"', "null", "true", " 7\n"])
async def test_json_that_is_no_command_is_an_invalid_format(wire: Wire, text: str) -> None:
    await wire.send_text(text)
    await wire.until(lambda: len(wire.checker.unidentified) == 1)
    await wire.ping()


@pytest.mark.parametrize("fields", [{}, {"type": None}, {"type": 5}, {"type": ["ping"]}])
async def test_a_command_without_a_type_is_answered_with_an_error(
    door: Door, fields: dict[str, Any]
) -> None:
    async with door.dial() as wire:
        await wire.send_text(json.dumps({"id": 3, **fields}))
        answer = await wire.answer(3)
        assert not answer["success"]
        await wire.call("clear", id=4)


@pytest.mark.parametrize("kind", ["", "PING", "speech/sing", "speak ", "🙂", "x" * 5000])
async def test_an_unknown_command_is_told_and_the_session_lives_on(wire: Wire, kind: str) -> None:
    assert (await wire.refused(kind))["code"] == "unknown_command"
    await wire.ping()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "ping",
        "{'id':1,'type':'ping'}",
        '{"id":1,"type":"ping"} x',
        '{"id":1,"type":"ping",}',
        '{"id":1,"type":"ping","x":NaN}',
        '{"id":1,"type":"ping","x":Infinity}',
        '{"id":1,"type":"ping","x":[-Infinity]}',
        "[" * 60_000,
    ],
)
async def test_invalid_json_closes_with_4400_and_harms_no_other(
    door: Door, wire: Wire, text: str
) -> None:
    async with door.dial() as other:
        await wire.send_text(text)
        assert await wire.closed() == 4400
        await other.ping()


async def test_valid_json_of_any_depth_harms_nobody(door: Door, wire: Wire) -> None:
    deep = '{"id":1,"type":"ping","x":' + "[" * 30_000 + "]" * 30_000 + "}"
    async with door.dial() as other, door.dial() as deep_one:
        await deep_one.send_text(deep)
        deep_one.give_up()  # a limit of depth is the server's choice
        await other.ping()
    await wire.ping()


async def test_a_binary_frame_closes_with_1003(wire: Wire) -> None:
    await wire.connection.send(b"\x01")
    assert await wire.closed() == 1003


async def test_text_that_is_no_utf_8_closes_with_1007(wire: Wire) -> None:
    await wire.connection.send(b"\xff\xfe", text=True)
    assert await wire.closed() == 1007


async def test_a_message_may_have_max_message_bytes_and_not_one_more(wire: Wire) -> None:
    frame = '{"id":1,"type":"ping","x":"' + "x" * wire.limits["max_message_bytes"]
    await wire.send_text(frame[: wire.limits["max_message_bytes"] - 2] + '"}')
    assert await wire.answer(1)
    frame = frame.replace('"id":1', '"id":2')
    await wire.send_text(frame[: wire.limits["max_message_bytes"] - 1] + '"}')
    assert await wire.closed() == 1009


async def test_a_message_may_come_in_fragments(wire: Wire) -> None:
    command = json.dumps(wire.command("ping"))
    wire.checker.sent(command)
    await wire.connection.send([command[:3], "", command[3:7], command[7:]])
    await wire.answer(1)


async def test_an_array_is_handled_in_order(wire: Wire) -> None:
    ids = await wire.send_all(*(wire.command("ping") for _ in range(20)))
    await wire.ping()
    assert list(wire.checker.answers)[:20] == ids


async def test_an_empty_array_asks_for_nothing(wire: Wire) -> None:
    await wire.send_text("[]")
    assert await wire.listen(0.1) == []


async def test_what_is_no_command_in_an_array_spoils_only_itself(wire: Wire) -> None:
    await wire.send_text('[1,{"id":1,"type":"ping"},[],"x",{"id":1,"type":"ping"},{"type":"ping"}]')
    await wire.send_text('[null,{"id":2,"type":"nope"},{"id":3,"type":"ping"}]')
    await wire.answer(3)
    assert list(wire.checker.answers) == [1, 2, 3]
    assert wire.checker.reused == [1]
    assert len(wire.checker.unidentified) == 5
    await wire.call("clear", id=4)
    wire.give_up()  # its ids are the test's


async def test_a_quiet_command_has_no_result(wire: Wire) -> None:
    quiet = await wire.send("speak", input=SHORT, quiet=True)
    await wire.send("models/list", quiet=True)
    await wire.send("voices/list", quiet=True)
    await wire.send("supported_features", features={}, quiet=True)
    await wire.end(wire.speeches[quiet])
    await wire.ping()
    assert len(wire.checker.answers) == 1


async def test_a_quiet_command_that_fails_says_so(wire: Wire) -> None:
    assert (await wire.refused("nope", quiet=True))["code"] == "unknown_command"
    assert (await wire.refused("speak", input="", quiet=True))["code"] == "invalid_request"


async def test_a_fence_is_never_quiet(wire: Wire) -> None:
    speech = await wire.begin(wire.endless())
    assert (await wire.call("speech/cancel", speech=speech.id, quiet=True))["state"] == "cancelled"
    other = await wire.begin(wire.endless())
    assert await wire.call("clear", quiet=True) == {"cancelled": [other.id]}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("ping", {}),
        ("models/list", {}),
        ("voices/list", {"language": "en"}),
        ("speak", {"input": SHORT}),
        ("speech/cancel", {"speech": 77}),
        ("clear", {}),
        ("supported_features", {"features": {"of_the_future": 3}}),
    ],
)
async def test_fields_of_the_future_are_ignored(
    wire: Wire, kind: str, fields: dict[str, Any]
) -> None:
    future = {"x_future": {"deep": [1, None, {"a": "b"}]}, "trace": "abc", "": 0}
    answer = await wire.answer(await wire.send(kind, **fields, **future))
    assert answer["type"] == "pong" or answer["success"]


# -------------------------------------------------------------------------------------------- lists


async def test_models_are_listed(wire: Wire) -> None:
    models = (await wire.call("models/list"))["models"]
    assert models
    for model in models:
        assert isinstance(model["id"], str)
        assert isinstance(model["backend"], str)
        assert model["state"] in {"ready", "idle", "loading", "unavailable"}
        assert type(model["local"]) is bool
        assert isinstance(model.get("cure", ""), str)
        assert isinstance(model["options"], dict)
    assert len({model["id"] for model in models}) == len(models)


async def test_a_model_that_is_listed_and_ready_can_speak(wire: Wire) -> None:
    models = (await wire.call("models/list"))["models"]
    ready = [model for model in models if model["state"] == "ready" and model["local"]]
    assert ready
    for model in ready:
        speech = await wire.speak(SHORT, model=model["id"])
        assert speech.start is not None
        assert speech.start["backend"] == model["backend"]
        assert not speech.notices


async def test_voices_are_listed_and_can_speak(wire: Wire) -> None:
    voices = (await wire.call("voices/list"))["voices"]
    assert voices
    for voice in voices:
        assert isinstance(voice["id"], str)
        assert isinstance(voice["name"], str)
        assert isinstance(voice["model"], str)
        assert all(isinstance(language, str) for language in voice["languages"])
        assert type(voice["sample_rate"]) is int
        assert voice["marks"] in {"word", "segment"}
    states = {m["id"]: m["state"] for m in (await wire.call("models/list"))["models"]}
    ready = [voice for voice in voices if states.get(voice["model"]) == "ready"]
    for voice in ready[:: len(ready) // 4 or 1]:
        by_name = await wire.speak("1 2 3", model=voice["model"], voice=voice["id"])
        by_object = await wire.speak("1 2 3", model=voice["model"], voice={"id": voice["id"]})
        assert by_name.start == by_object.start
        assert by_name.ranges == by_object.ranges


async def test_voices_of_a_language_speak_it(wire: Wire) -> None:
    voices = (await wire.call("voices/list", language="en"))["voices"]
    assert voices
    for voice in voices:
        assert any(tag.lower().split("-")[0] == "en" for tag in voice["languages"]), voice


async def test_voices_of_a_model_are_among_all(wire: Wire) -> None:
    voices = (await wire.call("voices/list"))["voices"]
    model = voices[0]["model"]
    of_model = (await wire.call("voices/list", model=model))["voices"]
    assert {voice["id"] for voice in of_model} == {v["id"] for v in voices if v["model"] == model}


async def test_voices_of_an_unknown_model_are_not_found(wire: Wire) -> None:
    error = await wire.refused("voices/list", model="no such model")
    assert error["code"] == "model_not_found"
