"""What every backend must do, whatever its engine: a new one is one line in BACKENDS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession
from providers import KINDS
from pydantic import BaseModel
from support import (
    INSTALLED,
    WITH_TORCH,
    decode,
    documented_backend,
    request,
    running_manager,
    running_parts,
    scripted,
    speak,
)
from tiny_kokoro import tiny_settings
from tiny_piper import tiny_piper_settings
from wyoming.audio import AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.tts import Synthesize, SynthesizeVoice

from voiced.backends.base import BackendSettings, SharedOptions, TTSBackendBase
from voiced.client import connect
from voiced.errors import LanguageNotSupported, RequestError, VoiceNotFound
from voiced.protocol.wyoming import RATE
from voiced.speech import OPENAI_RATE, AudioFormat, AudioFrame, PcmChunk, Segment
from voiced.synthesis.lane import Lane
from voiced.synthesis.manager import TTSBackendManager

BACKENDS: dict[str, type[TTSBackendBase]] = {
    "espeak": INSTALLED.load("espeak"),
    "documented": documented_backend(),
    "scripted": scripted(),
    "tiny_kokoro": INSTALLED.load("kokoro"),
    "tiny_piper": INSTALLED.load("piper"),
    **{name: kind.backend for name, kind in KINDS.items()},
}
SETTINGS: dict[str, BackendSettings] = {
    "tiny_kokoro": tiny_settings(),
    "tiny_piper": tiny_piper_settings(),
}
if WITH_TORCH:
    from tiny_torch import tiny_torch_settings

    BACKENDS["torch_kokoro"] = INSTALLED.load("kokoro")
    SETTINGS["torch_kokoro"] = tiny_torch_settings()
TEXT = "Good morning, this is a sentence of some length."
LONG = "This is a sentence that goes on and on without a pause " * 5


@asynccontextmanager
async def settings_of(name: str) -> AsyncIterator[BackendSettings]:
    """The settings of a backend; of a provider's, while a fake of that provider runs."""
    if kind := KINDS.get(name):
        listed = {"voices": ["alloy", "nova"]} if name == "openai" else {}
        async with kind.fake(**listed) as fake:
            yield kind.settings(fake)
    else:
        yield SETTINGS.get(name) or BACKENDS[name].settings_model(type=name)


@asynccontextmanager
async def running(name: str) -> AsyncIterator[TTSBackendManager]:
    async with (
        settings_of(name) as settings,
        running_manager({settings.type: BACKENDS[name]}, settings={name: settings}) as manager,
    ):
        yield manager


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[TTSBackendBase]:
    kind = BACKENDS[request.param]
    lane = Lane()
    async with settings_of(request.param) as settings:
        made = kind(settings, lane=lane.engine())
        await made.initialize()
        yield made
        await made.close()
    await lane.close()


def heard(audio: bytes, response_format: str) -> tuple[np.ndarray[Any, Any], int]:
    """Return the samples (+-1.0) and the rate of what a door gave."""
    if response_format == "pcm":
        return np.frombuffer(audio, "<i2") / 32768, OPENAI_RATE
    return decode(audio, container="aac" if response_format == "aac" else None)


def segment(backend: TTSBackendBase, text: str = TEXT, *, speed: float = 1.0) -> Segment:
    voice = backend.choose_voice(None, None)
    return Segment(0, text, 0, len(text), voice, None, speed, backend.options_model())


async def speak_segment(backend: TTSBackendBase, wanted: Segment) -> list[PcmChunk]:
    async with aclosing(backend.generate_speech_stream(wanted)) as chunks:
        return [chunk async for chunk in chunks]


async def test_it_gives_float32_within_full_scale(backend: TTSBackendBase) -> None:
    chunks = await speak_segment(backend, segment(backend))
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.size > 0
    assert 0.01 < np.abs(samples).max() <= 1.0


async def test_the_same_segment_gives_the_same_samples(backend: TTSBackendBase) -> None:
    first = await speak_segment(backend, segment(backend))
    await speak_segment(backend, segment(backend, "Something else."))
    again = await speak_segment(backend, segment(backend))
    assert np.array_equal(
        np.concatenate([chunk.samples for chunk in first]),
        np.concatenate([chunk.samples for chunk in again]),
    )


async def test_streams_at_the_same_time_do_not_mix(backend: TTSBackendBase) -> None:
    texts = [f"Sentence number {number} is this one here." for number in range(8)]
    alone = [await speak_segment(backend, segment(backend, text)) for text in texts]
    together = await asyncio.gather(
        *(speak_segment(backend, segment(backend, text)) for text in texts)
    )
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(
            np.concatenate([chunk.samples for chunk in one]),
            np.concatenate([chunk.samples for chunk in other]),
        )


async def test_closing_a_stream_leaves_the_backend_usable(backend: TTSBackendBase) -> None:
    for _ in range(5):
        async with aclosing(backend.generate_speech_stream(segment(backend))) as chunks:
            await anext(chunks)
    assert await speak_segment(backend, segment(backend))


async def test_voices_have_distinct_ids_and_are_found_by_them(backend: TTSBackendBase) -> None:
    voices = backend.voices()
    assert voices
    assert len({voice.id for voice in voices}) == len(voices)
    for voice in voices:
        assert voice.languages
        assert voice.sample_rate > 0
        assert backend.find_voice(voice.id) == voice
        assert backend.find_voice(voice.id.upper()) == voice
        assert all(tag == tag.lower() for tag in voice.languages)


