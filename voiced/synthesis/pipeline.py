"""One speech, from text to frames: segment, speak, normalise, join, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from voiced.audio.pcm import AudioNormalizer, silence
from voiced.audio.writer import StreamingAudioWriter
from voiced.backends.base import SharedOptions, TTSBackendBase
from voiced.speech import (
    AudioFormat,
    AudioFrame,
    Flushed,
    Int16,
    Notice,
    Priority,
    Segment,
    SegmentStart,
    SpeechEvent,
    SpeechStart,
    Voice,
)
from voiced.synthesis.script import Script
from voiced.synthesis.segmenter import FirstSegment, Piece, Segmenter, Uncut
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
    """One speech under way: its encoder, and what the next segment begins with."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._encoder = _FrameEncoder(cast)
        self._index = 0
        self._due = 0.0  # event loop time at which what was spoken will have been heard
        self._pause = silence(cast.options.lead_silence_ms, cast.sample_rate)

    async def events(self, script: Script) -> AsyncGenerator[SpeechEvent, None]:
        """Speak the script to its end."""
        while (piece := await script.next()) is not None:
            if isinstance(piece, int):
                yield Flushed(piece, self._encoder.position)
                continue
            async with aclosing(self._speak(piece)) as events:
                async for event in events:
                    yield event

    async def _speak(self, piece: Piece) -> AsyncGenerator[SpeechEvent, None]:
        position = self._encoder.position
        # Due when the audio before it will have been heard, or at once if that was before now.
        self._due = max(self._due, asyncio.get_running_loop().time())
        segment = _segment(self._index, piece, self._cast, due=self._due)
        async with aclosing(_samples(segment, self._cast)) as parts:
            async for samples in parts:
                if self._encoder.position == position:
                    yield SegmentStart(self._index, piece.start, piece.end, position)
                    self._encoder.begin_segment(self._index)
                    samples = np.concatenate((self._pause, samples))  # noqa: PLW2901
                if frame := self._encoder.encode(samples):
                    yield frame
        if self._encoder.position > position:
            self._index += 1
            self._due += (self._encoder.position - position) / self._cast.sample_rate
            self._pause = _pause_after(piece, self._cast)

    def end(self) -> Iterator[SpeechEvent]:
        """Give what comes after the last segment."""
        if not self._encoder.position:
            yield Notice("no_speakable_text", "There is nothing in the text that can be spoken.")
        else:
            tail = silence(self._cast.options.tail_silence_ms, self._cast.sample_rate)
            if tail.size and (frame := self._encoder.encode(tail)):
                yield frame
        yield self._encoder.finish()


def _script(text: SpeechText, cast: Cast) -> Script:
    sizes = cast.backend.segment_sizes(cast.options)
    if sizes is None:
        return Script(text, Uncut())
    first = cast.options.first_segment or cast.first_segment
    return Script(text, Segmenter(sizes, first=first))


def _segment(index: int, piece: Piece, cast: Cast, *, due: float) -> Segment:
    slowest, fastest = cast.backend.speeds
    return Segment(
        index=index,
        text=piece.text,
        start=piece.start,
        end=piece.end,
        voice=cast.voice,
        language=cast.language,
        speed=min(max(cast.speed, slowest), fastest),
        options=cast.options,
        instructions=cast.instructions,
        priority=cast.priority,
        due=due,
    )


async def _samples(segment: Segment, cast: Cast) -> AsyncGenerator[Int16, None]:
    """Yield the segment's samples at the speech's rate; never an empty array."""
    normalizer = AudioNormalizer(
        source_rate=segment.voice.sample_rate,
        target_rate=cast.sample_rate,
        tempo=cast.speed / segment.speed,
    )
    async with aclosing(cast.backend.generate_speech_stream(segment)) as chunks:
        async for chunk in chunks:
            if (samples := normalizer.push(chunk.samples)).size:
                yield samples
    if (samples := normalizer.flush()).size:
        yield samples


def _pause_after(piece: Piece, cast: Cast) -> Int16:
    """The pause that a reader makes after this text, as it ends."""
    sign = piece.text.rstrip("\"'”’»)]}*_")[-1:]
    if sign and sign in _SENTENCE_SIGNS:
        return silence(_SENTENCE_PAUSE_MS / cast.speed, cast.sample_rate)
    if sign and sign in _CLAUSE_SIGNS:
        return silence(_CLAUSE_PAUSE_MS / cast.speed, cast.sample_rate)
    return silence(0, cast.sample_rate)


class _FrameEncoder:
    """Encodes the samples of one speech and counts them into frames."""

    def __init__(self, cast: Cast) -> None:
        self._writer = StreamingAudioWriter(cast.response_format, cast.sample_rate)
        self._segment = 0
        self._framed = 0  # samples that stand for the frames given so far
        self._is_first = True
        self._is_first_of_segment = False
        self.position = 0  # samples written so far

    def begin_segment(self, index: int) -> None:
        self._segment = index
        self._is_first_of_segment = True

    def encode(self, samples: Int16) -> AudioFrame | None:
        """Return a frame where the codec has bytes ready."""
        self.position += samples.size
        data = self._writer.write(samples)
        return self._frame(data, is_last=False) if data else None

    def finish(self) -> AudioFrame:
        return self._frame(self._writer.close(), is_last=True)

    def _frame(self, data: bytes, *, is_last: bool) -> AudioFrame:
        frame = AudioFrame(
            data=data,
            segment=self._segment,
            position=self._framed,
            samples=self.position - self._framed,
            first=self._is_first,
            first_of_segment=self._is_first_of_segment,
            last=is_last,
        )
        self._framed = self.position
        self._is_first = self._is_first_of_segment = False
        return frame
