"""One speech, from text to frames: segment, speak, normalise, join, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np

from voiced.audio.pcm import AudioNormalizer, silence
from voiced.backends.base import SharedOptions, TTSBackendBase
from voiced.reading.markup import CodeReading, MarkupReader
from voiced.reading.reader import VerbatimReader
from voiced.reading.words import words
from voiced.speech import (
    AudioFormat,
    Flushed,
    Int16,
    Notice,
    Priority,
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
from voiced.synthesis.framer import Framer
from voiced.synthesis.script import Passage, Script
from voiced.synthesis.segmenter import FirstSegment, Segmenter, Uncut
from voiced.text import SpeechText

_SENTENCE_PAUSE_MS = 250
_CLAUSE_PAUSE_MS = 120
_SENTENCE_SIGNS = ".!?…。！？｡．؟۔।॥"
_CLAUSE_SIGNS = ",;:，、；：،؛—–"


@dataclass(frozen=True, slots=True)
class Cast:
    """Who speaks a request, and how: all names resolved, all values checked."""

    model: str
    backend_id: str
    backend: TTSBackendBase
    voice: Voice
    options: SharedOptions
    first_segment: FirstSegment
    code_blocks: CodeReading
    response_format: AudioFormat
    sample_rate: int
    speed: float
    language: str | None
    instructions: str | None
    priority: Priority


async def speak(text: SpeechText, cast: Cast) -> AsyncGenerator[SpeechEvent, None]:
    """Yield `SpeechStart`, per segment a `SegmentStart` and its frames, and a last frame.

    Nothing comes before there is audio, so that a failure until then leaves no trace; but a flush
    is answered even if there was nothing to say. Text without anything to say gives a start, a
    notice and a last frame without samples. Closing the generator stops the engine.
    """
    speaking = _Speaking(cast)
    start: SpeechStart | None = SpeechStart(
        cast.model, cast.backend_id, cast.voice.id, cast.response_format, cast.sample_rate
    )
    async with aclosing(speaking.events(_script(text, cast))) as events:
        async for event in events:
            if start is not None:
                yield start
                start = None
            yield event
    if start is not None:
        yield start
    for event in speaking.end():
        yield event


class _Speaking:
    """One speech under way: its frames, and what the next segment begins with."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._framer = Framer(cast.response_format, cast.sample_rate)
        self._index = 0
        self._due = 0.0  # event loop time at which what was spoken will have been heard
        self._pause = silence(cast.options.lead_silence_ms, cast.sample_rate)
        self._ending: list[SpeechEvent] = []  # what is still to be told of the last segment

    async def events(self, script: Script) -> AsyncGenerator[SpeechEvent, None]:
        """Speak the script to its end."""
        while (passage := await script.next()) is not None:
            for event in self._end_segment():
                yield event
            if isinstance(passage, int):
                yield Flushed(passage, self._framer.position)
                continue
            async with aclosing(self._speak(passage)) as events:
                async for event in events:
                    yield event
            # The last frame of a speech belongs to its last segment; who could still wait for text
            # does not know which one that is.
            if not script.is_ended:
                for event in self._end_segment():
                    yield event

    async def _speak(self, passage: Passage) -> AsyncGenerator[SpeechEvent, None]:
        position, pause = self._framer.position, self._pause
        # Due when the audio before it will have been heard, or at once if that was before now.
        self._due = max(self._due, asyncio.get_running_loop().time())
        segment = _segment(self._index, passage, self._cast, due=self._due)
        begin = position + pause.size
        is_known = False
        async with aclosing(_samples(segment, self._cast)) as parts:
            async for samples, marks in parts:
                if self._framer.position == position:
                    yield SegmentStart(
                        self._index, passage.start, passage.end, position, pause.size
                    )
                    self._framer.begin_segment(self._index)
                    samples = np.concatenate((pause, samples))  # noqa: PLW2901
                if marks:
                    is_known = True
                    yield _words(marks, passage, begin, is_estimated=False)
                for frame in self._framer.frames(samples):
                    yield frame
        end = self._framer.position
        if end == position:
            return
        if not is_known:
            spread = _spread(passage, end - begin)
            self._ending.append(_words(spread, passage, begin, is_estimated=True))
        self._ending.append(SegmentEnd(self._index, end))
        self._index += 1
        self._due += (end - position) / self._cast.sample_rate
        self._pause = _pause_after(passage, self._cast)

    def _end_segment(self) -> list[SpeechEvent]:
        ending, self._ending = self._ending, []
        return ending

    def end(self) -> Iterator[SpeechEvent]:
        """Give what comes after the last segment."""
        if not self._framer.position:
            yield Notice("no_speakable_text", "There is nothing in the text that can be spoken.")
        else:
            tail = silence(self._cast.options.tail_silence_ms, self._cast.sample_rate)
            yield from self._framer.frames(tail)
        yield from self._framer.finish()
        yield from self._end_segment()


