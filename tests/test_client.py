from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest
from support import Parts, cut_off, eventually, running_parts, scripted
from websockets.asyncio.server import ServerConnection, serve

from voiced.client import AnswerError, Client, ClientError, Speech, connect
from voiced.errors import TextTooLong, Unauthorized
from voiced.protocol.access import AccessPolicy


async def test_a_speech_is_iterated_for_its_audio(parts: Parts) -> None:
    async with connect(parts.url) as client:
        async with client.speak("Good morning.", voice="en-us+f3") as speech:
            audio = b"".join([part async for part in speech])
        assert speech.start["voice"] == "en-us+f3"
        assert speech.segments[0]["segment"] == 0
        assert speech.ended is not None
        assert speech.ended.reason == "complete"
        assert speech.ended.samples == len(audio) // 2


async def test_notices_are_kept(parts: Parts) -> None:
    async with connect(parts.url) as client, client.speak("🙂", model="tts-1") as speech:
        assert [part async for part in speech] == []
        assert [n["code"] for n in speech.notices] == ["backend_fallback", "no_speakable_text"]


async def test_leaving_early_cancels(parts: Parts) -> None:
    async with connect(parts.url) as client:
        async with client.speak("One, two, three. " * 500) as speech:
            async for _ in speech:
                break
        assert speech.ended is not None
        assert speech.ended.reason == "cancelled"
        async with client.speak("And on.") as speech:
            assert [part async for part in speech]


async def test_a_cancel_tells_what_was_heard(parts: Parts) -> None:
    text = "One, two, three. " * 100
    async with connect(parts.url) as client, client.speak(text) as speech:
        async for _ in speech:
            break
        answer = await speech.cancel(played_ms=100)
        assert answer["state"] == "cancelled"
        assert answer["text_spoken"] + answer["text_remaining"] == text
        assert (await speech.cancel())["state"] == "inactive"


async def test_a_cancel_lets_another_task_s_iteration_end(parts: Parts) -> None:
    async with connect(parts.url) as client, client.speak("One, two, three. " * 500) as speech:
        listening = asyncio.create_task(drain(speech))
        await asyncio.sleep(0)
        await speech.cancel()
        await asyncio.wait_for(listening, 5)


async def test_what_nobody_listens_to_holds_up_nothing(parts: Parts) -> None:
    async with (
        connect(parts.url) as client,
        client.speak("One, two, three. " * 20, mode="parallel") as first,
        client.speak("One, two, three. " * 20, mode="parallel") as second,
    ):
        await asyncio.wait_for(client.ping(), 5)
        assert await drain(second) == await drain(first)


async def test_a_text_beyond_a_message_is_refused_here(parts: Parts) -> None:
    async with connect(parts.url) as client:
        with pytest.raises(TextTooLong, match="65536"):
            async with client.speak("x" * 70_000):
                pass
        await client.ping()
        async with client.speak("я " * 16_000) as speech:  # 48,000 bytes of UTF-8
            async for _ in speech:
                break


async def drain(speech: Speech) -> int:
    return sum([len(part) async for part in speech])


async def test_two_speeches_share_a_session(parts: Parts) -> None:
    async def listen(number: int) -> int:
        async with client.speak(f"Number {number}.", mode="parallel") as speech:
            return sum([len(part) async for part in speech])

    async with connect(parts.url) as client:
        assert all(await asyncio.gather(*map(listen, range(5))))
        await client.ping()
        assert await client.clear() == []


async def test_a_refusal_is_raised_with_the_daemon_s_words(parts: Parts) -> None:
    async with connect(parts.url) as client:
        with pytest.raises(AnswerError, match="did you mean") as caught:
            async with client.speak("One.", voice="en-uz"):
                pass
        assert caught.value.code == "voice_not_found"
        assert not caught.value.retryable