async def test_every_voice_speaks(backend: TTSBackendBase) -> None:
    for voice in backend.voices():
        wanted = Segment(0, "123", 0, 3, voice, None, 1.0, backend.options_model())
        assert await speak_segment(backend, wanted), voice.id


async def test_an_unknown_voice_or_language_is_named(backend: TTSBackendBase) -> None:
    with pytest.raises(VoiceNotFound, match="no-such-voice"):
        backend.choose_voice("no-such-voice", None)
    with pytest.raises(LanguageNotSupported, match="tlh-x-none"):
        backend.choose_voice(None, "tlh-x-none")


async def test_options_have_types_defaults_and_descriptions(backend: TTSBackendBase) -> None:
    model: type[BaseModel] = backend.options_model
    assert issubclass(model, SharedOptions)
    assert model()  # every option has a default
    for name, option in model.model_json_schema()["properties"].items():
        assert "default" in option, name
        assert "type" in option or "anyOf" in option, name


async def test_an_unknown_option_is_refused(backend: TTSBackendBase) -> None:
    with pytest.raises(ValueError, match="extra_forbidden"):
        backend.options_model.model_validate({"no_such_option": 1})


@pytest.mark.parametrize("text", ["a", "\ud800", "\x00x", "é" * 300, "日本語", "x\u0301", "<b>&"])
async def test_odd_text_does_no_harm(backend: TTSBackendBase, text: str) -> None:
    await speak_segment(backend, segment(backend, text))
    assert await speak_segment(backend, segment(backend))


async def test_marks_lie_in_the_text_and_rise(backend: TTSBackendBase) -> None:
    chunks = await speak_segment(backend, segment(backend))
    marks = [mark for chunk in chunks for mark in chunk.marks]
    length = sum(chunk.samples.size for chunk in chunks)
    for mark in marks:
        assert 0 <= mark.start < mark.end <= len(TEXT)
        assert 0 <= mark.sample <= length
    assert [mark.sample for mark in marks] == sorted(mark.sample for mark in marks)
    assert [mark.start for mark in marks] == sorted({mark.start for mark in marks})


async def by_wyoming(port: int, name: str) -> float:
    """Say the text in a voice; return the seconds that were heard."""
    samples = 0
    async with AsyncTcpClient("127.0.0.1", port, read_timeout=10) as client:
        voice = SynthesizeVoice(name=name)
        await client.write_event(Synthesize(text=TEXT, voice=voice).event())
        while (event := await client.read_event()) and not AudioStop.is_type(event.type):
            assert event.type.startswith("audio-")
            samples += len(event.payload or b"") // 2
    return samples / RATE


@pytest.mark.parametrize("name", BACKENDS)
async def test_every_backend_gives_every_format_by_every_door(name: str) -> None:
    async with (
        settings_of(name) as settings,
        running_parts({settings.type: BACKENDS[name]}, settings={name: settings}) as parts,
        connect(parts.url) as client,
        ClientSession(parts.http_url) as session,
    ):
        voice = (await parts.manager.voices(model=name))[0].voice.id
        lengths = [await by_wyoming(parts.wyoming_port, f"{name}/{voice}")]
        for response_format in map(str, AudioFormat):
            asked = client.speak(TEXT, model=name, voice=voice, response_format=response_format)
            async with asked as speech:
                by_websocket = b"".join([part async for part in speech])
            body = {
                "model": name,
                "input": TEXT,
                "voice": voice,
                "response_format": response_format,
            }
            async with session.post("/v1/audio/speech", json=body) as response:
                assert response.headers["X-Voiced-Backend"] == name
                by_http = await response.read()
            for audio in (by_websocket, by_http):
                samples, rate = heard(audio, response_format)
                assert np.abs(samples).max() > 0.01
                lengths.append(samples.size / rate)
    assert max(lengths) - min(lengths) < 0.15  # what mp3 and aac add


@pytest.mark.parametrize("name", BACKENDS)
async def test_every_speed_is_heard(name: str) -> None:
    """What the engine cannot do itself is done by a stretch, so none is refused."""
    async with running(name) as manager:
        lengths = {}
        for speed in (0.25, 0.5, 1.0, 2.0, 4.0):
            _, audio = await speak(manager, LONG, model=name, speed=speed)
            lengths[speed] = len(audio)
        for speed, length in lengths.items():
            assert lengths[1.0] / length == pytest.approx(speed, rel=0.2), speed


@pytest.mark.parametrize("name", BACKENDS)
async def test_a_wrong_option_is_an_error_of_the_client(name: str) -> None:
    async with running(name) as manager:
        wanted = request("one", model=name, model_specific_options={"no_such_option": 1})
        with pytest.raises(RequestError, match="no_such_option"):
            manager.plan(wanted, default_format=AudioFormat.PCM, sample_rate=24000)


@pytest.mark.parametrize("name", BACKENDS)
async def test_a_cancelled_speech_frees_the_lane(name: str) -> None:
    async with running(name) as manager:
        wanted = request(TEXT * 20, model=name)
        plan = manager.plan(wanted, default_format=AudioFormat.PCM, sample_rate=24000)
        async with aclosing(manager.speak(plan, label="test")) as events:
            async for event in events:
                if isinstance(event, AudioFrame):
                    break
        assert manager.speaking == 0
        _, audio = await asyncio.wait_for(speak(manager, "one", model=name), 5)
        assert audio
