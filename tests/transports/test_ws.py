from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from typing import Any

import pytest
from support import UNAVAILABLE, Parts, eventually, running_parts, scripted, speak
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from voiced.client import connect as connect_client
from voiced.protocol import messages
from voiced.protocol.access import AccessPolicy
from voiced.protocol.greeting import SessionLimits
from voiced.speech import EndReason

TOKEN = AccessPolicy(token="s3cret")
SPEAK = {"id": 1, "type": "speak", "input": "Good morning."}


async def receive(connection: ClientConnection) -> dict[str, Any]:
    """Return the next text frame."""
    while True:
        message = await asyncio.wait_for(connection.recv(), 5)
        if isinstance(message, str):
            content: dict[str, Any] = json.loads(message)
            return content


async def say(connection: ClientConnection, command: object) -> None:
    await connection.send(json.dumps(command))


async def closed(connection: ClientConnection) -> int:
    """Return the code that the server closes with."""
    async with asyncio.timeout(5):
        await connection.wait_closed()
    assert connection.close_code is not None
    return connection.close_code


# ----------------------------------------------------------------------------------- upgrade


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/ws?token=x", {}, 400),
        ("/v1/nope", {}, 404),
        ("/v1/ws", {"Origin": "https://evil.com"}, 403),
        ("/v1/ws", {"Authorization": "Bearer wrong"}, 401),
    ],
)
async def test_the_upgrade_is_checked(path: str, headers: dict[str, str], status: int) -> None:
    async with running_parts({"good": scripted()}, policy=TOKEN) as parts:
        with pytest.raises(InvalidStatus) as caught:
            await connect(
                f"ws://127.0.0.1:{parts.websocket_port}{path}", additional_headers=headers
            )
        assert caught.value.response.status_code == status


async def test_a_foreign_host_is_refused(parts: Parts) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(
            f"ws://evil.com:{parts.websocket_port}/v1/ws",
            host="127.0.0.1",
            port=parts.websocket_port,
            proxy=None,
        )
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("offered", [None, ["voiced.v1"], ["other", "voiced.v1"], ["other"]])
async def test_the_subprotocol_is_echoed_and_never_demanded(
    parts: Parts, offered: list[Any] | None
) -> None:
    async with connect(parts.url, subprotocols=offered) as connection:
        expected = "voiced.v1" if offered and "voiced.v1" in offered else None
        assert connection.subprotocol == expected
        assert (await receive(connection))["type"] == "auth_ok"


async def test_there_is_no_compression(parts: Parts) -> None:
    async with connect(parts.url, compression="deflate") as connection:
        assert connection.protocol.extensions == []


async def test_too_many_sessions_are_asked_to_come_again() -> None:
    async with running_parts({"good": scripted()}, max_sessions=1) as parts:
        async with connect(parts.url):
            with pytest.raises(InvalidStatus) as caught:
                await connect(parts.url)
            assert caught.value.response.status_code == 503
            assert caught.value.response.headers["Retry-After"] == "1"
        await eventually(lambda: not parts.websocket.sessions)
        async with connect(parts.url) as connection:
            assert (await receive(connection))["type"] == "auth_ok"


# ------------------------------------------------------------------------------------- token


async def test_a_token_opens_by_header_or_by_message() -> None:
    async with running_parts({"good": scripted()}, policy=TOKEN) as parts:
        async with connect(
            parts.url, additional_headers={"Authorization": "Bearer s3cret"}
        ) as connection:
            assert (await receive(connection))["type"] == "auth_ok"
        async with connect(parts.url) as connection:
            assert (await receive(connection))["type"] == "auth_required"
            await say(connection, {"type": "auth", "access_token": "s3cret"})
            assert (await receive(connection))["type"] == "auth_ok"
            await say(connection, {"id": 1, "type": "ping", "padding": "x" * 60_000})
            assert (await receive(connection)) == {"id": 1, "type": "pong"}


async def test_a_wrong_token_is_told_and_closes() -> None:
    async with running_parts({"good": scripted()}, policy=TOKEN) as parts:
        connection = await connect(parts.url)
        await receive(connection)
        await say(connection, {"type": "auth", "access_token": "wrong"})
        assert (await receive(connection))["type"] == "auth_invalid"
        assert await closed(connection) == 4401


async def test_a_client_that_sends_no_token_is_closed() -> None:
    limits = SessionLimits(auth_s=0.05)
    async with running_parts({"good": scripted()}, policy=TOKEN, limits=limits) as parts:
        connection = await connect(parts.url)
        await receive(connection)
        assert await closed(connection) == 4408


