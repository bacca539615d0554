from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, ClassVar

import pytest
from support import (
    RATE,
    UNAVAILABLE,
    ScriptedBackend,
    eventually,
    request,
    running_manager,
    scripted,
    speak,
)

from voiced.backends.base import BackendSettings, TTSBackendBase
from voiced.errors import (
    BackendError,
    BackendUnavailable,
    ConfigError,
    InvalidOption,
    LanguageNotSupported,
    ModelNotFound,
    TextTooLong,
    VoiceNotFound,
)
from voiced.reading.markup import CodeReading
from voiced.request import BackendState, OpenAISpeechRequest, Plan
from voiced.speech import (
    AudioFormat,
    AudioFrame,
    EndReason,
    Notice,
    SegmentEnd,
    SegmentStart,
    SpeechStart,
    Voice,
    Words,
)
from voiced.synthesis.catalogue import SpeechDefaults
from voiced.synthesis.lane import Engine
from voiced.synthesis.manager import TTSBackendManager
from voiced.synthesis.mappings import Mappings
from voiced.synthesis.report import SpeechReport

NAMES = Mappings(
    models={"public": "good", "cloud": "missing", "broken": "bad"},
    voices={"alias": {"good": "zwei"}, "circle": "alias", "plain": "zwei"},
)


def plan(manager: TTSBackendManager, wanted: OpenAISpeechRequest) -> Plan:
    return manager.plan(wanted, default_format=AudioFormat.PCM, sample_rate=RATE)


# ----------------------------------------------------------------------------------- loading


async def test_a_backend_is_made_once_however_many_ask() -> None:
    kind = scripted()
    async with running_manager({"good": kind}) as manager:
        made = await asyncio.gather(*(manager.get_backend("good") for _ in range(20)))
        assert len(set(map(id, made))) == len(kind.made) == 1
        assert not kind.made[0].is_closed
    assert kind.made[0].is_closed


