"""`Cast`: who speaks a request, and how."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from voiced import __version__
from voiced.backends.base import FirstSegment, SharedOptions, TTSBackendBase
from voiced.reading.markup import CodeReading
from voiced.reading.pronunciation import Pronunciation
from voiced.speech import AudioFormat, Notice, Priority, Segment, Voice
from voiced.synthesis.phrases import LONGEST_PHRASE, PhraseCache


@dataclass(frozen=True, slots=True)
class Cast:
    """All names resolved, all values checked."""

    model: str
    backend_id: str
    backend: TTSBackendBase
    voice: Voice
    options: SharedOptions
    first_segment: FirstSegment
    code_blocks: CodeReading
    pronunciation: Pronunciation
    response_format: AudioFormat
    sample_rate: int
    speed: float
    language: str | None
    instructions: str | None
    priority: Priority
    wants_words: bool  # the client asked for marks by word
    phrases: PhraseCache
    tell: Callable[[Notice], None]

    @property
    def takes_text_as_it_is(self) -> bool:
        """Whether nothing in it is read otherwise than it stands, as in a document of SSML."""
        options = self.options
        return options.raw or self.backend.segment_sizes(options, is_whole=True) is None

    def phrase_key(self, segment: Segment) -> bytes | None:
        """Return what a segment is kept under, a digest of all that shapes it; None: it is not."""
        if len(segment.text) > LONGEST_PHRASE or not self.phrases.is_on:
            return None
        own = set(type(segment.options).model_fields) - set(SharedOptions.model_fields)
        shape = (
            __version__,
            self.backend_id,
            self.backend.identity(segment.voice),
            segment.voice.id,
            segment.language,
            segment.speed,
            segment.options.model_dump_json(include=own),
            segment.instructions,
            segment.wants_words and not self.backend.is_local,
            segment.text,
            self.sample_rate,
            self.speed,
        )
        return hashlib.blake2b(repr(shape).encode(errors="surrogatepass"), digest_size=16).digest()
