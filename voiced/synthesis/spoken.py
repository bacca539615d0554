"""`Spoken`: a passage as a segment, and its samples as they are made."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from voiced.audio.pcm import AudioNormalizer
from voiced.errors import BackendError, BackendLate, VoicedError
from voiced.reading.phonemes import reach_phonemes
from voiced.speech import Int16, Notice, PcmChunk, Segment, WordMark
from voiced.synthesis.cast import Cast
from voiced.synthesis.phrases import Part
from voiced.synthesis.script import Passage

log = logging.getLogger(__name__)

_SLOWEST = 8  # phonemes a second, of a very slow voice; most speak 12 to 15
_SENTENCE_END = re.compile(r"""[.!?…][.!?…"'”’»)\]]*\s+|[。！？｡]""")


class Spoken:
    """Iterate `parts` once; `make` does the work ahead of that."""

    def __init__(self, passage: Passage, cast: Cast, *, index: int, due: float) -> None:
        """Let a passage be heard at `due`, in event loop time."""
        self.passage = passage
        self._changes = [] if cast.takes_text_as_it_is else cast.pronunciation.changes(passage.text)
        self.said = passage.changed(self._changes)
        self.index = index
        self.samples = 0  # that were made so far
        self.words: list[WordMark] = []  # that are known so far
        self._cast = cast
        self._due = due
        self._made: list[Part] | None = None

    async def make(self) -> None:
        """Make all of it now.

        Raises:
            BackendError: as from `parts`.
        """
        async with aclosing(self._parts()) as parts:
            self._made = [part async for part in parts]

    async def parts(self) -> AsyncGenerator[Part, None]:
        """Yield its audio. Closing the generator stops the engine.

        Raises:
            BackendError: the backend failed, or gave nothing in time. What it gave until then was
                yielded, to an end that does not click; `heard` says how much text that is.
        """
        if self._made is not None:
            for part in self._made:
                yield part
            return
        async with aclosing(self._parts()) as parts:
            async for part in parts:
                yield part

    def given(self, said: int) -> int:
        """Return how many code points of the passage so many stand for, as they are said."""
        for change in self._changes:
            if said <= change.start:
                break
            if said < change.start + len(change.text):
                return change.start
            said += change.end - change.start - len(change.text)
        return said

    def heard(self) -> int:
        """Say how many code points, as they are said, need not be said again after a failure.

        Those before the word that was cut off; where the words are not known, those before a
        sentence that perhaps was.
        """
        if self.words:
            return max((w.start for w in self.words if w.sample < self.samples), default=0)
        text, cast = self.said.text, self._cast
        phonemes = int(self.samples / cast.sample_rate * cast.speed * _SLOWEST)
        reach = min(reach_phonemes(text, 0, phonemes), len(text))
        return max((end.end() for end in _SENTENCE_END.finditer(text, 0, reach)), default=0)

    async def _parts(self) -> AsyncGenerator[Part, None]:
        cast = self._cast
        segment = self._segment()
        fresh = partial(self._fresh, segment)
        key = cast.phrase_key(segment)
        async with aclosing(cast.phrases.parts(key, fresh, priority=cast.priority)) as parts:
            async for samples, marks in parts:
                self.samples += samples.size
                self.words += marks
                yield samples, marks

    async def _fresh(self, segment: Segment) -> AsyncGenerator[Part, None]:
        """Have the segment made; for whoever else says the same meanwhile, too."""
        cast = self._cast
        normalizer = AudioNormalizer(
            source_rate=segment.voice.sample_rate,
            target_rate=cast.sample_rate,
            tempo=cast.speed / segment.speed,
        )
        held: list[WordMark] = []  # until there are samples: nobody knows yet where they fall

        def part(samples: Int16) -> Part:
            marks = [replace(mark, sample=normalizer.place(mark.sample)) for mark in held]
            held.clear()
            return samples, marks

        try:
            async with aclosing(self._chunks(segment)) as chunks:
                async for chunk in chunks:
                    held += chunk.marks
                    if (samples := normalizer.push(chunk.samples)).size:
                        yield part(samples)
        except BackendError:
            if (samples := normalizer.flush()).size:
                yield part(samples)
            raise
        if (samples := normalizer.flush()).size:
            yield part(samples)

    async def _chunks(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        """Yield what the backend gives; what it raises is a `VoicedError` from here on."""
        cast = self._cast
        limit_s = cast.backend.settings.first_audio_timeout_s or None
        try:
            async with aclosing(cast.backend.generate_speech_stream(segment)) as chunks:
                async with asyncio.timeout(limit_s):
                    first = await anext(chunks, None)
                if first is None:
                    return
                yield first
                async for chunk in chunks:
                    yield chunk
        except VoicedError:
            raise
        except TimeoutError:
            raise BackendLate(
                f"The backend {cast.backend_id!r} gave no audio within {limit_s} s; "
                "first_audio_timeout_s allows more."
            ) from None
        except Exception as error:
            log.exception("backend %s failed", cast.backend_id)
            raise BackendError("The backend failed; see the daemon's log.") from error

    def _segment(self) -> Segment:
        cast, passage = self._cast, self.passage
        slowest, fastest = cast.backend.speeds
        return Segment(
            index=self.index,
            text=self.said.text,
            start=passage.start,
            end=passage.end,
            voice=cast.voice,
            language=cast.language,
            speed=min(max(cast.speed, slowest), fastest),
            options=cast.options,
            instructions=cast.instructions,
            wants_words=cast.wants_words,
            priority=cast.priority,
            due=self._due,
            on_retry=self._tell_retry,
        )

    def _tell_retry(self) -> None:
        message = f"The backend {self._cast.backend_id!r} did not answer, and is asked again."
        self._cast.tell(Notice("retrying", message))
