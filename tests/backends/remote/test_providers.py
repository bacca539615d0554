"""The three providers as backends, against fakes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest
from providers import (
    ANNA,
    BERT,
    CHARACTER_S,
    KEY,
    KINDS,
    LIBRARY,
    RATE,
    Fake,
    Kind,
    Trouble,
)
from support import eventually, request, running_manager, scripted, speak

from voiced.backends.alltalk import AllTalkBackend, AllTalkSettings
from voiced.backends.base import BackendSettings, TTSBackendBase
from voiced.backends.elevenlabs import ElevenLabsBackend, ElevenLabsSettings
from voiced.backends.openai import OpenAIBackend, OpenAISettings
from voiced.errors import (
    BackendError,
    BackendLate,
    BackendUnavailable,
    UpstreamAuth,
    UpstreamQuota,
    VoicedError,
    VoiceNotFound,
)
from voiced.request import SpeechRequest
from voiced.speech import AudioFormat, AudioFrame, Notice, SpeechEvent, SpeechStart, Words
from voiced.synthesis.manager import TTSBackendManager

TEXT = "Good morning, everyone. The kettle is on, and the tea is nearly ready."


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@asynccontextmanager
async def cloud(
    kind: Kind, *, fake: dict[str, Any] | None = None, **keys: Any
) -> AsyncIterator[tuple[Fake, TTSBackendManager]]:
    async with kind.fake(**(fake or {})) as running:
        settings = {"cloud": kind.settings(running, **keys), "good": BackendSettings(type="good")}
        types: dict[str, type[TTSBackendBase]] = {"cloud": kind.backend, "good": scripted()}
        async with running_manager(types, settings=settings) as manager:
            yield running, manager


async def say(manager: TTSBackendManager, text: str = TEXT, **fields: Any) -> bytes:
    fields.setdefault("model_specific_options", {})
    fields["model_specific_options"] = {"strict": True, **fields["model_specific_options"]}
    return (await speak(manager, text, model="cloud", **fields))[1]


def start_of(events: list[SpeechEvent]) -> SpeechStart:
    (start,) = [event for event in events if isinstance(event, SpeechStart)]
    return start


async def test_it_speaks_in_one_request_and_whole(kind: Kind) -> None:
    async with cloud(kind) as (fake, manager):
        audio = await say(manager)
        assert len(audio) / 2 / RATE == pytest.approx(len(TEXT) * CHARACTER_S, abs=0.05)
        assert len(fake.asked) == 1


async def test_a_growing_text_is_asked_for_by_sentence(kind: Kind) -> None:
    async with cloud(kind) as (fake, manager):
        wanted = SpeechRequest(model="cloud")
        plan = manager.plan(wanted, default_format=AudioFormat.PCM, sample_rate=RATE)
        for word in TEXT.split():
            plan.text.append(f"{word} ", at=0)
        plan.text.end()
        async with aclosing(manager.speak(plan, label="test")) as events:
            async for _ in events:
                pass
        asked = [body.get("input") or body.get("text") for _, body in fake.asked]
        assert asked == ["Good morning, everyone.", TEXT[24:]]


@pytest.mark.parametrize("response_format", list(AudioFormat))
async def test_it_speaks_in_every_format(kind: Kind, response_format: AudioFormat) -> None:
    async with cloud(kind) as (_, manager):
        assert len(await say(manager, response_format=str(response_format))) > 1000


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (Trouble(401, {"error": {"code": "invalid_api_key"}}), UpstreamAuth),
        (Trouble(402, {"detail": {"code": "insufficient_credits"}}), UpstreamQuota),
        (Trouble(429, {"error": {"code": "insufficient_quota"}}), UpstreamQuota),
        (Trouble(401, {"detail": {"status": "quota_exceeded"}}), UpstreamQuota),
        (Trouble(400, {"error": {"message": "secret text"}}), BackendError),
        (Trouble(kind="html"), BackendError),
        (Trouble(kind="redirect"), BackendError),
        (Trouble(kind="empty"), BackendError),
        (Trouble(kind="silence"), BackendError),
        (Trouble(kind="slow"), BackendLate),
        (Trouble(kind="stall"), BackendLate),
        (Trouble(kind="cut"), BackendError),
        (Trouble(kind="reset"), BackendError),
        (Trouble(kind="endless"), BackendError),
    ],
    ids=lambda value: value.kind or str(value.status) if isinstance(value, Trouble) else "",
)
async def test_every_trouble_is_an_error_and_tried_once(
    kind: Kind, trouble: Trouble, error: type[VoicedError]
) -> None:
    async with cloud(kind, first_audio_timeout_s=0.3) as (fake, manager):
        fake.will(trouble)
        with pytest.raises(error) as caught:
            await say(manager)
        assert len(fake.asked) == 1
        assert "secret" not in caught.value.message
        assert KEY not in caught.value.message


@pytest.mark.parametrize("kind_of", ["429", "500", "503"])
async def test_what_may_pass_is_tried_again(kind: Kind, kind_of: str) -> None:
    async with cloud(kind) as (fake, manager):
        trouble = Trouble(int(kind_of), {}, retry_after="0")
        fake.will(trouble, trouble)
        events, audio = await speak(manager, TEXT, model="cloud")
        assert audio
        assert len(fake.asked) == 3
        notices = [event.code for event in events if isinstance(event, Notice)]
        assert notices == ["retrying"]
        fake.will(trouble, trouble, trouble)
        with pytest.raises(BackendError):
            await say(manager)
        assert len(fake.asked) == 6


async def test_a_provider_that_wants_a_long_wait_is_not_waited_for(kind: Kind) -> None:
    async with cloud(kind) as (fake, manager):
        fake.will(Trouble(429, {}, retry_after="60"))
        with pytest.raises(UpstreamQuota):
            await say(manager)
        assert len(fake.asked) == 1


async def test_the_fallback_speaks_at_once_while_the_circuit_is_open(kind: Kind) -> None:
    async with cloud(kind, retries=0) as (fake, manager):
        fake.will(*[Trouble(500, {})] * 3)
        for _ in range(3):
            events, audio = await speak(manager, TEXT, model="cloud")
            assert start_of(events).backend == "good"
            assert audio
        events, _ = await speak(manager, TEXT, model="cloud")
        assert len(fake.asked) == 3  # it was not asked again
        (notice,) = [event for event in events if isinstance(event, Notice)]
        assert "unavailable" in notice.message
        cure = manager.model("cloud").cure
        assert cure is not None
        assert "asked again in" in cure


async def test_a_provider_that_hangs_is_soon_not_waited_for(kind: Kind) -> None:
    async with cloud(kind, first_audio_timeout_s=0.1) as (fake, manager):
        await manager.get_backend("cloud")
        fake.will(*[Trouble(kind="slow")] * 3)
        for _ in range(4):
            events, _ = await speak(manager, TEXT, model="cloud")
            assert start_of(events).backend == "good"
        assert len(fake.asked) == 3


async def test_a_list_of_voices_that_does_not_come_is_not_waited_for() -> None:
    async with running_silence() as url:
        settings = OpenAISettings(type="openai", base_url=url, first_audio_timeout_s=0.2)
        async with running_manager({"openai": OpenAIBackend}, settings={"cloud": settings}) as home:
            async with asyncio.timeout(5):
                with pytest.raises(BackendUnavailable, match=r"sent nothing for 0\.2 s"):
                    await home.get_backend("cloud")


@asynccontextmanager
async def running_silence() -> AsyncIterator[str]:
    """A server that takes every connection, and answers none."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_a_cancel_closes_the_request_at_once(kind: Kind) -> None:
    async with cloud(kind) as (fake, manager):
        fake.will(Trouble(kind="slow"))
        task = asyncio.create_task(say(manager))
        await eventually(lambda: fake.asked != [])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: fake.left == 1, seconds=1)
        assert await say(manager)


