"""One speech, from text to frames: segment, speak, normalise, join, encode."""

from __future__ import annotations

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
    Int16,
    Notice,
    Priority,
    Segment,
    SegmentStart,
    SpeechEvent,
    SpeechStart,
    Voice,
)
from voiced.synthesis.segmenter import FirstSegment, Piece, Segmenter, whole

_SENTENCE_PAUSE_MS = 250
_CLAUSE_PAUSE_MS = 120
_SENTENCE_SIGNS = ".!?…。！？｡．"
_CLAUSE_SIGNS = ",;:，、；：—–"


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
    due: float


async def speak(text: str, cast: Cast) -> AsyncGenerator[SpeechEvent, None]:
    """Yield `SpeechStart`, per segment a `SegmentStart` and its frames, and a last frame.

    Nothing comes before there is audio, so that a failure until then leaves no trace. Text
    without anything to say gives a start, a notice and a last frame without samples.
    Closing the generator stops the engine.
    """
    encoder = _FrameEncoder(cast)
    pause = silence(cast.options.lead_silence_ms, cast.sample_rate)
    start: SpeechStart | None = SpeechStart(
        cast.model, cast.backend_id, cast.voice.id, cast.response_format, cast.sample_rate
    )
    for index, piece in enumerate(_pieces(text, cast)):
        is_begun = False
        segment = _segment(index, piece, cast, position=encoder.position)
        async with aclosing(_samples(segment, cast)) as parts:
            async for samples in parts:
                if start is not None:
                    yield start
                    start = None
                if not is_begun:
                    yield SegmentStart(index, piece.start, piece.end, encoder.position)
                    is_begun = True
                    encoder.begin_segment(index)
                    samples = np.concatenate((pause, samples))  # noqa: PLW2901
                if frame := encoder.encode(samples):
                    yield frame
        if is_begun:
            pause = _pause_after(piece, cast)
    if start is not None:
        yield start
        yield Notice("no_speakable_text", "There is nothing in the text that can be spoken.")
    elif cast.options.tail_silence_ms:
        tail = silence(cast.options.tail_silence_ms, cast.sample_rate)
        if frame := encoder.encode(tail):
            yield frame
    yield encoder.finish()


def _pieces(text: str, cast: Cast) -> Iterator[Piece]:
    sizes = cast.backend.segment_sizes(cast.options)
    if sizes is None:
        yield from whole(text)
        return
    segmenter = Segmenter(sizes, first=cast.options.first_segment or cast.first_segment)
    segmenter.push(text)
    segmenter.flush()
    while piece := segmenter.next_piece():
        yield piece


def _segment(index: int, piece: Piece, cast: Cast, *, position: int) -> Segment:
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
        due=cast.due + position / cast.sample_rate,
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