def _script(text: SpeechText, cast: Cast) -> Script:
    sizes = cast.backend.segment_sizes(cast.options)
    if sizes is None:  # a document, which is markup of its own
        return Script(text, reader=VerbatimReader(), cutter=Uncut())
    language = cast.language or next(iter(cast.voice.languages), None)
    reader = MarkupReader(language=language, code=cast.code_blocks)
    first = cast.options.first_segment or cast.first_segment
    return Script(
        text,
        reader=VerbatimReader() if cast.options.raw else reader,
        cutter=Segmenter(sizes, first=first),
    )


def _segment(index: int, passage: Passage, cast: Cast, *, due: float) -> Segment:
    slowest, fastest = cast.backend.speeds
    return Segment(
        index=index,
        text=passage.text,
        start=passage.start,
        end=passage.end,
        voice=cast.voice,
        language=cast.language,
        speed=min(max(cast.speed, slowest), fastest),
        options=cast.options,
        instructions=cast.instructions,
        priority=cast.priority,
        due=due,
    )


async def _samples(
    segment: Segment, cast: Cast
) -> AsyncGenerator[tuple[Int16, list[WordMark]], None]:
    """Yield the segment's samples at the speech's rate, and the words which begin in or after them.

    The marks count samples as they are yielded here, from the segment's first.
    """
    normalizer = AudioNormalizer(
        source_rate=segment.voice.sample_rate,
        target_rate=cast.sample_rate,
        tempo=cast.speed / segment.speed,
    )
    held: list[WordMark] = []  # until there are samples: before that, nobody knows where they fall

    def placed() -> list[WordMark]:
        marks = [replace(mark, sample=normalizer.place(mark.sample)) for mark in held]
        held.clear()
        return marks

    async with aclosing(cast.backend.generate_speech_stream(segment)) as chunks:
        async for chunk in chunks:
            held += chunk.marks
            if (samples := normalizer.push(chunk.samples)).size:
                yield samples, placed()
    if (samples := normalizer.flush()).size:
        yield samples, placed()


def _words(marks: list[WordMark], passage: Passage, begin: int, *, is_estimated: bool) -> Words:
    """Say marks in the terms of the speech, for a segment that is heard from `begin` on."""
    told = (Word(*passage.span(mark.start, mark.end), begin + mark.sample) for mark in marks)
    return Words(tuple(told), is_estimated)


def _spread(passage: Passage, samples: int) -> list[WordMark]:
    """Share the samples of a segment out among its characters."""
    share = samples / len(passage.text)
    return [WordMark(start, end, int(start * share)) for start, end in words(passage.text)]


def _pause_after(passage: Passage, cast: Cast) -> Int16:
    """The pause that a reader makes after this text, as it ends."""
    sign = passage.text.rstrip("\"'”’»)]}*_")[-1:]
    if sign and sign in _SENTENCE_SIGNS:
        return silence(_SENTENCE_PAUSE_MS / cast.speed, cast.sample_rate)
    if sign and sign in _CLAUSE_SIGNS:
        return silence(_CLAUSE_PAUSE_MS / cast.speed, cast.sample_rate)
    return silence(0, cast.sample_rate)
