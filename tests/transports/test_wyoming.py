"""The Wyoming door, by the client of the package `wyoming` in Home Assistant's way, and by hand."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support import eventually, running_manager, scripted
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from voiced.protocol.wyoming import RATE, TextLimits
from voiced.synthesis.manager import TTSBackendManager
from voiced.transports.wyoming import WyomingDoor

PATIENCE_S = 10
TEXT = "The kettle is on. The tea is nearly ready, and there is cake."


@asynccontextmanager
async def door(
    manager: TTSBackendManager | None = None, **keys: Any
) -> AsyncIterator[tuple[WyomingDoor, int]]:
    if manager is None:
        async with running_manager() as made, door(made, **keys) as running:
            yield running
        return
    made_door = WyomingDoor(manager, version="0.0.0", **keys)
    try:
        yield made_door, await made_door.start("127.0.0.1", 0)
    finally:
        await made_door.close()


@asynccontextmanager
async def client(port: int) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient("127.0.0.1", port, read_timeout=PATIENCE_S) as connected:
        yield connected


async def until(connected: AsyncTcpClient, *kinds: type[Any]) -> list[Event]:
    """Read up to an event of one of the kinds, or the end."""
    events = []
    while event := await connected.read_event():
        events.append(event)
        if any(kind.is_type(event.type) for kind in kinds):
            break
    return events


def audio_of(events: list[Event]) -> bytes:
    """Check the events of one speech, and return its audio."""
    kinds = [event.type for event in events if event.type != "info"]
    assert kinds.count("audio-start") == kinds.count("audio-stop") == 1
    assert kinds[0] == "audio-start"
    chunks = [AudioChunk.from_event(e) for e in events if AudioChunk.is_type(e.type)]
    start = next(AudioStart.from_event(e) for e in events if AudioStart.is_type(e.type))
    for part in (start, *chunks):
        assert (part.rate, part.width, part.channels) == (RATE, 2, 1)
    return b"".join(chunk.audio for chunk in chunks)


async def info_of(port: int) -> Info:
    async with client(port) as connected:
        await connected.write_event(Describe().event())
        return Info.from_event((await until(connected, Info))[-1])


async def stream(
    connected: AsyncTcpClient, parts: list[str], voice: SynthesizeVoice | None = None
) -> None:
    """Write a text as Home Assistant does: in parts, then once more for older servers."""
    await connected.write_event(SynthesizeStart(voice=voice).event())
    for part in parts:
        await connected.write_event(SynthesizeChunk(text=part).event())
    await connected.write_event(Synthesize(text="".join(parts), voice=voice).event())
    await connected.write_event(SynthesizeStop().event())


# ------------------------------------------------------------------------------ what there is


async def test_it_describes_itself() -> None:
    async with door() as (_, port):
        (program,) = (await info_of(port)).tts
        assert program.name == "voiced"
        assert program.installed
        assert program.supports_synthesize_streaming
        names = [voice.name for voice in program.voices]
        assert "en-us" in names
        assert "de" not in names
        for voice in program.voices:
            assert voice.installed
            assert all(language.startswith("en") for language in voice.languages)


async def test_languages_are_those_that_are_wanted() -> None:
    async with door(languages=["de", "fr"]) as (_, port):
        (program,) = (await info_of(port)).tts
        assert {tag.partition("-")[0] for v in program.voices for tag in v.languages} == {
            "de",
            "fr",
        }
    async with door(languages=["tlh-x-none"]) as (_, port):
        assert (await info_of(port)).tts[0].voices  # rather than none at all


async def test_voices_of_other_backends_have_theirs_before_their_names() -> None:
    first, second = scripted(), scripted()

    async with (
        running_manager({"first": first, "second": second}) as manager,
        door(manager) as (_, port),
    ):
        (program,) = (await info_of(port)).tts
        names = [voice.name for voice in program.voices]
        assert names[0] == "one"
        assert all(name.startswith("second/") for name in names[names.index("one") + 1 :])


async def test_the_data_of_a_large_info_are_not_in_its_line() -> None:
    async with door(languages=["en", "de", "fr", "es", "it"]) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'{"type": "describe"}\n')
        line = json.loads(await reader.readline())
        assert "data" not in line
        assert len(json.loads(await reader.readexactly(line["data_length"]))["tts"]) == 1
        writer.close()


async def test_it_answers_a_ping() -> None:
    async with door() as (_, port), client(port) as connected:
        await connected.write_event(Ping(text="are you there").event())
        (event,) = await until(connected, Pong)
        assert Pong.from_event(event).text == "are you there"


# ---------------------------------------------------------------------------------- one text


async def test_a_text_is_spoken() -> None:
    async with door() as (_, port), client(port) as connected:
        await connected.write_event(Synthesize(text=TEXT).event())
        first = audio_of(await until(connected, AudioStop))
        assert len(first) > RATE
        voice = SynthesizeVoice(name="en-us")
        await connected.write_event(Synthesize(text=TEXT, voice=voice).event())
        assert audio_of(await until(connected, AudioStop)) == first


@pytest.mark.parametrize("text", ["", " ", "🙂", "---"])
async def test_nothing_to_say_is_a_speech_without_audio(text: str) -> None:
    async with door() as (_, port), client(port) as connected:
        await connected.write_event(Synthesize(text=text).event())
        assert audio_of(await until(connected, AudioStop)) == b""
        await stream(connected, [text])
        assert [event.type for event in await until(connected, SynthesizeStopped)] == [
            "synthesize-stopped"
        ]


async def test_voices_go_by_name_backend_and_language() -> None:
    async with door() as (_, port), client(port) as connected:

        async def say(**voice: str) -> bytes:
            wanted = SynthesizeVoice(**voice)
            await connected.write_event(Synthesize(text="Hello there.", voice=wanted).event())
            return audio_of(await until(connected, AudioStop))

        german = await say(name="de")
        assert await say(name="espeak/de") == german
        english = await say(name="en-us")
        assert await say(name="nobody") == english
        assert len({english, german, await say(language="fr")}) == 3


async def test_a_failure_is_told_and_the_connection_closed() -> None:
    types = {"scripted": scripted(fails_after_chunks=2)}
    async with running_manager(types) as manager, door(manager) as (_, port):
        async with client(port) as connected:
            await connected.write_event(Synthesize(text=TEXT).event())
            events = await until(connected)
            assert events[-1].type == "error"
            assert Error.from_event(events[-1]).code == "backend_error"
            assert "audio-stop" not in [event.type for event in events]
        async with client(port) as connected:
            await stream(connected, [TEXT])
            kinds = [event.type for event in await until(connected, SynthesizeStopped)]
            assert kinds[-3:] == ["error", "audio-stop", "synthesize-stopped"]
            await connected.write_event(Ping().event())
            assert await until(connected, Pong)


async def test_a_voice_that_is_no_voice_is_told() -> None:
    async with door() as (_, port), client(port) as connected:
        await connected.write_event(Event("synthesize", {"text": TEXT, "voice": "x"}))
        (event,) = await until(connected)
        assert Error.from_event(event).code == "invalid_request"


# ------------------------------------------------------------------------------------- streams


async def test_a_stream_sounds_like_the_whole_text() -> None:
    async with door() as (_, port), client(port) as connected:
        await connected.write_event(Synthesize(text=TEXT).event())
        whole = audio_of(await until(connected, AudioStop))
        await stream(connected, [f"{word} " for word in TEXT.split()])
        events = await until(connected, SynthesizeStopped)
        assert [event.type for event in events][-2:] == ["audio-stop", "synthesize-stopped"]
        assert len(audio_of(events[:-1])) == pytest.approx(len(whole), rel=0.05)


async def test_audio_comes_before_the_text_has_ended() -> None:
    async with door() as (_, port), client(port) as connected:
        await connected.write_event(Event("synthesize-start"))  # without data
        await connected.write_event(SynthesizeChunk(text="The kettle is on. The tea").event())
        event = await connected.read_event()
        assert event is not None
        assert event.type == "audio-start"
        assert await connected.read_event()
        await connected.write_event(SynthesizeChunk(text=" is ready.").event())
        await connected.write_event(SynthesizeStop().event())
        assert await until(connected, SynthesizeStopped)


async def test_it_describes_itself_while_it_speaks() -> None:
    async with door() as (_, port), client(port) as connected:
        await connected.write_event(SynthesizeStart().event())
        await connected.write_event(SynthesizeChunk(text=TEXT).event())
        await connected.write_event(Describe().event())
        assert (await until(connected, Info))[-1].type == "info"
        assert (await info_of(port)).tts
        await connected.write_event(SynthesizeStop().event())
        assert audio_of((await until(connected, SynthesizeStopped))[:-1])


async def test_texts_are_spoken_one_after_the_other() -> None:
    async with door() as (_, port), client(port) as connected:
        for text in ("One.", "Two, three.", "Four."):
            await connected.write_event(Synthesize(text=text).event())
        lengths = [len(audio_of(await until(connected, AudioStop))) for _ in range(3)]
        assert lengths[1] > lengths[0]


async def test_too_many_texts_are_refused() -> None:
    async with door() as (_, port), client(port) as connected:
        for _ in range(20):
            await connected.write_event(Synthesize(text=TEXT * 20).event())
        events = await until(connected)
        assert Error.from_event(events[-1]).code == "overloaded"


async def test_too_much_text_is_told_after_what_was_spoken() -> None:
    limits = TextLimits(max_input_chars=50, max_speech_chars=40)
    async with door(limits=limits) as (_, port), client(port) as connected:
        await stream(connected, ["The kettle is on. ", "x" * 30])
        events = await until(connected, SynthesizeStopped)
        assert [event.type for event in events][-3:] == [
            "error",
            "audio-stop",
            "synthesize-stopped",
        ]
        assert Error.from_event(events[-3]).code == "text_too_long"
        await connected.write_event(Synthesize(text="x" * 51).event())
        assert Error.from_event((await until(connected))[-1]).code == "text_too_long"


async def test_who_hangs_up_is_not_spoken_to_any_more() -> None:
    kind = scripted()
    async with running_manager({"scripted": kind}) as manager, door(manager) as (made, port):
        async with client(port) as connected:
            await connected.write_event(SynthesizeStart().event())
            await connected.write_event(SynthesizeChunk(text=f"{TEXT} More").event())
            await until(connected, AudioChunk)
            assert manager.speaking == 1
        await eventually(lambda: manager.speaking == 0)
        assert made.sessions == 0


async def test_unknown_events_mean_nothing() -> None:
    async with door() as (_, port), client(port) as connected:
        for kind in (
            "transcribe",
            "synthesize-chunk",
            "synthesize-stop",
            "select-program",
            "x" * 99,
        ):
            await connected.write_event(Event(kind, {"text": "x"}, b"payload"))
        await connected.write_event(Ping().event())
        assert [event.type for event in await until(connected, Pong)] == ["pong"]


# --------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    "sent",
    [
        b"x" * 70_000,
        b'{"type": "describe", "data": {"x": "' + b"x" * 70_000 + b'"}}\n',
        b'{"type": "describe", "data_length": 10000000000}\n',
        b'{"type": "describe", "payload_length": 10000000000}\n',
        b'{"type": "describe", "data_length": -1}\n',
        b'{"type": "describe", "data_length": "5"}\n',
        b'{"type": "describe", "data": 5}\n',
        b'{"type": 5}\n',
        b"[]\n",
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"type": "describe", "data_length": 3}\n[1]',
        b"[" * 60_000 + b"\n",
        b"\xff\xfe\n",
    ],
    ids=lambda sent: repr(sent[:40]),
)
async def test_what_is_no_wyoming_is_told_and_closed(sent: bytes) -> None:
    async with door() as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        assert b'"error"' in answer
        assert b"invalid_format" in answer
        writer.close()
        await eventually(lambda: made.sessions == 0)


async def test_half_an_event_is_waited_for_and_given_up_at_the_end() -> None:
    async with door() as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for half in (b'{"type": "pi', b'ng", "data_length": 13}\n{"text"', b': "x"}'):
            writer.write(half)
            await asyncio.sleep(0.02)
        assert b"pong" in await asyncio.wait_for(reader.readline(), PATIENCE_S)
        writer.write(b'{"type": "descr')
        writer.write_eof()
        await eventually(lambda: made.sessions == 0)
        writer.close()


async def test_who_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiced.transports.wyoming.STALLED_S", 0.2)
    async with running_manager() as manager, door(manager) as (made, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        data = json.dumps({"text": TEXT * 200}).encode()
        writer.write(b'{"type": "synthesize", "data_length": %d}\n' % len(data) + data)
        await eventually(lambda: manager.speaking == 1)
        await eventually(lambda: made.sessions == 0)
        assert manager.speaking == 0
        writer.close()


async def test_only_the_networks_that_are_allowed_come_in() -> None:
    async with door(allow=[ipaddress.ip_network("10.0.0.0/8")]) as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'{"type": "describe"}\n')
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        assert made.sessions == 0
        writer.close()
    async with door(allow=[ipaddress.ip_network("127.0.0.0/8")]) as (_, port):
        assert (await info_of(port)).tts


async def test_it_drains() -> None:
    async with door() as (made, port), client(port) as connected:
        await connected.write_event(SynthesizeStart().event())
        await connected.write_event(SynthesizeChunk(text=TEXT).event())
        await until(connected, AudioChunk)
        draining = asyncio.create_task(made.drain())
        await asyncio.sleep(0.05)
        assert not draining.done()
        await connected.write_event(SynthesizeStop().event())
        await until(connected, SynthesizeStopped)
        await asyncio.wait_for(draining, PATIENCE_S)
        await connected.write_event(Synthesize(text=TEXT).event())
        assert Error.from_event((await until(connected))[-1]).code == "shutting_down"


async def test_an_unknown_voice_is_the_usual_one_wherever_it_is_looked_for() -> None:
    types = {"first": scripted(), "second": scripted()}
    async with running_manager(types) as manager, door(manager) as (_, port):
        for name in ("second/nobody", "nobody", "third/nobody"):
            async with client(port) as connected:
                voice = SynthesizeVoice(name=name)
                await connected.write_event(Synthesize(text="Hello.", voice=voice).event())
                assert audio_of(await until(connected, AudioStop))


async def test_who_leaves_with_texts_waiting_does_not_hold_up_the_end() -> None:
    async with door() as (made, port):
        async with client(port) as connected:
            for _ in range(5):
                await connected.write_event(Synthesize(text=TEXT * 20).event())
            await until(connected, AudioChunk)
            draining = asyncio.create_task(made.drain())
            await asyncio.sleep(0.05)
        await asyncio.wait_for(draining, 2)


async def test_a_text_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiced.transports.wyoming._SILENT_S", 0.2)
    async with running_manager() as manager, door(manager) as (made, port):
        async with client(port) as connected:
            await connected.write_event(SynthesizeStart().event())
            await connected.write_event(SynthesizeChunk(text="The kettle").event())
            assert await until(connected, SynthesizeStopped)
            assert manager.speaking == 0
            assert await connected.read_event() is None  # nothing is said, and nothing asked
        await eventually(lambda: made.sessions == 0)


async def test_half_a_surrogate_is_answered() -> None:
    async with door() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'{"type": "ping", "data": {"text": "\\ud800"}}\n')
        assert b"pong" in await asyncio.wait_for(reader.readline(), PATIENCE_S)
        writer.close()


async def test_all_addresses_are_those_of_ipv4_too() -> None:
    async with running_manager() as manager:
        made = WyomingDoor(manager, version="0.0.0")
        try:
            port = await made.start("::", 0)
        except OSError:
            pytest.skip("there is no IPv6 here")
        assert (await info_of(port)).tts
        await made.close()