async def test_a_failed_speech_is_raised() -> None:
    async with (
        running_parts({"bad": scripted(fails_after_chunks=3)}) as parts,
        connect(parts.url) as client,
        client.speak("Hello there.") as speech,
    ):
        with pytest.raises(AnswerError, match="backend failed"):
            async for _ in speech:
                pass


async def test_nobody_there_says_what_to_do() -> None:
    with pytest.raises(ClientError, match="voiced serve"):
        async with connect("ws://127.0.0.1:9/v1/ws"):
            pass


async def test_tokens() -> None:
    policy = AccessPolicy(token="s3cret")
    async with running_parts({"good": scripted()}, policy=policy) as parts:
        async with connect(parts.url, token="s3cret") as client:
            await client.ping()
        for token in ("wrong", None):
            with pytest.raises(Unauthorized, match="VOICED_TOKEN"):
                async with connect(parts.url, token=token):
                    pass


async def test_a_lost_connection_ends_the_speech() -> None:
    async with running_parts() as parts, connect(parts.url) as client:
        async with client.speak("One, two, three. " * 1000) as speech:
            await parts.websocket.close()
            with pytest.raises(ClientError, match="shutdown"):
                await drain(speech)
        with pytest.raises(ClientError):
            await client.ping()


# ------------------------------------------------------------------------- text piece by piece


async def test_an_open_speech_takes_text_while_it_is_heard(parts: Parts) -> None:
    async with connect(parts.url) as client:
        async with client.open_speech(marks="word", max_delay_ms=0) as speech:
            await speech.say("Good morning, every")
            audio = aiter(speech)
            heard = await anext(audio)
            assert speech.segments[0]["text_end"] == len("Good morning,")
            await speech.say("one.")
            assert await speech.flush() == 1
            await speech.end()
            heard += b"".join([part async for part in audio])
            with pytest.raises(AnswerError) as caught:
                await speech.say("More.")
        assert caught.value.code == "speech_closed"
        assert speech.ended is not None
        assert speech.ended.samples == len(heard) // 2
        assert speech.flushed == {1: speech.ended.samples}
        assert [(mark.text_start, mark.text_end) for mark in speech.marks] == [
            (0, 4),
            (5, 12),
            (14, 22),
        ]
        assert not speech.marks[0].is_estimated


async def test_text_longer_than_a_message_is_said_in_parts(parts: Parts) -> None:
    text = "Fünf \U0001f642 Wörter und \ud800 mehr. " * 3000
    async with connect(parts.url) as client, client.open_speech(window_ms=200) as speech:
        await speech.say(text)
        answer = await speech.cancel(played_ms=0)
        assert answer["text_remaining"] == text


async def test_a_window_gives_no_more_than_is_played(parts: Parts) -> None:
    async with (
        connect(parts.url) as client,
        client.speak("One, two, three. " * 20, window_ms=500) as speech,
    ):
        received_ms = 0.0
        async for part in speech:
            received_ms += len(part) / 48
            await speech.played(received_ms)
        assert speech.ended is not None
        assert speech.ended.audio_ms == round(received_ms)


async def test_the_word_that_is_heard_can_be_found(parts: Parts) -> None:
    text = "One, two, three."
    async with connect(parts.url) as client, client.speak(text, marks="word") as speech:
        await drain(speech)
        heard = [speech.mark_at(mark.start_ms) for mark in speech.marks]
        assert [text[mark.text_start : mark.text_end] for mark in heard if mark] == [
            "One",
            "two",
            "three",
        ]
        assert speech.mark_at(-1) is None
        assert speech.mark_at(60_000) is None


async def test_an_open_speech_that_is_left_is_cancelled(parts: Parts) -> None:
    async with connect(parts.url) as client:
        async with client.open_speech() as speech:
            await speech.say("One")
        assert speech.ended is not None
        assert speech.ended.reason == "cancelled"


# --------------------------------------------------------------------------------- the session