async def test_little_is_read_before_the_token() -> None:
    async with running_parts({"good": scripted()}, policy=TOKEN) as parts:
        connection = await connect(parts.url)
        await receive(connection)
        await say(connection, {"type": "auth", "access_token": "s3cret", "padding": "x" * 4096})
        assert await closed(connection) == 1009


# ------------------------------------------------------------------------------------ limits


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("x" * 65_537, 1009),
        ("{", 4400),
        ('{"id": NaN}', 4400),
        ("[" * 65_000, 4400),
        (b"\x01", 1003),
    ],
)
async def test_what_closes_a_session_closes_no_other(
    parts: Parts, message: str | bytes, code: int
) -> None:
    async with connect(parts.url) as other:
        await receive(other)
        connection = await connect(parts.url)
        await connection.send(message)
        assert await closed(connection) == code
        await say(other, {"id": 1, "type": "ping"})
        assert await receive(other) == {"id": 1, "type": "pong"}


async def test_invalid_utf_8_closes_with_1007(parts: Parts) -> None:
    connection = await connect(parts.url)
    await connection.send(b"\xff\xfe", text=True)
    assert await closed(connection) == 1007


async def test_64_kib_are_read(parts: Parts) -> None:
    async with connect(parts.url) as connection:
        await receive(connection)
        message = json.dumps({"id": 1, "type": "ping", "padding": ""})
        await connection.send(message[:-2] + "x" * (65_536 - len(message)) + '"}')
        assert await receive(connection) == {"id": 1, "type": "pong"}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"input": ""}, "invalid_request"),
        ({"input": "x" * 32_769}, "text_too_long"),
        ({"model": "nope"}, "model_not_found"),
        ({"voice": "nope"}, "voice_not_found"),
        ({"response_format": "ogg"}, "format_not_supported"),
        ({"model_specific_options": {"nope": 1}}, "invalid_option"),
        ({"language": "tlh"}, "language_not_supported"),
        ({"model": "tts-1", "model_specific_options": {"strict": True}}, "backend_unavailable"),
    ],
)
async def test_bad_requests_are_refused_and_the_session_lives_on(
    parts: Parts, fields: dict[str, Any], code: str
) -> None:
    async with connect(parts.url) as connection:
        await receive(connection)
        await say(connection, {**SPEAK, **fields})
        reply = await receive(connection)
        assert (reply["success"], reply["error"]["code"]) == (False, code)
        await say(connection, {"id": 2, "type": "ping"})
        assert await receive(connection) == {"id": 2, "type": "pong"}


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a\x00b", "\ud83d\ude42 \udc00 ok", "🙂", " "])
async def test_odd_text_is_spoken_or_skipped(parts: Parts, text: str) -> None:
    async with connect(parts.url) as connection:
        await receive(connection)
        await say(connection, {**SPEAK, "input": text})
        assert (await receive(connection))["success"]
        while (event := await receive(connection))["event"]["type"] != "speech-end":
            pass
        assert event["event"]["data"]["reason"] == "complete"


# ---------------------------------------------------------------------------------- speeches


async def test_the_audio_is_that_of_the_manager_and_the_frames_are_whole(parts: Parts) -> None:
    text = "Good morning. This is the second sentence, and it is longer."
    _, expected = await speak(parts.manager, text)
    async with connect(parts.url) as connection:
        await receive(connection)
        await say(connection, {**SPEAK, "input": text})
        audio, position, flags = b"", 0, []
        order: list[str] = []
        while True:
            message = await asyncio.wait_for(connection.recv(), 5)
            if isinstance(message, bytes):
                kind, flag, segment, speech, at, payload = messages.parse_frame(message)
                assert (kind, speech, at) == (1, 1, position)
                assert len(payload) <= 8192
                position += len(payload) // 2
                audio += payload
                flags.append(flag)
                order.append(f"frame {segment}")
                continue
            content = json.loads(message)
            if content["type"] == "event":
                order.append(content["event"]["type"])
                if order[-1] == "speech-end":
                    break
    assert audio == expected
    assert content["event"]["data"]["samples"] == position
    assert order[:2] == ["speech-start", "segment"]
    assert order.count("segment") == 2
    assert order.index("frame 1") > order.index("segment", 2)
    assert sum(bool(flag & 1) for flag in flags) == 1
    assert flags[0] == 5
    assert sum(bool(flag & 2) for flag in flags) == 1
    assert flags[-1] & 2
    assert sum(bool(flag & 4) for flag in flags) == 2


