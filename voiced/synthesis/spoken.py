"""`Spoken`: a passage as a segment, and its samples as they are made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from voiced.audio.pcm import AudioNormalizer
from voiced.speech import Int16, Segment, WordMark
from voiced.synthesis.cast import Cast
from voiced.synthesis.script import Passage

Part = tuple[Int16, list[WordMark]]
"""Samples at the speech's rate, and the words that begin in or after them.

The marks count samples as they are given here, from the segment's first.
"""


class Spoken:
    """Iterate `parts` once; `make` does the work ahead of that."""

    def __init__(self, passage: Passage, cast: Cast, *, index: int, due: float) -> None:
        """Let a passage be heard at `due`, in event loop time."""
        self.passage = passage
        self.index = index
        self.samples = 0  # that were made so far
        self._cast = cast
        self._due = due
        self._made: list[Part] | None = None

    async def make(self) -> None:
        """Make all of it now."""
        async with aclosing(self._parts()) as parts:
            self._made = [part async for part in parts]

    async def parts(self) -> AsyncGenerator[Part, None]:
        """Yield its audio. Closing the generator stops the engine."""
        if self._made is not None:
            for part in self._made:
                yield part
            return
        async with aclosing(self._parts()) as parts:
            async for part in parts:
                yield part

    async def _parts(self) -> AsyncGenerator[Part, None]:
        cast, segment = self._cast, self._segment()
        normalizer = AudioNormalizer(
            source_rate=segment.voice.sample_rate,
            target_rate=cast.sample_rate,
            tempo=cast.speed / segment.speed,
        )
        held: list[WordMark] = []  # until there are samples: nobody knows yet where they fall

        def part(samples: Int16) -> Part:
            marks = [replace(mark, sample=normalizer.place(mark.sample)) for mark in held]
            held.clear()
            self.samples += samples.size
            return samples, marks

        async with aclosing(cast.backend.generate_speech_stream(segment)) as chunks:
            async for chunk in chunks:
                held += chunk.marks
                if (samples := normalizer.push(chunk.samples)).size:
                    yield part(samples)
        if (samples := normalizer.flush()).size:
            yield part(samples)

    def _segment(self) -> Segment:
        cast, passage = self._cast, self.passage
        slowest, fastest = cast.backend.speeds
        return Segment(
            index=self.index,
            text=passage.text,
            start=passage.start,
            end=passage.end,
            voice=cast.voice,
            language=cast.language,
            speed=min(max(cast.speed, slowest), fastest),
            options=cast.options,
            instructions=cast.instructions,
            priority=cast.priority,
            due=self._due,
        )