async def test_one_that_is_gone_is_unreachable(kind: Kind) -> None:
    async with cloud(kind, retries=0) as (fake, manager):
        await manager.get_backend("cloud")
        fake.will(Trouble(kind="reset", after_bytes=0))
        with pytest.raises(BackendError):
            await say(manager)


async def test_no_more_than_its_limit_ask_at_a_time(kind: Kind) -> None:
    async with cloud(kind, max_concurrent=2) as (fake, manager):
        await asyncio.gather(*(say(manager, "Good morning. " * 3) for _ in range(8)))
        assert fake.most_open <= 2


async def test_a_break_midway_is_spoken_to_its_end(kind: Kind) -> None:
    async with cloud(kind) as (fake, manager):
        fake.will(Trouble(kind="cut", after_bytes=60_000))
        events, audio = await speak(manager, TEXT, model="cloud")
        assert start_of(events).backend == "cloud"
        assert [e.code for e in events if isinstance(e, Notice)] == ["backend_fallback"]
        assert np.abs(np.frombuffer(audio, np.int16)).max() > 10000  # the fallback's constant


async def test_first_audio_comes_before_the_provider_has_ended(kind: Kind) -> None:
    async with cloud(kind, stall_timeout_s=30) as (fake, manager):
        await manager.get_backend("cloud")
        fake.will(Trouble(kind="stall", after_bytes=40_000))
        plan = manager.plan(
            request(TEXT, model="cloud"), default_format=AudioFormat.PCM, sample_rate=RATE
        )
        async with aclosing(manager.speak(plan, label="test")) as events:
            async for event in events:
                if isinstance(event, AudioFrame):
                    break