async def test_after_the_result_of_a_cancel_nothing_of_the_speech_comes(parts: Parts) -> None:
    async with connect(parts.url) as connection:
        await receive(connection)
        for round_number in range(30):
            speech = round_number * 10 + 1
            await say(connection, {**SPEAK, "id": speech, "input": "One, two, three. " * 40})
            for _ in range(round_number % 7):
                await connection.recv()
            await say(connection, {"id": speech + 1, "type": "speech/cancel", "speech": speech})
            last_event = ""
            while (reply := await receive(connection)).get("id") != speech + 1:
                last_event = reply.get("event", {}).get("type", "")
            assert last_event == "speech-end"
            assert reply["result"]["state"] == "cancelled"
            await say(connection, {"id": speech + 2, "type": "ping"})
            assert json.loads(await connection.recv()) == {"id": speech + 2, "type": "pong"}


async def test_a_client_that_leaves_cancels_its_speech(parts: Parts) -> None:
    connection = await connect(parts.url)
    await say(connection, {**SPEAK, "input": "One, two, three. " * 1000})
    await connection.recv()
    await connection.recv()
    connection.transport.abort()
    await eventually(lambda: bool(parts.reports))
    assert parts.reports[0].reason is EndReason.CANCELLED
    assert parts.manager.speaking == 0


async def test_a_client_that_does_not_read_holds_up_nobody(parts: Parts) -> None:
    stuck = await connect(parts.url, max_queue=1)
    await say(stuck, {**SPEAK, "input": "One, two, three. " * 1800})
    async with connect_client(parts.url) as client:
        for _ in range(3):
            async with client.speak("Good morning.") as speech:
                assert [part async for part in speech]
    assert [report.reason for report in parts.reports] == [EndReason.COMPLETE] * 3
    assert parts.manager.speaking == 1
    stuck.transport.abort()


async def test_a_client_that_asked_much_read_nothing_and_left_is_gone(parts: Parts) -> None:
    connection = await connect(parts.url, max_queue=1)
    ids = itertools.count(1)
    with suppress(TimeoutError):  # the door reads no more of it
        while True:
            asking = say(connection, [{"id": next(ids), "type": "models/list"} for _ in range(500)])
            await asyncio.wait_for(asking, 1)
    connection.transport.abort()
    await eventually(lambda: not parts.websocket.sessions)


async def test_fifty_sessions_each_hear_their_own(parts: Parts) -> None:
    texts = [f"This is for session number {number}." for number in range(50)]
    expected = [(await speak(parts.manager, text))[1] for text in texts]

    async def listen(text: str) -> bytes:
        async with connect_client(parts.url) as client, client.speak(text) as speech:
            return b"".join([part async for part in speech])

    assert await asyncio.gather(*map(listen, texts)) == expected


async def test_the_door_drains_and_then_closes() -> None:
    async with running_parts({"good": scripted()}) as parts, connect(parts.url) as connection:
        await receive(connection)
        await say(connection, SPEAK)
        await receive(connection)
        draining = asyncio.create_task(parts.websocket.drain())
        await asyncio.sleep(0)
        await say(connection, {**SPEAK, "id": 2})
        replies = [await receive(connection) for _ in range(4)]
        refused = next(reply for reply in replies if reply.get("id") == 2)
        assert refused["error"]["code"] == "shutting_down"
        await asyncio.wait_for(draining, 5)
        with pytest.raises(InvalidStatus):
            await connect(parts.url)
        await parts.websocket.close()
        assert await closed(connection) == 1001


async def test_what_does_not_end_in_time_ends_with_shutdown(parts: Parts) -> None:
    async with connect(parts.url, max_queue=1) as connection:
        await receive(connection)
        await say(connection, {**SPEAK, "input": "One, two, three. " * 1000})
        await receive(connection)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(parts.websocket.drain(), 0.2)
        closing = asyncio.create_task(parts.websocket.close())
        while (reply := await receive(connection)).get("event", {}).get("type") != "speech-end":
            pass
        assert reply["event"]["data"]["reason"] == "shutdown"
        await closing


async def test_a_connection_that_never_says_a_word_does_not_hold_up_the_end() -> None:
    async with running_parts({"good": scripted()}) as parts:
        _, writer = await asyncio.open_connection("127.0.0.1", parts.websocket_port)
        await asyncio.wait_for(parts.websocket.close(), 2)
        writer.close()


