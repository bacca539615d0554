"""One speech, from text to frames: segment, speak, normalise, join, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import numpy as np

from voiced.audio.pcm import silence
from voiced.reading.markup import MarkupReader
from voiced.reading.reader import VerbatimReader
from voiced.reading.words import words
from voiced.speech import (
    Flushed,
    Int16,
    Notice,
    SegmentEnd,
    SegmentStart,
    SpeechEvent,
    SpeechStart,
    Word,
    WordMark,
    Words,
)
from voiced.synthesis.ahead import ahead
from voiced.synthesis.cast import Cast
from voiced.synthesis.framer import Framer
from voiced.synthesis.script import Passage, Script
from voiced.synthesis.segmenter import Segmenter, Uncut
from voiced.synthesis.spoken import Spoken
from voiced.text import SpeechText

_SENTENCE_PAUSE_MS = 250
_CLAUSE_PAUSE_MS = 120
_SENTENCE_SIGNS = ".!?…。！？｡．؟۔।॥"
_CLAUSE_SIGNS = ",;:，、；：،؛—–"


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
        self._ending: list[SpeechEvent] = []  # what is still to be told of the last segment
        # Of the segment that is made next, which may be ahead of the one that is framed:
        self._index = 0
        self._due = 0.0  # event loop time at which what was spoken will have been heard
        self._pause = silence(cast.options.lead_silence_ms, cast.sample_rate)

    async def events(self, script: Script) -> AsyncGenerator[SpeechEvent, None]:
        """Speak the script to its end."""
        spoken = self._spoken(script)
        if self._cast.backend.is_slow:
            spoken = ahead(spoken)
        async with aclosing(spoken) as items:
            async for item in items:
                for event in self._end_segment():
                    yield event
                if isinstance(item, int):
                    yield Flushed(item, self._framer.position)
                    continue
                async with aclosing(self._frames(*item)) as events:
                    async for event in events:
                        yield event
                # The last frame of a speech belongs to its last segment; who could still wait for
                # text does not know which one that is.
                if not script.is_ended:
                    for event in self._end_segment():
                        yield event

    async def _spoken(self, script: Script) -> AsyncGenerator[int | tuple[Spoken, Int16], None]:
        """Yield what is spoken, each with the pause before it; and the numbers of flushes."""
        while (passage := await script.next()) is not None:
            if isinstance(passage, int):
                yield passage
                continue
            # Due when the audio before it will have been heard, or at once if that was before now.
            self._due = max(self._due, asyncio.get_running_loop().time())
            spoken = Spoken(passage, self._cast, index=self._index, due=self._due)
            if self._cast.backend.is_slow:
                await spoken.make()
                pause = self._pause
                self._count(spoken)
                yield spoken, pause
            else:
                yield spoken, self._pause
                self._count(spoken)

    def _count(self, spoken: Spoken) -> None:
        """Let the next segment follow one that was made."""
        if spoken.samples:
            self._index += 1
            self._due += (self._pause.size + spoken.samples) / self._cast.sample_rate
            self._pause = _pause_after(spoken.passage, self._cast)

    async def _frames(self, spoken: Spoken, pause: Int16) -> AsyncGenerator[SpeechEvent, None]:
        position, passage = self._framer.position, spoken.passage
        begin = position + pause.size
        is_known = False
        async with aclosing(spoken.parts()) as parts:
            async for samples, marks in parts:
                if self._framer.position == position:
                    yield SegmentStart(
                        spoken.index, passage.start, passage.end, position, pause.size
                    )
                    self._framer.begin_segment(spoken.index)
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
        self._ending.append(SegmentEnd(spoken.index, end))

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
    reader = MarkupReader(
        language=language, code=cast.code_blocks, keeps_phonemes=cast.backend.reads_phonemes
    )
    first = cast.options.first_segment or cast.first_segment
    return Script(
        text,
        reader=VerbatimReader() if cast.options.raw else reader,
        cutter=Segmenter(sizes, first=first),
    )


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