async def test_one_who_stops_asking_does_not_stop_the_others() -> None:
    async with running_manager({"good": scripted()}) as manager:
        impatient = asyncio.create_task(manager.get_backend("good"))
        patient = asyncio.create_task(manager.get_backend("good"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await patient


async def test_an_unavailable_backend_says_the_cure_and_is_not_tried_each_time() -> None:
    kind = scripted(problem=UNAVAILABLE)
    async with running_manager({"bad": kind}) as manager:
        for _ in range(3):
            with pytest.raises(BackendUnavailable, match="FAKE_KEY"):
                await manager.get_backend("bad")
        assert len(kind.made) == 1
        assert manager.model("bad").state is BackendState.UNAVAILABLE
        assert manager.model("bad").cure == "The fake has no key; set FAKE_KEY."


async def test_a_backend_that_breaks_while_it_loads_is_unavailable() -> None:
    kind = scripted(problem=ZeroDivisionError())
    async with running_manager({"bad": kind}) as manager:
        with pytest.raises(BackendUnavailable, match="ZeroDivisionError"):
            await manager.get_backend("bad")


async def test_states() -> None:
    async with running_manager({"good": scripted()}, mappings=NAMES) as manager:
        states = {info.id: info.state for info in manager.models()}
        assert states["public"] is BackendState.IDLE
        assert states["cloud"] is BackendState.UNAVAILABLE
        await manager.get_backend("good")
        assert manager.model("public").state is BackendState.READY
        assert manager.model("auto").backend == "good"


async def test_an_idle_local_backend_is_unloaded_and_loaded_again_when_asked() -> None:
    kind = scripted()
    async with running_manager({"good": kind}, idle_unload_s=0.01) as manager:
        await speak(manager, "one")
        await eventually(lambda: manager.model("good").state is BackendState.IDLE)
        await speak(manager, "two")
        assert [made.spoken for made in kind.made] == [["one"], ["two"]]
        assert kind.made[0].is_closed


async def test_a_backend_that_was_loaded_and_never_used_is_unloaded_too() -> None:
    kind = scripted()
    async with running_manager({"good": kind}, idle_unload_s=0.01) as manager:
        await manager.voices()
        assert manager.model("good").state is BackendState.READY
        await eventually(lambda: manager.model("good").state is BackendState.IDLE)


async def test_a_plug_in_may_fail_anywhere() -> None:
    class Voiceless(ScriptedBackend):
        def voices(self) -> Sequence[Voice]:
            return ()

    class Unsure(ScriptedBackend):
        @classmethod
        def missing(cls, settings: Any) -> str | None:
            raise ZeroDivisionError

    class Unmade(ScriptedBackend):
        def __init__(self, *_: Any, **__: Any) -> None:
            raise ZeroDivisionError

    types: dict[str, type[TTSBackendBase]] = {
        "voiceless": Voiceless,
        "unsure": Unsure,
        "unmade": Unmade,
        "good": scripted(),
    }
    async with running_manager(types) as manager:
        for name in ("voiceless", "unsure", "unmade"):
            events, audio = await speak(manager, "one", model=name)
            assert isinstance(events[0], SpeechStart)
            assert events[0].backend == "good"
            assert audio
            assert manager.model(name).state is BackendState.UNAVAILABLE


async def test_an_engine_that_was_too_slow_is_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voiced.synthesis.pool._MEASURE_AFTER_S", 0)

    class Better(ScriptedBackend):
        quality = 9
        made: ClassVar[list[ScriptedBackend]] = []

    types: dict[str, type[TTSBackendBase]] = {"good": scripted(), "better": Better}
    async with running_manager(types) as manager:
        await manager.get_backend("good")
        backend = await manager.get_backend("better")
        assert isinstance(backend.lane, Engine)
        for _ in range(3):
            backend.lane.pace.note("one", work_s=9, audio_s=1)
        assert plan(manager, request("one")).backend_ids[0] == "good"
        async with asyncio.timeout(5):
            while plan(manager, request("one")).backend_ids[0] != "better":  # noqa: ASYNC110
                await asyncio.sleep(0.001)


async def test_a_backend_in_use_is_not_unloaded() -> None:
    kind = scripted()
    async with running_manager({"good": kind}, idle_unload_s=0.001) as manager:
        spoken = manager.speak(plan(manager, request("Hello there. " * 50)), label="test")
        async with aclosing(spoken) as events:
            await anext(events)
            await asyncio.sleep(0.02)
            assert manager.model("good").state is BackendState.READY
            assert not kind.made[0].is_closed


# ------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("model", ["public", "good", "auto", None])
async def test_a_model_by_its_public_name_its_backend_id_or_auto(model: str | None) -> None:
    async with running_manager({"good": scripted()}, mappings=NAMES) as manager:
        events, _ = await speak(manager, "one", model=model)
        start = events[0]
        assert isinstance(start, SpeechStart)
        assert (start.backend, start.model) == ("good", model or manager.usual()["model"])


async def test_an_unknown_model() -> None:
    async with running_manager({"good": scripted()}) as manager:
        with pytest.raises(ModelNotFound, match="'nope'"):
            plan(manager, request("one", model="nope"))


@pytest.mark.parametrize("model", ["cloud", "missing", "broken", "bad"])
async def test_a_fallback_speaks_for_what_is_unavailable_and_says_so(model: str) -> None:
    types = {"good": scripted(), "bad": scripted(problem=UNAVAILABLE)}
    async with running_manager(types, mappings=NAMES) as manager:
        for _ in range(2):  # before and after it is known to be unavailable
            events, audio = await speak(manager, "one", model=model)
            start, notice = events[:2]
            assert isinstance(start, SpeechStart)
            assert start.backend == "good"
            assert isinstance(notice, Notice)
            assert notice.code == "backend_fallback"
            assert audio


@pytest.mark.parametrize("model", ["cloud", "broken"])
async def test_strict_insists(model: str) -> None:
    types = {"good": scripted(), "bad": scripted(problem=UNAVAILABLE)}
    async with running_manager(types, mappings=NAMES) as manager:
        with pytest.raises(BackendUnavailable):
            await speak(manager, "one", model=model, model_specific_options={"strict": True})


async def test_without_any_backend_the_cure_is_that_of_the_one_asked_for() -> None:
    async with running_manager({"bad": scripted(problem=UNAVAILABLE)}) as manager:
        with pytest.raises(BackendUnavailable, match="FAKE_KEY"):
            await speak(manager, "one", model="bad")


async def test_a_fallback_takes_its_own_voice_and_the_shared_options() -> None:
    types = {"good": scripted(), "bad": scripted(problem=UNAVAILABLE)}
    async with running_manager(types, mappings=NAMES) as manager:
        events, _ = await speak(
            manager,
            "one",
            model="cloud",
            voice="nobody here knows",
            language="xx",
            model_specific_options={"stability": 0.5, "lead_silence_ms": 10},
        )
        start = events[0]
        assert isinstance(start, SpeechStart)
        assert start.voice == "one"


@pytest.mark.parametrize(
    ("fields", "voice"),
    [
        ({}, "one"),
        ({"voice": "zwei"}, "zwei"),
        ({"voice": "ZWEI"}, "zwei"),
        ({"voice": "alias"}, "zwei"),
        ({"voice": "plain"}, "zwei"),
        ({"voice": {"id": "zwei"}}, "zwei"),
        ({"language": "de"}, "zwei"),
        ({"language": "de-AT"}, "zwei"),
        ({"language": "en", "voice": "zwei"}, "zwei"),
    ],
)
async def test_voices(fields: dict[str, Any], voice: str) -> None:
    async with running_manager({"good": scripted()}, mappings=NAMES) as manager:
        events, _ = await speak(manager, "one", **fields)
        assert isinstance(events[0], SpeechStart)
        assert events[0].voice == voice


@pytest.mark.parametrize("options", [{"lead_silence_ms": -1}, {"raw": "yes"}])
async def test_shared_options_are_checked_even_for_a_backend_that_is_not_there(
    options: dict[str, Any],
) -> None:
    async with running_manager({"good": scripted()}, mappings=NAMES) as manager:
        with pytest.raises(InvalidOption):
            plan(manager, request("x", model="cloud", model_specific_options=options))


async def test_a_configured_voice_that_is_not_there_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = {"good": BackendSettings(type="good", voice="nobody")}
    async with running_manager({"good": scripted()}, settings=settings) as manager:
        events, _ = await speak(manager, "one")
        assert isinstance(events[0], SpeechStart)
        assert events[0].voice == "one"
    assert "no voice 'nobody'" in caplog.text


async def test_what_is_usual_is_told() -> None:
    async with running_manager() as manager:
        assert manager.usual()["voice"] == ""
        await manager.get_backend("espeak")
        assert manager.usual() == {"model": "espeak", "voice": "en-us", "sample_rate": 24000}


async def test_an_alias_is_looked_up_once() -> None:
    async with running_manager({"good": scripted()}, mappings=NAMES) as manager:
        await manager.get_backend("good")
        with pytest.raises(VoiceNotFound, match="circle"):
            plan(manager, request("one", voice="circle"))


async def test_what_is_wrong_is_refused_before_anything_begins() -> None:
    defaults = SpeechDefaults(max_input_chars=10)
    async with running_manager({"good": scripted()}, defaults=defaults) as manager:
        await manager.get_backend("good")
        for fields, kind, param in (
            ({"text": "x" * 11}, TextTooLong, "input"),
            ({"text": "x", "voice": "zwai"}, VoiceNotFound, "voice"),
            ({"text": "x", "language": "fr"}, LanguageNotSupported, "language"),
            (
                {"text": "x", "model_specific_options": {"raw": 1}},
                InvalidOption,
                "model_specific_options.raw",
            ),
        ):
            with pytest.raises(kind) as caught:
                plan(manager, request(**fields))
            assert caught.value.param == param
        plan(manager, request("🙂" * 10))  # code points, not bytes


async def test_a_default_voice_that_this_backend_lacks_does_no_harm() -> None:
    defaults = SpeechDefaults(voice="af_bella", language="fr")
    async with running_manager({"good": scripted()}, defaults=defaults) as manager:
        events, _ = await speak(manager, "one")
        assert isinstance(events[0], SpeechStart)
        assert events[0].voice == "one"


async def test_names_in_the_defaults_are_checked_and_new_tables_too() -> None:
    with pytest.raises(ConfigError, match="nope either"):
        async with running_manager(
            {"good": scripted()}, defaults=SpeechDefaults(model="nope", fallback="nope either")
        ):
            pass
    defaults = SpeechDefaults(model="public")
    async with running_manager({"good": scripted()}, defaults=defaults, mappings=NAMES) as manager:
        with pytest.raises(ConfigError, match="public"):
            manager.use_mappings(Mappings({}, {}))
        assert manager.usual()["model"] == "public"


async def test_what_is_wrong_is_raised_afresh_each_time() -> None:
    """One exception raised again and again would keep every frame that it ever passed."""
    async with running_manager({"bad": scripted(problem=UNAVAILABLE)}) as manager:
        raised = []
        for _ in range(3):
            with pytest.raises(BackendUnavailable) as caught:
                await manager.get_backend("bad")
            raised.append(caught.value)
        assert len(set(map(id, raised))) == 3


@pytest.mark.parametrize("fields", [{"model": ""}, {"voice": ""}, {"language": ""}])
async def test_an_empty_name_is_none(fields: dict[str, str]) -> None:
    async with running_manager({"good": scripted()}) as manager:
        wanted = OpenAISpeechRequest.model_validate({"input": "x", **fields})
        assert plan(manager, wanted).backend_ids == ("good",)


async def test_a_very_long_name_is_not_found_either() -> None:
    async with running_manager({"good": scripted()}) as manager:
        with pytest.raises(ModelNotFound) as caught:
            plan(manager, request("x", model="m" * 300))
        assert len(caught.value.message) < 200


# ---------------------------------------------------------------------------------- speaking


async def test_positions_and_segments_tell_the_truth() -> None:
    kind = scripted()
    async with running_manager({"good": kind}) as manager:
        wanted = request("Hello there. It is late, good night.")
        position = 0
        segments = []
        async for event in manager.speak(plan(manager, wanted), label="test"):
            if isinstance(event, SegmentStart):
                segments.append(event)
                assert event.position == position
            elif isinstance(event, AudioFrame):
                assert event.position == position
                assert event.first == (position == 0)
                position += event.samples
                assert len(event.data) == event.samples * 2
                is_last = event.last
        assert is_last
        assert [(s.index, s.text_start, s.text_end) for s in segments] == [
            (0, 0, 12),
            (1, 13, 36),
        ]
        assert kind.made[0].spoken == ["Hello there.", "It is late, good night."]


async def test_a_pause_stands_before_the_segment_that_it_belongs_to() -> None:
    async with running_manager({"good": scripted()}) as manager:
        _, one = await speak(manager, "Hello there.")
        _, two = await speak(manager, "Hello there. Hello there.")
        pause = len(two) // 2 - len(one)
        assert pause == pytest.approx(0.25 * RATE, abs=10)
        assert two.startswith(one)
        assert not any(two[len(one) : len(one) + pause * 2])


async def test_lead_and_tail_silence() -> None:
    async with running_manager({"good": scripted()}) as manager:
        _, plain = await speak(manager, "Hello.")
        options = {"lead_silence_ms": 100, "tail_silence_ms": 50}
        _, padded = await speak(manager, "Hello.", model_specific_options=options)
        assert padded == bytes(4800) + plain + bytes(2400)


async def test_nothing_to_say_is_said_in_a_notice() -> None:
    async with running_manager({"good": scripted()}) as manager:
        events, audio = await speak(manager, " 🙂 ... ")
        assert [type(event) for event in events] == [SpeechStart, Notice]
        assert audio == b""


async def test_an_engine_that_breaks_is_told_and_reported() -> None:
    reports: list[SpeechReport] = []
    types = {"good": scripted(fails_after_chunks=3)}
    async with running_manager(types, on_report=reports.append) as manager:
        with pytest.raises(BackendError):
            await speak(manager, "Hello there.")
        assert (reports[0].reason, reports[0].error) == (EndReason.FAILED, "backend_error")
        assert manager.speaking == 0


async def test_a_cancelled_speech_is_reported_and_leaves_nothing() -> None:
    reports: list[SpeechReport] = []
    async with running_manager({"good": scripted()}, on_report=reports.append) as manager:
        spoken = manager.speak(plan(manager, request("Hello there. " * 50)), label="test")
        async with aclosing(spoken) as events:
            async for event in events:
                if isinstance(event, AudioFrame):
                    break
        assert reports[0].reason is EndReason.CANCELLED
        assert manager.speaking == 0


async def test_fifty_speeches_at_once_each_get_their_own() -> None:
    texts = [f"This is speech number {number}, and no other. Right?" for number in range(50)]
    async with running_manager() as manager:
        alone = [(await speak(manager, text))[1] for text in texts]
        together = await asyncio.gather(*(speak(manager, text) for text in texts))
        assert [audio for _, audio in together] == alone


async def test_voices_of_a_model_and_of_all() -> None:
    types = {"good": scripted(), "bad": scripted(problem=UNAVAILABLE)}
    async with running_manager(types, mappings=NAMES) as manager:
        assert [v.voice.id for v in await manager.voices()] == ["one", "zwei"]
        assert [v.model for v in await manager.voices()] == ["public", "public"]
        assert [v.voice.id for v in await manager.voices(language="de")] == ["zwei"]
        with pytest.raises(BackendUnavailable):
            await manager.voices(model="bad")
        with pytest.raises(ModelNotFound):
            await manager.voices(model="nope")


# ------------------------------------------------------------------------------------- marks

SPOKEN = "Good morning, “everyone”. It's 7.30 — naïve 👋 cafés cost $12.50!"


async def words_of(manager: TTSBackendManager, text: str, **fields: Any) -> list[Words]:
    events, _ = await speak(manager, text, **fields)
    return [event for event in events if isinstance(event, Words)]


async def test_an_engine_that_knows_its_words_marks_them_in_the_text_as_given() -> None:
    async with running_manager() as manager:
        found = await words_of(manager, SPOKEN)
        assert not any(words.is_estimated for words in found)
        marks = [word for words in found for word in words.words]
        said = [SPOKEN[word.text_start : word.text_end] for word in marks]
        assert said[:4] == ["Good", "morning", "everyone", "It's"]
        assert {"7.30", "naïve", "cafés", "$12.50"} <= set(said)
        positions = [word.position for word in marks]
        assert positions == sorted(positions)
        assert positions[-1] < len((await speak(manager, SPOKEN))[1]) / 2


MARKUP = "# Tea\n- Say **hello**, [all](http://x/y) 👋\n\n```py\ncode()\n```\nDone."


async def test_marks_point_into_the_text_as_given_however_it_was_read() -> None:
    async with running_manager() as manager:
        found = await words_of(manager, MARKUP)
        said = [MARKUP[word.text_start : word.text_end] for w in found for word in w.words]
        assert said == ["Tea", "Say", "hello", "all", "```py", "Done"]


async def test_raw_text_is_spoken_as_it_stands() -> None:
    async with running_manager({"good": scripted()}) as manager:
        await speak(manager, "**a** 🎉", language="en")
        await speak(manager, "**a** 🎉", model_specific_options={"raw": True})
        backend = await manager.get_backend("good")
        assert isinstance(backend, ScriptedBackend)
        assert backend.spoken == ["a", "**a** 🎉"]


@pytest.mark.parametrize(("code_blocks", "said"), [("announce", ["Codeblock."]), ("skip", [])])
async def test_a_code_block_is_announced_or_skipped(
    code_blocks: CodeReading, said: list[str]
) -> None:
    defaults = SpeechDefaults(code_blocks=code_blocks)
    async with running_manager({"good": scripted()}, defaults=defaults) as manager:
        await speak(manager, "```\nx = 1\n```", voice="zwei")
        backend = await manager.get_backend("good")
        assert isinstance(backend, ScriptedBackend)
        assert backend.spoken == said


async def test_a_document_is_not_read_as_markdown() -> None:
    options = {"ssml": True}
    async with running_manager() as manager:
        plain = await speak(manager, "one two")
        document = await speak(
            manager, "<speak>one <!-- no --> two</speak>", model_specific_options=options
        )
        assert abs(len(plain[1]) - len(document[1])) < len(plain[1]) / 2


async def test_marks_move_with_the_speed_the_rate_and_the_silence_before() -> None:
    async with running_manager() as manager:
        (plain,) = await words_of(manager, "Yes.")
        (later,) = await words_of(
            manager, "Yes.", model_specific_options={"lead_silence_ms": 500}, sample_rate=48000
        )
        assert later.words[0].position == pytest.approx(plain.words[0].position * 2 + 24000, abs=9)
        slow = await words_of(manager, "one two three four", speed=0.25)
        usual = await words_of(manager, "one two three four")
        last, usual_last = slow[-1].words[-1].position, usual[-1].words[-1].position
        assert last == pytest.approx(usual_last * 4, rel=0.1)


async def test_an_engine_that_does_not_know_its_words_has_them_estimated() -> None:
    async with running_manager({"good": scripted()}) as manager:
        events, audio = await speak(manager, "One two, three. Four.", language="en")
        kinds = [type(event).__name__ for event in events]
        assert kinds[-2:] == ["Words", "SegmentEnd"]
        (first, second) = [event for event in events if isinstance(event, Words)]
        assert first.is_estimated
        assert [(word.text_start, word.text_end) for word in first.words] == [
            (0, 3),
            (4, 7),
            (9, 14),
        ]
        assert second.words[0].position < len(audio) // 2


async def test_the_last_frame_comes_before_the_end_of_its_segment() -> None:
    async with running_manager() as manager:
        plan_ = plan(manager, request("One. Two."))
        events = [event async for event in manager.speak(plan_, label="test")]
        assert isinstance(events[-1], SegmentEnd)
        assert isinstance(events[-2], AudioFrame)
        assert events[-2].last