@pytest.mark.parametrize("header", ["Origin", "Authorization"])
async def test_a_header_that_stands_twice_is_refused(parts: Parts, header: str) -> None:
    headers = [(header, "x"), (header, "y")]
    with pytest.raises(InvalidStatus) as caught:
        await connect(parts.url, additional_headers=headers)
    assert caught.value.response.status_code == 400


async def test_a_long_array_does_not_keep_others_waiting(parts: Parts) -> None:
    loop = asyncio.get_running_loop()
    async with connect(parts.url) as busy, connect(parts.url) as other:
        await receive(other)
        await say(busy, [{"id": n, "type": "models/list"} for n in range(1, 1500)])
        began = loop.time()
        await say(other, {"id": 1, "type": "ping"})
        await receive(other)
        assert loop.time() - began < 2  # in one go it took a quarter of a minute


async def test_models_and_voices_are_listed(parts: Parts) -> None:
    async with connect_client(parts.url) as client:
        models = {model["id"]: model for model in await client.models()}
        assert models["espeak"]["state"] == "ready"
        assert "pitch" in models["espeak"]["options"]["properties"]
        assert "config.toml" in models["tts-1"]["cure"]
        voices = await client.voices(language="de")
        assert [voice["id"] for voice in voices] == ["de"]
        assert voices[0]["marks"] == "word"


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_session_has_a_limit_of_speeches(limit: int) -> None:
    limits = SessionLimits(max_speeches=limit)
    async with (
        running_parts({"good": scripted()}, limits=limits) as parts,
        connect(parts.url) as connection,
    ):
        await receive(connection)
        await say(connection, [{**SPEAK, "id": number} for number in range(1, limit + 2)])
        replies = [await receive(connection) for _ in range(limit + 1)]
        results = [reply for reply in replies if reply["type"] == "result"]
        assert [reply["success"] for reply in results] == [True] * limit + [False]
        assert results[-1]["error"]["code"] == "too_many_speeches"


# ------------------------------------------------------------------------- incremental text

REPLY = "Good morning, everyone. It is 7.30 a.m. and 19.5 °C — Dr. Ño says: “Up, up!” 今日は。 End"


async def hear(connection: ClientConnection, speech: int) -> tuple[bytes, list[dict[str, Any]]]:
    """Return the audio of a speech, and its events."""
    audio, events = b"", []
    while True:
        message = await asyncio.wait_for(connection.recv(), 5)
        if isinstance(message, bytes):
            *_, payload = messages.parse_frame(message)
            audio += payload
            continue
        content = json.loads(message)
        assert content.get("success") is not False, content
        if content["type"] == "event" and content["id"] == speech:
            events.append(content["event"])
            if events[-1]["type"] == "speech-end":
                return audio, events


@pytest.mark.parametrize("size", [1, 7])
async def test_text_in_pieces_sounds_as_it_does_whole(parts: Parts, size: int) -> None:
    async with connect(parts.url) as connection:
        await say(connection, {"id": 1, "type": "speak", "input": REPLY})
        whole, expected = await hear(connection, 1)
        await say(connection, {"id": 2, "type": "speech/open"})
        pieces = [REPLY[at : at + size] for at in range(0, len(REPLY), size)]
        for command_id, text in enumerate(pieces, 3):
            await say(
                connection,
                {"id": command_id, "type": "speech/text", "speech": 2, "text": text, "quiet": True},
            )
        await say(connection, {"id": 1000, "type": "speech/end", "speech": 2})
        audio, events = await hear(connection, 2)
    assert audio == whole
    assert [e for e in events if e["type"] == "segment"] == [
        e for e in expected if e["type"] == "segment"
    ]


async def test_a_clause_is_heard_before_the_text_has_ended(parts: Parts) -> None:
    async with connect(parts.url) as connection:
        await receive(connection)
        await say(connection, {"id": 1, "type": "speech/open", "max_delay_ms": 0})
        await say(
            connection,
            {"id": 2, "type": "speech/text", "speech": 1, "text": "Good morning, every"},
        )
        async with asyncio.timeout(5):
            while not isinstance(await connection.recv(), bytes):
                pass
        await say(connection, {"id": 3, "type": "speech/flush", "speech": 1})
        kinds = []
        while "flushed" not in kinds:
            content = await receive(connection)
            kinds.append(content["event"]["type"] if content["type"] == "event" else "result")
        assert kinds == ["result", "segment", "flushed"]


