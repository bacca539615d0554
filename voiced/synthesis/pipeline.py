"""One speech, from text to frames: segment, speak, normalise, join, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from voiced.audio.pcm import silence
from voiced.errors import BackendError
from voiced.reading.markup import MarkupReader
from voiced.reading.phonemes import without_phonemes
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
from voiced.synthesis.casting import Casting
from voiced.synthesis.framer import Framer
from voiced.synthesis.script import Passage, Script
from voiced.synthesis.segmenter import Segmenter, Uncut
from voiced.synthesis.spoken import Spoken
from voiced.text import SpeechText

_SENTENCE_PAUSE_MS = 250
_CLAUSE_PAUSE_MS = 120
_SENTENCE_SIGNS = ".!?…。！？｡．؟۔।॥"
_CLAUSE_SIGNS = ",;:，、；：،؛—–"


async def speak(text: SpeechText, casting: Casting) -> AsyncGenerator[SpeechEvent, None]:
    """Yield `SpeechStart`, per segment a `SegmentStart` and its frames, and a last frame.

    Nothing comes before there is audio, so that a failure until then leaves no trace; but a flush
    is answered even if there was nothing to say. Text without anything to say gives a start, a
    notice and a last frame without samples. Notices come after the start, as soon as there is one
    to tell. Closing the generator stops the engine.

    When a backend fails, the casting's next one goes on with what was not heard yet. The format
    stays; so does a segment that was begun, which the next one ends.
    """
    speaking = _Speaking(text, casting, await casting.first())
    async with aclosing(speaking.events()) as events:
        async for event in events:
            yield event


@dataclass(frozen=True, slots=True)
class _Turn:
    """Something to be heard: a segment, or a part of one that another backend could not end."""

    spoken: Spoken
    pause: Int16  # before it
    left: Passage  # of the segment, from this turn on
    goes_on: bool  # with a segment that was begun

    @property
    def is_last(self) -> bool:
        """Whether the segment ends with it."""
        return len(self.spoken.passage.text) == len(self.left.text)


class _Speaking:
    """One speech under way: its frames, and what the next segment begins with."""

    def __init__(self, text: SpeechText, casting: Casting, cast: Cast) -> None:
        self._text = text
        self._casting = casting
        self._cast = cast
        self._framer = Framer(cast.response_format, cast.sample_rate)
        self._is_started = False
        self._ended: SegmentEnd | None = None  # of the last segment, until it is told
        # What is left for another backend, should this one fail: the rest of a segment that was
        # begun, and what stands in the text from there on.
        self._rest: Passage | None = None
        self._reached = 0
        # Of the segment that is made next, which may be ahead of the one that is framed:
        self._index = 0
        self._due = 0.0  # event loop time at which what was spoken will have been heard
        self._pause = silence(cast.options.lead_silence_ms, cast.sample_rate)

    async def events(self) -> AsyncGenerator[SpeechEvent, None]:
        """Speak the text to its end, whoever it takes."""
        while True:
            try:
                async with aclosing(self._heard()) as events:
                    async for event in events:
                        for told in self._start():
                            yield told
                        yield event
                break
            except BackendError as failure:
                is_midway = self._framer.position > 0
                self._cast = await self._casting.stand_in(failure, is_midway=is_midway)
        for event in (*self._start(), *self._finish()):
            yield event

    def _start(self) -> Iterator[SpeechEvent]:
        """Tell who speaks, once, and what else there is to tell."""
        cast = self._cast
        if not self._is_started:
            self._is_started = True
            yield SpeechStart(
                cast.model,
                cast.backend_id,
                cast.voice.id,
                cast.response_format,
                cast.sample_rate,
            )
        yield from self._casting.take_notices()

    async def _heard(self) -> AsyncGenerator[SpeechEvent, None]:
        """Let what is left of the text be heard, by the backend of the cast."""
        script = _script(self._text, self._cast, begin=self._reached)
        turns = self._turns(script)
        if self._cast.backend.is_slow:
            turns = ahead(turns)
        async with aclosing(turns) as items:
            async for item in items:
                for ended in self._end_segment():
                    yield ended
                if isinstance(item, int):
                    yield Flushed(item, self._framer.position)
                    continue
                async with aclosing(self._frames(item)) as events:
                    async for event in events:
                        yield event
                # The last frame of a speech belongs to its last segment; who could still wait for
                # text does not know which one that is.
                if not script.is_ended:
                    for ended in self._end_segment():
                        yield ended

    async def _turns(self, script: Script) -> AsyncGenerator[int | _Turn, None]:
        """Yield what is to be heard, and the numbers of flushes."""
        is_slow = self._cast.backend.is_slow
        begun = _split(self._rest, self._cast) if self._rest else []
        while True:
            if goes_on := bool(begun):
                passage, left = begun.pop(0)
            elif (found := await script.next()) is None:
                return
            elif isinstance(found, int):
                yield found
                continue
            else:
                passage = left = found
            # Due when the audio before it will have been heard, or at once if that was before now.
            self._due = max(self._due, asyncio.get_running_loop().time())
            spoken = Spoken(passage, self._cast, index=self._index, due=self._due)
            if is_slow:
                await spoken.make()
            turn = _Turn(spoken, self._pause, left, goes_on)
            if is_slow:
                self._count(turn)
                yield turn
            else:
                yield turn
                self._count(turn)

    def _count(self, turn: _Turn) -> None:
        """Let the next turn follow one that was made."""
        if turn.spoken.samples:
            self._index += turn.is_last
            self._due += (turn.pause.size + turn.spoken.samples) / self._cast.sample_rate
            self._pause = _pause_after(turn.spoken.passage, self._cast)

    async def _frames(self, turn: _Turn) -> AsyncGenerator[SpeechEvent, None]:
        spoken, passage, said = turn.spoken, turn.spoken.passage, turn.spoken.said
        position = self._framer.position
        begin = position + turn.pause.size
        marked = -1  # where the last word stands that was told
        try:
            async with aclosing(spoken.parts()) as parts:
                async for samples, marks in parts:
                    if self._framer.position == position:
                        if not turn.goes_on:
                            yield SegmentStart(
                                spoken.index, passage.start, passage.end, position, turn.pause.size
                            )
                            self._framer.begin_segment(spoken.index)
                        samples = np.concatenate((turn.pause, samples))  # noqa: PLW2901
                    if told := _words(marks, said, begin, after=marked):
                        marked = told[-1].text_start
                        yield Words(told, is_estimated=False)
                    for frame in self._framer.frames(samples):
                        yield frame
        except BackendError:
            heard = spoken.heard()
            if heard and not spoken.words:
                yield _estimate(said.part(0, heard), begin, self._framer.position)
            if turn.goes_on or spoken.samples:
                self._leave(turn, spoken.given(heard))
            raise
        if spoken.samples and not spoken.words:
            yield _estimate(said, begin, self._framer.position)
        self._leave(turn, len(passage.text))

    def _leave(self, turn: _Turn, heard: int) -> None:
        """Remember what is left of a segment of which so many code points were heard."""
        left = turn.left.part(heard, len(turn.left.text))
        self._reached = turn.left.end
        self._rest = left if left.text and _split(left, self._cast) else None
        if self._rest is None and (turn.goes_on or turn.spoken.samples):
            self._ended = SegmentEnd(turn.spoken.index, self._framer.position)

    def _end_segment(self) -> Iterator[SegmentEnd]:
        ended, self._ended = self._ended, None
        if ended is not None:
            yield ended

    def _finish(self) -> Iterator[SpeechEvent]:
        """Give what comes after the last segment."""
        if not self._framer.position:
            yield Notice("no_speakable_text", "There is nothing in the text that can be spoken.")
        else:
            tail = silence(self._cast.options.tail_silence_ms, self._cast.sample_rate)
            yield from self._framer.frames(tail)
        yield from self._framer.finish()
        yield from self._end_segment()


def _script(text: SpeechText, cast: Cast, *, begin: int) -> Script:
    sizes = cast.backend.segment_sizes(cast.options, is_whole=text.is_whole)
    if sizes is None:  # a document, which is markup of its own
        return Script(text, reader=VerbatimReader(), cutter=Uncut(), begin=begin)
    language = cast.language or next(iter(cast.voice.languages), None)
    reader = MarkupReader(
        language=language, code=cast.code_blocks, keeps_phonemes=cast.backend.reads_phonemes
    )
    first = cast.options.first_segment or cast.backend.first_segment or cast.first_segment
    return Script(
        text,
        reader=VerbatimReader() if cast.options.raw else reader,
        cutter=Segmenter(sizes, first=first),
        begin=begin,
    )


def _split(rest: Passage, cast: Cast) -> list[tuple[Passage, Passage]]:
    """Cut the rest of a segment as the backend likes it; with each part, all from there on."""
    sizes = cast.backend.segment_sizes(cast.options, is_whole=True)
    cutter = Segmenter(sizes) if sizes else Uncut()
    cutter.push(rest.text)
    cutter.flush()
    pieces = list(iter(cutter.next_piece, None))
    return [
        (rest.part(piece.start, piece.end), rest.part(piece.start, pieces[-1].end))
        for piece in pieces
    ]


def _words(
    marks: list[WordMark], said: Passage, begin: int, *, after: int = -1
) -> tuple[Word, ...]:
    """Say marks in the terms of the speech, for a passage that is heard from `begin` on.

    What is said in several words for one, as for an amount of money, is marked where it begins.
    """
    told = []
    for mark in marks:
        start, end = said.span(mark.start, mark.end)
        if start > after:
            told.append(Word(start, end, begin + mark.sample))
            after = start
    return tuple(told)


def _estimate(passage: Passage, begin: int, end: int) -> Words:
    """Share the samples of a passage out among its characters."""
    said = words(without_phonemes(passage.text))
    share = (end - begin) / len(passage.text)
    marks = [WordMark(start, stop, int(start * share)) for start, stop in said]
    return Words(_words(marks, passage, begin), is_estimated=True)


def _pause_after(passage: Passage, cast: Cast) -> Int16:
    """The pause that a reader makes after this text, as it ends."""
    sign = passage.text.rstrip("\"'”’»)]}*_")[-1:]
    if sign and sign in _SENTENCE_SIGNS:
        return silence(_SENTENCE_PAUSE_MS / cast.speed, cast.sample_rate)
    if sign and sign in _CLAUSE_SIGNS:
        return silence(_CLAUSE_PAUSE_MS / cast.speed, cast.sample_rate)
    return silence(0, cast.sample_rate)
