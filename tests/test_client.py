from __future__ import annotations

import asyncio

import pytest
from support import Parts, running_parts, scripted

from voiced.client import AnswerError, ClientError, Speech, connect
from voiced.errors import TextTooLong, Unauthorized
from voiced.protocol.access import AccessPolicy


async def test_a_speech_is_iterated_for_its_audio(parts: Parts) -> None:
    async with connect(parts.url) as client:
        async with client.speak("Good morning.", voice="en-us+f3") as speech:
            audio = b"".join([part async for part in speech])
        assert speech.start["voice"] == "en-us+f3"
        assert speech.segments[0]["segment"] == 0
        assert speech.end is not None
        assert speech.end.reason == "complete"
        assert speech.end.samples == len(audio) // 2


async def test_notices_are_kept(parts: Parts) -> None:
    async with connect(parts.url) as client, client.speak("🙂", model="tts-1") as speech:
        assert [part async for part in speech] == []
        assert [n["code"] for n in speech.notices] == ["backend_fallback", "no_speakable_text"]


async def test_leaving_early_cancels(parts: Parts) -> None:
    async with connect(parts.url) as client:
        async with client.speak("One, two, three. " * 500) as speech:
            async for _ in speech:
                break
        assert speech.end is not None
        assert speech.end.reason == "cancelled"
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