async def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ELEVENLABS_API_KEY", raising=False)
    for backend, settings, name in (
        (OpenAIBackend, OpenAISettings(type="openai"), "OPENAI_API_KEY"),
        (ElevenLabsBackend, ElevenLabsSettings(type="elevenlabs"), "ELEVENLABS_API_KEY"),
    ):
        assert name in (backend.missing(settings) or "")


async def test_a_key_of_openai_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    async with cloud(KINDS["openai"], fake={"voices": {"voices": ["alloy"]}}, api_key="") as (
        fake,
        manager,
    ):
        with pytest.raises(UpstreamAuth):
            await say(manager)
        assert all("sk-of-openai" not in str(headers) for headers in fake.headers)


# ------------------------------------------------------------------------------- each of the three


@pytest.mark.parametrize(
    "voices",
    [
        {"voices": ["nova", "alloy"]},
        {"voices": [{"id": "nova", "name": "Nova"}, {"name": "alloy"}]},
        {"data": [{"model": "x", "voices": [{"name": "nova"}, {"name": "alloy"}]}]},
        ["nova", "alloy"],
    ],
)
async def test_openai_voices_of_other_servers(voices: Any) -> None:
    async with cloud(KINDS["openai"], fake={"voices": voices}) as (_, manager):
        listed = await manager.voices(model="cloud")
        assert [entry.voice.id for entry in listed] == ["nova", "alloy"]
        with pytest.raises(VoiceNotFound):
            await say(manager, voice="nobody")


@pytest.mark.parametrize("response_format", ["pcm", "wav", "mp3", "opus", "aac"])
async def test_openai_in_another_format(response_format: str) -> None:
    async with cloud(KINDS["openai"], response_format=response_format) as (_, manager):
        audio = await say(manager, voice="nova", speed=1.5, instructions="Softly.")
        assert len(audio) / 2 / RATE == pytest.approx(len(TEXT) * CHARACTER_S / 1.5, abs=0.1)


async def test_openai_is_given_what_was_asked_for() -> None:
    async with cloud(KINDS["openai"], takes_speed=False) as (fake, manager):
        await say(manager, voice="nova", speed=2.0, instructions="Softly.")
        ((_, body),) = fake.asked
        assert body == {
            "model": "tts-1",
            "input": TEXT,
            "voice": "nova",
            "response_format": "pcm",
            "instructions": "Softly.",
        }


async def test_elevenlabs_voices_by_name_and_by_id() -> None:
    async with cloud(KINDS["elevenlabs"]) as (fake, manager):
        for name, path in (
            ("anna", ANNA),
            ("Bert", BERT),
            (ANNA.lower(), ANNA),
            (LIBRARY, LIBRARY),
        ):
            await say(manager, voice=name)
            assert f"/{path}/" in fake.asked[-1][0]
        with pytest.raises(VoiceNotFound):
            await say(manager, voice="nobody")
        with pytest.raises(VoiceNotFound, match="does not know this voice"):
            await say(manager, voice="x" * 20)
        events, _ = await speak(manager, TEXT, model="cloud", language="de")
        assert start_of(events).voice in (ANNA, BERT)


async def test_a_voice_that_is_new_in_the_account_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voiced.backends.remote.backend._ASK_AFTER_S", 0)
    new = "NewNewNewNewNewNewNew"[:20]
    async with cloud(KINDS["elevenlabs"]) as (fake, manager):
        assert len(await manager.voices(model="cloud")) == 2
        fake.newcomers.append((new, "Cleo", "fr"))
        await say(manager, voice="Cleo")
        assert new in fake.asked[-1][0]
        assert len(await manager.voices(model="cloud")) == 3


