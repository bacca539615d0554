"""`Cast`: who speaks a request, and how."""

from __future__ import annotations

from dataclasses import dataclass

from voiced.backends.base import FirstSegment, SharedOptions, TTSBackendBase
from voiced.reading.markup import CodeReading
from voiced.speech import AudioFormat, Priority, Voice


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
    response_format: AudioFormat
    sample_rate: int
    speed: float
    language: str | None
    instructions: str | None
    priority: Priority
    wants_words: bool  # the client asked for marks by word
