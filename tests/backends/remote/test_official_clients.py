"""The fakes of the providers, proved by the providers' own Python packages."""

from __future__ import annotations

import base64

import elevenlabs.core
import httpx
import numpy as np
import openai
import pytest
from elevenlabs import VoiceSettings
from elevenlabs.client import AsyncElevenLabs
from openai import AsyncOpenAI
from providers import ANNA, BERT, CHARACTER_S, KEY, RATE, Trouble, fake_elevenlabs, fake_openai
from support import decode

TEXT = "Good morning, everyone."
SECONDS = len(TEXT) * CHARACTER_S


def decoded_s(audio: bytes) -> float:
    samples, rate = decode(audio)
    return float(samples.size / rate)


async def test_openai_takes_its_own_client() -> None:
    async with (
        fake_openai() as fake,
        AsyncOpenAI(base_url=fake.url, api_key=KEY, max_retries=0) as client,
    ):
        async with client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts",
            voice="nova",
            input=TEXT,
            instructions="Softly.",
            response_format="pcm",
            speed=2.0,
        ) as response:
            assert response.headers["content-type"] == "audio/pcm"
            audio = b"".join([part async for part in response.iter_bytes()])
        assert len(audio) / 2 / RATE == pytest.approx(SECONDS / 2, abs=0.01)
        for kind in ("mp3", "opus", "aac", "flac", "wav"):
            made = await client.audio.speech.create(
                model="tts-1",
                voice="alloy",
                input=TEXT,
                response_format=kind,
            )
            assert decoded_s(made.content) == pytest.approx(SECONDS, abs=0.2)


@pytest.mark.parametrize(
    ("trouble", "raised"),
    [
        (Trouble(status=401), openai.AuthenticationError),
        (Trouble(status=429, retry_after="1"), openai.RateLimitError),
        (Trouble(status=500), openai.InternalServerError),
    ],
)
async def test_openai_refuses_as_its_client_expects(
    trouble: Trouble, raised: type[openai.APIStatusError]
) -> None:
    async with (
        fake_openai() as fake,
        AsyncOpenAI(base_url=fake.url, api_key=KEY, max_retries=0) as client,
    ):
        fake.will(trouble)
        with pytest.raises(raised):
            await client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
        with pytest.raises(openai.BadRequestError):
            await client.audio.speech.create(model="tts-1", voice="nobody", input=TEXT)
        with pytest.raises(openai.NotFoundError):
            await client.audio.speech.create(model="tts-9", voice="alloy", input=TEXT)
        other = client.with_options(api_key="sk-wrong")
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            await other.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)


async def test_elevenlabs_takes_its_own_client() -> None:
    async with fake_elevenlabs() as fake, httpx.AsyncClient() as http:
        client = AsyncElevenLabs(base_url=fake.url, api_key=KEY, httpx_client=http)
        listed = await client.voices.search(page_size=100, include_total_count=False)
        more = await client.voices.search(next_page_token=listed.next_page_token)
        assert [voice.voice_id for voice in (*listed.voices, *more.voices)] == [ANNA, BERT]
        settings = VoiceSettings(stability=0.4, similarity_boost=0.5, style=0.1, speed=1.2)
        spoken = client.text_to_speech.stream(
            ANNA,
            text=TEXT,
            model_id="eleven_multilingual_v2",
            output_format="pcm_24000",
            voice_settings=settings,
            seed=7,
        )
        audio = b"".join([part async for part in spoken])
        assert len(audio) / 2 / RATE == pytest.approx(SECONDS / 1.2, abs=0.01)
        spoken = client.text_to_speech.stream(BERT, text=TEXT, model_id="eleven_flash_v2_5")
        audio = b"".join([part async for part in spoken])
        assert decoded_s(audio) == pytest.approx(SECONDS, abs=0.2)


async def test_elevenlabs_tells_times_as_its_client_reads_them() -> None:
    async with fake_elevenlabs() as fake, httpx.AsyncClient() as http:
        client = AsyncElevenLabs(base_url=fake.url, api_key=KEY, httpx_client=http)
        audio, said = b"", ""
        async for line in client.text_to_speech.stream_with_timestamps(
            ANNA, text=TEXT, output_format="pcm_24000"
        ):
            audio += base64.b64decode(line.audio_base_64)
            if line.alignment:
                said += "".join(line.alignment.characters)
                assert line.alignment.character_start_times_seconds
        assert said == TEXT
        assert np.frombuffer(audio, "<i2").size / RATE == pytest.approx(SECONDS, abs=0.01)


@pytest.mark.parametrize(("voice", "key", "status"), [(ANNA, "wrong", 401), ("x" * 20, KEY, 404)])
async def test_elevenlabs_refuses_as_its_client_expects(voice: str, key: str, status: int) -> None:
    async with fake_elevenlabs() as fake, httpx.AsyncClient() as http:
        client = AsyncElevenLabs(base_url=fake.url, api_key=key, httpx_client=http)
        with pytest.raises(elevenlabs.core.ApiError) as refused:
            async for _ in client.text_to_speech.stream(voice, text=TEXT):
                pass
        assert refused.value.status_code == status
