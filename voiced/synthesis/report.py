"""`SpeechReport`: what became of a speech."""

from __future__ import annotations

from dataclasses import dataclass

from voiced.speech import AudioFrame, EndReason, SpeechEvent, SpeechStart


@dataclass(slots=True)
class SpeechReport:
    """What became of a speech, for the log and the metrics."""

    label: str
    model: str
    characters: int = 0
    backend: str = ""
    voice: str = ""
    samples: int = 0
    sample_rate: int = 0  # of the samples; 0 before the speech has begun
    first_audio_ms: float | None = None
    total_ms: float = 0.0
    reason: EndReason = EndReason.CANCELLED
    error: str | None = None

    def note(self, event: SpeechEvent, elapsed_ms: float) -> None:
        """Take down what an event tells."""
        if isinstance(event, SpeechStart):
            self.backend, self.voice = event.backend, event.voice
            self.sample_rate = event.sample_rate
        elif isinstance(event, AudioFrame) and event.samples:
            self.samples += event.samples
            if self.first_audio_ms is None:
                self.first_audio_ms = elapsed_ms