async def test_text_that_stops_is_spoken_and_then_the_speech_ends() -> None:
    limits = SessionLimits(idle_text_ms=300)
    async with (
        running_parts({"good": scripted()}, limits=limits) as parts,
        connect(parts.url) as connection,
    ):
        await receive(connection)
        await say(connection, {"id": 1, "type": "speech/open", "max_delay_ms": 50})
        await say(connection, {"id": 2, "type": "speech/text", "speech": 1, "text": "And th"})
        audio, events = await hear(connection, 1)
        assert audio
        assert events[-1]["data"]["reason"] == "timeout"
        assert parts.manager.speaking == 0


# ------------------------------------------------------------------------------------ windows


async def pcm_ms(connection: ClientConnection) -> float:
    """Return how much pcm comes before nothing more comes."""
    received = 0
    with suppress(TimeoutError):
        while True:
            message = await asyncio.wait_for(connection.recv(), 0.1)
            received += len(message) - 16 if isinstance(message, bytes) else 0
    return received / 48


async def test_a_closed_window_pauses_the_engine() -> None:
    engine = scripted()
    text = "One sentence that lasts for a while. " * 100
    async with running_parts({"good": engine}) as parts, connect(parts.url) as connection:
        await receive(connection)
        await say(connection, {**SPEAK, "input": text, "window_ms": 1000})
        received_ms = 0.0
        command = 2
        for played_ms in (0, 1000, 2000):
            if played_ms:
                await say(
                    connection,
                    {
                        "id": command,
                        "type": "speech/progress",
                        "speech": 1,
                        "played_ms": played_ms,
                        "quiet": True,
                    },
                )
                command += 1
            received_ms += await pcm_ms(connection)
            assert played_ms + 800 < received_ms <= played_ms + 1000
        spoken = list(engine.made[0].spoken)
        await say(connection, {"id": command, "type": "ping"})
        assert (await receive(connection))["type"] == "pong"
        assert engine.made[0].spoken == spoken
        # 3 s were sent, and at most 2 s wait; a segment has 0.4 s.
        assert len(spoken) <= 5 / 0.36 + 2


async def test_a_window_that_stays_closed_ends_the_speech_and_frees_the_engine() -> None:
    limits = SessionLimits(stalled_s=0.05)
    async with (
        running_parts({"good": scripted()}, limits=limits) as parts,
        connect(parts.url) as connection,
    ):
        await receive(connection)
        await say(connection, {**SPEAK, "input": "One sentence. " * 100, "window_ms": 200})
        _, events = await hear(connection, 1)
        assert events[-1]["data"]["reason"] == "stalled"
        await eventually(lambda: parts.manager.speaking == 0)
        await say(connection, {**SPEAK, "id": 2})
        _, events = await hear(connection, 2)
        assert events[-1]["data"]["reason"] == "complete"


@pytest.mark.parametrize("response_format", ["mp3", "opus", "aac", "flac", "wav"])
async def test_an_encoded_speech_passes_through_the_smallest_window(
    parts: Parts, response_format: str
) -> None:
    async with connect(parts.url) as connection:
        await receive(connection)
        fields = {"response_format": response_format, "window_ms": 200, "sample_rate": 8000}
        await say(connection, {**SPEAK, **fields})
        command = 2
        while True:
            message = await asyncio.wait_for(connection.recv(), 5)
            if isinstance(message, bytes):
                progress = {"id": command, "type": "speech/progress", "speech": 1, "quiet": True}
                await say(connection, {**progress, "played_ms": 1e9})  # all that was sent
                command += 1
            elif '"speech-end"' in message:
                break
        assert '"complete"' in message


# ------------------------------------------------------------------------------------- status


async def test_the_status_is_told_while_somebody_wants_to_know() -> None:
    kinds = {"good": scripted(), "bad": scripted(problem=UNAVAILABLE)}
    async with (
        running_parts(kinds, limits=SessionLimits(max_speeches=3)) as parts,
        connect(parts.url) as watching,
    ):
        await receive(watching)
        await say(watching, {"id": 1, "type": "subscribe_status"})
        assert (await receive(watching))["result"] is None
        first = (await receive(watching))["event"]["data"]
        assert first == {
            "state": "degraded",
            "sessions": 1,
            "speaking": 0,
            "queued": 0,
            "backends": [{"id": "good", "state": "ready"}, {"id": "bad", "state": "unavailable"}],
        }
        async with connect(parts.url) as other:
            await receive(other)
            for command in (1, 2):
                await say(other, {"id": command, "type": "speech/open"})
            busy = (await receive(watching))["event"]["data"]
            assert (busy["sessions"], busy["speaking"], busy["queued"]) == (2, 1, 1)
        await say(watching, {"id": 2, "type": "unsubscribe_events", "subscription": 1})
        while (await receive(watching)).get("id") != 2:
            pass
