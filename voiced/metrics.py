"""What Prometheus may scrape. Its own registry: nothing of the process leaks in by itself."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from voiced.synthesis.report import SpeechReport

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_FIRST_AUDIO_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counts speeches as they end, and reads gauges when it is asked."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._speeches = Counter(
            "voiced_speeches",
            "Speeches that ended",
            ["backend", "reason"],
            registry=self._registry,
        )
        self._errors = Counter(
            "voiced_errors", "Speeches that failed", ["code"], registry=self._registry
        )
        self._audio = Counter(
            "voiced_audio_samples", "Samples sent", ["backend"], registry=self._registry
        )
        self._first_audio = Histogram(
            "voiced_first_audio_seconds",
            "From the request to its first audio",
            ["backend"],
            buckets=_FIRST_AUDIO_S,
            registry=self._registry,
        )

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Show a value that is read at each scrape."""
        Gauge(name, help_text, registry=self._registry).set_function(read)

    def observe(self, report: SpeechReport) -> None:
        """Count a speech."""
        self._speeches.labels(report.backend, report.reason).inc()
        self._audio.labels(report.backend).inc(report.samples)
        if report.error is not None:
            self._errors.labels(report.error).inc()
        if report.first_audio_ms is not None:
            self._first_audio.labels(report.backend).observe(report.first_audio_ms / 1000)

    def render(self) -> bytes:
        """Return the text format."""
        return generate_latest(self._registry)