async def test_an_idle_session_that_was_lost_is_opened_again() -> None:
    async with running_parts() as parts, connect(parts.url) as client:
        await client.ping()
        before = client.greeting["session"]
        cut_off(parts)
        await eventually(lambda: not parts.websocket.sessions)
        assert await client.voices(language="de")
        assert client.greeting["session"] != before
        async with client.speak("And on.") as speech:
            assert await drain(speech)


async def test_a_speech_that_was_lost_fails_and_the_next_one_is_spoken() -> None:
    async with running_parts() as parts, connect(parts.url) as client:
        async with client.open_speech() as speech:
            await speech.say("One")
            cut_off(parts)
            with pytest.raises(ClientError):
                await drain(speech)
            with pytest.raises(ClientError):
                await speech.say("two")
        async with client.speak("And on.") as speech:
            assert await drain(speech)


async def test_the_status_can_be_watched() -> None:
    async with running_parts() as parts, connect(parts.url) as client:
        async with aclosing(client.watch()) as statuses:
            assert (await anext(statuses))["speaking"] == 0
            async with client.open_speech():
                assert (await asyncio.wait_for(anext(statuses), 5))["speaking"] == 1
        await client.ping()
        async with aclosing(client.watch()) as statuses:
            await anext(statuses)
            cut_off(parts)
            with pytest.raises(ClientError):
                await anext(statuses)


async def test_many_tasks_share_a_session_while_it_is_opened_again() -> None:
    async with running_parts() as parts, connect(parts.url) as client:
        cut_off(parts)
        await eventually(lambda: not parts.websocket.sessions)

        async def listen(number: int) -> int:
            async with client.speak(f"Number {number}.", mode="parallel") as speech:
                return await drain(speech)

        assert all(await asyncio.gather(*map(listen, range(8))))
        assert parts.websocket.sessions == 1


async def test_who_is_left_in_a_lost_session_does_not_meet_the_next_one() -> None:
    async with running_parts() as parts, connect(parts.url) as client:
        old = client.watch()
        await anext(old)
        cut_off(parts)
        await eventually(lambda: not parts.websocket.sessions)
        async with aclosing(client.watch()) as new:  # has the id that the old one had
            await anext(new)
            await old.aclose()
            async with client.open_speech():
                assert (await asyncio.wait_for(anext(new), 5))["speaking"] == 1


async def test_a_block_that_is_cancelled_twice_leaves_nothing_behind(parts: Parts) -> None:
    async def listen(client: Client) -> None:
        async with client.speak("One, two, three. " * 500) as speech:
            has_begun.set()
            await drain(speech)

    has_begun = asyncio.Event()
    async with connect(parts.url) as client:
        listening = asyncio.create_task(listen(client))
        await has_begun.wait()
        listening.cancel()
        await asyncio.sleep(0)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        async with client.speak("And on.", mode="replace") as speech:
            assert await drain(speech)


async def test_closing_does_not_wait_for_who_does_not_listen(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voiced.client.speech._WAITING", 4)
    async with (
        asyncio.timeout(5),
        connect(parts.url) as client,
        client.speak("One, two, three. " * 1000) as full,
    ):
        await eventually(lambda: len(full.segments) > 0)
        await asyncio.sleep(0.2)
        await client.close()
        with pytest.raises(ClientError, match="ended"):
            await drain(full)


@pytest.mark.parametrize(
    "nonsense",
    ["no json", "7", '{"type":"event","id":1}', '{"type":"result","id":1,"success":false}', b"no"],
)
async def test_a_server_that_talks_nonsense_is_named(nonsense: str | bytes) -> None:
    async def talk(connection: ServerConnection) -> None:
        limits = {"max_message_bytes": 65536, "max_input_chars": 4096}
        await connection.send(json.dumps({"type": "auth_ok", "limits": limits}))
        await connection.recv()
        await connection.send(nonsense)
        await connection.wait_closed()

    async with serve(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(5), connect(f"ws://127.0.0.1:{port}") as client:
            with pytest.raises(ClientError, match=r"not voiced\.v1"):
                await client.ping()
