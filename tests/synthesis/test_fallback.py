"""Who speaks when a backend fails: at once, late, or while it is heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from support import RATE, ScriptedBackend, request, running_manager, scripted, speak

from voiced.backends.base import BackendSettings, SegmentSizes, SharedOptions, TTSBackendBase
from voiced.config import Config
from voiced.errors import BackendError, BackendLate, UpstreamAuth
from voiced.request import SpeechRequest
from voiced.settings import _check_names
from voiced.speech import (
    AudioFormat,
    AudioFrame,
    MarkKind,
    Notice,
    PcmChunk,
    Segment,
    SegmentEnd,
    SegmentStart,
    SpeechEvent,
    SpeechStart,
    Voice,
    Word,
    WordMark,
    Words,
)
from voiced.synthesis.catalogue import SpeechDefaults
from voiced.synthesis.mappings import Mappings
from voiced.text import SpeechText

_CHARACTER_S = 0.1  # of audio
TEXT = "The first one is here. The second one is there. The third one is gone."


class Cloud(TTSBackendBase):
    """A remote backend that breaks after so many characters of audio; it takes the whole text."""

    is_local = False
    breaks_after: ClassVar[int] = 0
    knows_words: ClassVar[bool] = False
    hangs: ClassVar[bool] = False
    failure: ClassVar[Exception] = BackendError("The provider broke off.")
    asked: ClassVar[list[Segment]]

    async def initialize(self) -> None:
        """It is always there."""

    def voices(self) -> Sequence[Voice]:
        marks = MarkKind.WORD if self.knows_words else MarkKind.SEGMENT
        return (Voice("anna", "Anna", ("de",), RATE, marks), Voice("bob", "Bob", ("en",), RATE))

    def segment_sizes(self, options: Any, *, is_whole: bool) -> SegmentSizes:
        return SegmentSizes(preferred=4000, largest=4000, is_hasty=not is_whole)

    async def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        self.asked.append(segment)
        if self.hangs:
            await asyncio.Event().wait()
        size = round(_CHARACTER_S * RATE)
        for at, character in enumerate(segment.text[: self.breaks_after]):
            is_word = self.knows_words and (at == 0 or segment.text[at - 1] == " ")
            end = segment.text.find(" ", at) if " " in segment.text[at:] else len(segment.text)
            marks = (WordMark(at, end, at * size),) if is_word and character != " " else ()
            yield PcmChunk(np.full(size, 0.5, np.float32), marks)
        raise self.failure

    async def close(self) -> None:
        """Nothing is open."""


def cloud(**attributes: Any) -> type[Cloud]:
    return type("OwnCloud", (Cloud,), {"asked": [], **attributes})


def last_made(kind: type[ScriptedBackend]) -> ScriptedBackend:
    return kind.made[-1]


def start_of(events: list[SpeechEvent]) -> SpeechStart:
    (start,) = [event for event in events if isinstance(event, SpeechStart)]
    return start


def codes(events: list[SpeechEvent]) -> list[str]:
    return [event.code for event in events if isinstance(event, Notice)]


def samples_of(audio: bytes) -> int:
    return len(audio) // 2


async def test_what_fails_before_its_first_audio_is_spoken_whole_by_the_fallback() -> None:
    good = scripted()
    async with running_manager({"cloud": cloud(), "good": good}) as manager:
        events, audio = await speak(manager, TEXT, model="cloud")
        start = start_of(events)
        assert (start.model, start.backend, start.voice) == ("cloud", "good", "one")
        assert [type(event) for event in events[:3]] == [SpeechStart, Notice, SegmentStart]
        assert codes(events) == ["backend_fallback"]
        assert " ".join(last_made(good).spoken) == TEXT
        _, alone = await speak(manager, TEXT, model="good")
        assert audio == alone


async def test_the_notice_names_both_and_why_but_nothing_else() -> None:
    types = {"cloud": cloud(failure=UpstreamAuth("The key sk-123 is wrong.")), "good": scripted()}
    async with running_manager(types) as manager:
        events, _ = await speak(manager, TEXT, model="cloud")
        (notice,) = [event for event in events if isinstance(event, Notice)]
        assert "'cloud' failed (upstream_auth)" in notice.message
        assert "'good' speaks" in notice.message
        assert "sk-123" not in notice.message


@pytest.mark.parametrize("failure", [BackendError("Broken."), RuntimeError("any other")])
async def test_strict_fails_instead(failure: Exception) -> None:
    async with running_manager({"cloud": cloud(failure=failure), "good": scripted()}) as manager:
        with pytest.raises(BackendError):
            await speak(manager, TEXT, model="cloud", model_specific_options={"strict": True})


async def test_without_a_fallback_the_failure_is_told() -> None:
    defaults = SpeechDefaults(fallback="")
    types = {"cloud": cloud(failure=UpstreamAuth("Wrong key.")), "good": scripted()}
    async with running_manager(types, defaults=defaults) as manager:
        with pytest.raises(UpstreamAuth):
            await speak(manager, TEXT, model="cloud")


async def test_where_all_fail_the_failure_of_the_one_asked_for_is_told() -> None:
    types = {
        "cloud": cloud(failure=UpstreamAuth("Wrong key.")),
        "bad": scripted(fails_after_chunks=0),
    }
    async with running_manager(types) as manager:
        with pytest.raises(UpstreamAuth):
            await speak(manager, TEXT, model="cloud")


async def test_one_that_gives_nothing_in_time_is_late() -> None:
    settings = {
        "cloud": BackendSettings(type="cloud", first_audio_timeout_s=0.01),
        "good": BackendSettings(type="good"),
    }
    types = {"cloud": cloud(hangs=True), "good": scripted()}
    async with running_manager(types, settings=settings) as manager:
        events, audio = await speak(manager, TEXT, model="cloud")
        assert start_of(events).backend == "good"
        assert audio
        with pytest.raises(BackendLate, match=r"0\.01 s"):
            await speak(manager, TEXT, model="cloud", model_specific_options={"strict": True})


async def test_a_backend_may_name_a_fallback_of_its_own() -> None:
    settings = {
        "cloud": BackendSettings(type="cloud", fallback="second"),
        "good": BackendSettings(type="good"),
        "second": BackendSettings(type="second"),
        "alone": BackendSettings(type="cloud", fallback=""),
    }
    second = cloud(breaks_after=1000, failure=BackendError("The second failed."))
    types = {"cloud": cloud(), "good": scripted(), "second": second}
    async with running_manager(types, settings=settings) as manager:
        events, _ = await speak(manager, TEXT, model="cloud", language="de")
        assert start_of(events).backend == "second"
        with pytest.raises(BackendError, match="broke off"):
            await speak(manager, TEXT, model="alone")


def test_a_fallback_that_is_no_model_is_a_fault_of_the_configuration() -> None:
    config = Config(backends={"cloud": {"type": "cloud", "fallback": "claud"}})
    (problem,) = _check_names(config, Mappings({}, {}))
    assert problem.startswith("backends.cloud.fallback: there is no model 'claud'")


@pytest.mark.parametrize(
    ("fields", "voice"),
    [
        ({}, "one"),
        ({"voice": "anna"}, "zwei"),  # she is German, so the text is
        ({"voice": "bob"}, "one"),
        ({"voice": "bob", "language": "de"}, "zwei"),
    ],
)
async def test_the_fallback_has_the_language_of_the_voice_asked_for(
    fields: dict[str, Any], voice: str
) -> None:
    async with running_manager({"cloud": cloud(), "good": scripted()}) as manager:
        events, _ = await speak(manager, TEXT, model="cloud", **fields)
        assert start_of(events).voice == voice


async def test_the_format_and_the_rate_stay() -> None:
    for response_format in AudioFormat:
        async with running_manager(
            {"cloud": cloud(breaks_after=30), "good": scripted()}
        ) as manager:
            events, audio = await speak(
                manager, TEXT, model="cloud", response_format=str(response_format)
            )
            assert start_of(events).backend == "cloud"
            assert start_of(events).response_format is response_format
            assert audio


# ------------------------------------------------------------------------------------ midway


def segments(events: list[SpeechEvent]) -> list[tuple[int, int]]:
    return [(e.text_start, e.text_end) for e in events if isinstance(e, SegmentStart)]


async def test_known_words_that_were_heard_are_not_said_again() -> None:
    good = scripted()
    kind = cloud(breaks_after=TEXT.index("one is there") + 2, knows_words=True)
    async with running_manager({"cloud": kind, "good": good}) as manager:
        events, _ = await speak(manager, TEXT, model="cloud")
        assert " ".join(last_made(good).spoken) == TEXT[TEXT.index("one is there") :]
        assert start_of(events).backend == "cloud"
        assert codes(events) == ["backend_fallback"]
        assert segments(events) == [(0, len(TEXT))]  # the segment goes on
        (end,) = [event for event in events if isinstance(event, SegmentEnd)]
        assert end.index == 0


async def test_where_words_are_not_known_no_sentence_is_lost() -> None:
    for heard in range(1, len(TEXT)):
        good = scripted()
        types = {"cloud": cloud(breaks_after=heard), "good": good}
        async with running_manager(types) as manager:
            events, _ = await speak(manager, TEXT, model="cloud")
            rest = " ".join(last_made(good).spoken)
            assert TEXT.endswith(rest)
            # The sentence that was cut off is said again, whole.
            first_left = TEXT.rfind(". ", 0, heard) + 1
            assert len(TEXT) - len(rest) <= max(first_left, 0) + 1
            assert segments(events) == [(0, len(TEXT))]


async def test_positions_and_words_stay_true_over_a_change_of_speaker() -> None:
    async with running_manager({"cloud": cloud(breaks_after=40), "good": scripted()}) as manager:
        plan = manager.plan(
            request(TEXT, model="cloud"), default_format=AudioFormat.PCM, sample_rate=RATE
        )
        position = 0
        heard: list[Word] = []
        async with aclosing(manager.speak(plan, label="test")) as events:
            async for event in events:
                if isinstance(event, AudioFrame):
                    assert event.position == position
                    position += event.samples
                elif isinstance(event, Words):
                    heard += event.words
                elif isinstance(event, SegmentEnd):
                    assert event.position == position
        places = [word.position for word in heard]
        assert places == sorted(places)
        assert {TEXT[word.text_start : word.text_end] for word in heard} >= set(
            TEXT.replace(".", "").split()
        )


async def test_what_was_heard_ends_without_a_click() -> None:
    async with running_manager({"cloud": cloud(breaks_after=20), "good": scripted()}) as manager:
        _, audio = await speak(manager, TEXT, model="cloud")
        samples = np.frombuffer(audio, np.int16).astype(int)
        assert np.abs(np.diff(samples)).max() < 400  # a fade of 5 ms has steps of 137


async def test_midway_may_be_forbidden() -> None:
    defaults = SpeechDefaults(fallback_midway=False)
    types = {"cloud": cloud(breaks_after=5), "good": scripted()}
    async with running_manager(types, defaults=defaults) as manager:
        with pytest.raises(BackendError, match="broke off"):
            await speak(manager, TEXT, model="cloud")
    types = {"cloud": cloud(), "good": scripted()}
    async with running_manager(types, defaults=defaults) as manager:
        events, _ = await speak(manager, TEXT, model="cloud")  # nothing was heard of it
        assert start_of(events).backend == "good"


async def test_a_fallback_that_breaks_too_is_stood_in_for() -> None:
    settings = {
        "cloud": BackendSettings(type="cloud", fallback="second"),
        "second": BackendSettings(type="second"),
        "good": BackendSettings(type="good"),
    }
    good = scripted()
    first = cloud(breaks_after=TEXT.index("ne is there"), knows_words=True)
    second = cloud(breaks_after=len("one is there. The thi"), knows_words=True)
    types = {"cloud": first, "second": second, "good": good}
    async with running_manager(types, settings=settings) as manager:
        events, _ = await speak(manager, TEXT, model="cloud")
        assert [segment.text for segment in second.asked] == [
            "one is there. The third one is gone."
        ]
        assert " ".join(last_made(good).spoken) == "third one is gone."
        assert segments(events) == [(0, len(TEXT))]
        assert codes(events) == ["backend_fallback", "backend_fallback"]


async def test_text_that_comes_later_is_spoken_by_the_fallback_too() -> None:
    good = scripted()
    types = {"cloud": cloud(breaks_after=10), "good": good}
    async with running_manager(types) as manager:
        plan = manager.plan(
            SpeechRequest(model="cloud"), default_format=AudioFormat.PCM, sample_rate=RATE
        )
        text: SpeechText = plan.text
        text.append("# One is here.\n\nTwo *is* there. ", at=0)
        text.flush()
        spoken: list[SpeechEvent] = []
        async with aclosing(manager.speak(plan, label="test")) as events:
            async for event in events:
                spoken.append(event)
                if len(segments(spoken)) == 1 and not text.is_ended:
                    text.append("Three `is` gone.", at=1)
                    text.end()
        assert last_made(good).spoken == ["One is here.", "Two is there.", "Three is gone."]
        places = segments(spoken)
        assert places == sorted(places)
        assert all(end <= start for (_, end), (start, _) in pairwise(places))


async def test_options_of_the_cloud_do_not_hinder_the_fallback() -> None:
    class Options(SharedOptions):
        stability: float = 0.5

    types = {"cloud": cloud(options_model=Options), "good": scripted()}
    async with running_manager(types) as manager:
        options = {"stability": 0.1, "tail_silence_ms": 100}
        events, audio = await speak(manager, TEXT, model="cloud", model_specific_options=options)
        assert start_of(events).backend == "good"
        _, alone = await speak(manager, TEXT, model="good")
        assert samples_of(audio) == samples_of(alone) + RATE // 10