async def test_voices_stay_known_while_the_provider_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("voiced.backends.remote.backend._ASK_AFTER_S", 0)
    async with cloud(KINDS["alltalk"]) as (fake, manager):
        await manager.get_backend("cloud")
        fake.is_gone = True
        assert len(await manager.voices(model="cloud")) == 2
        assert "cloud keeps the voices it knew" in caplog.text


async def test_elevenlabs_options_are_passed_on_and_checked() -> None:
    async with cloud(KINDS["elevenlabs"], model_id="eleven_flash_v2_5") as (fake, manager):
        options = {"stability": 0.2, "use_speaker_boost": False, "seed": 7}
        await say(manager, speed=1.1, language="de-AT", model_specific_options=options)
        ((_, body),) = fake.asked
        assert body["voice_settings"] == {
            "stability": 0.2,
            "use_speaker_boost": False,
            "speed": 1.1,
        }
        assert (body["seed"], body["language_code"]) == (7, "de")
        with pytest.raises(VoicedError, match="stability"):
            await say(manager, model_specific_options={"stability": 2})


async def test_elevenlabs_tells_words_where_they_are_asked_for() -> None:
    async with cloud(KINDS["elevenlabs"]) as (fake, manager):
        plan = manager.plan(
            request(TEXT, model="cloud"),
            default_format=AudioFormat.PCM,
            sample_rate=RATE,
            wants_words=True,
        )
        async with aclosing(manager.speak(plan, label="test")) as events:
            told = [event async for event in events if isinstance(event, Words)]
        assert fake.asked[0][0].endswith("/with-timestamps")
        assert not any(words.is_estimated for words in told)
        said = [(TEXT[w.text_start : w.text_end], w.position) for t in told for w in t.words]
        assert [word for word, _ in said] == TEXT.replace(",", "").replace(".", "").split()
        expected = TEXT.index("kettle") * CHARACTER_S * RATE
        assert dict(said)["kettle"] == pytest.approx(expected, abs=0.02 * RATE)


async def test_elevenlabs_with_a_key_that_may_only_speak() -> None:
    async with cloud(KINDS["elevenlabs"], fake={"may_list": False}, voice=ANNA) as (_, manager):
        assert await say(manager)
    async with cloud(KINDS["elevenlabs"], fake={"may_list": False}) as (_, manager):
        with pytest.raises(BackendUnavailable, match="voice"):
            await say(manager)


async def test_elevenlabs_in_mp3() -> None:
    async with cloud(KINDS["elevenlabs"], output_format="mp3_44100_128") as (_, manager):
        assert len(await say(manager)) / 2 / RATE == pytest.approx(len(TEXT) * CHARACTER_S, abs=0.1)


@pytest.mark.parametrize(
    ("can_stream", "path"),
    [(True, "/api/tts-generate-streaming"), (False, "/v1/audio/speech")],
)
async def test_alltalk_by_the_route_that_its_engine_can(can_stream: bool, path: str) -> None:  # noqa: FBT001
    async with cloud(KINDS["alltalk"], fake={"can_stream": can_stream}) as (fake, manager):
        assert await say(manager, language="de-AT")
        assert fake.asked[0][0] == path
        if can_stream:
            assert fake.asked[0][1]["language"] == "de"
            assert await say(manager, voice="male_01")
            assert fake.asked[1][1]["voice"] == "male_01.wav"


def test_alltalk_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLTALK_API_URL", "http://tts.local:7851/")
    assert AllTalkSettings(type="alltalk").base_url == "http://tts.local:7851"


def test_alltalk_that_is_not_here_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiced.backends.alltalk._USUAL_URL", "http://localhost:9")
    settings = AllTalkSettings(type="alltalk", base_url="http://localhost:9")
    assert "does not answer" in (AllTalkBackend.missing(settings) or "")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/",
        "http://",
        "http://u:p@x/",
        "http://x/?k=1",
        "http://x:99999/",
        "nothing",
        "http://x/ y",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        OpenAISettings(type="openai", base_url=url)


def test_a_variable_may_give_several_voices() -> None:
    settings = OpenAISettings.model_validate({"type": "openai", "voices": "anna, bert"})
    assert settings.voices == ["anna", "bert"]
