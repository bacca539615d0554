"""What Prometheus may scrape. Its own registry: nothing of the process leaks in by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from voiced.errors import VoicedError
from voiced.synthesis.report import SpeechReport

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_FIRST_AUDIO_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_FAMILIES = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that somebody else keeps, or one for each value of a label."""

    name: str
    help_text: str
    read: Callable[[], float | Mapping[str, float]]
    label: str = ""
    kind: Literal["gauge", "counter"] = "gauge"


class Metrics:
    """Counts speeches as they end, and takes readings when it is asked."""

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
        for code in set(_codes(VoicedError)):
            self._errors.labels(code)  # 0, or nobody would notice the first
        self._audio = Counter(
            "voiced_audio_seconds", "Audio that was made", ["backend"], registry=self._registry
        )
        self._first_audio = Histogram(
            "voiced_first_audio_seconds",
            "From the request to its first audio",
            ["backend"],
            buckets=_FIRST_AUDIO_S,
            registry=self._registry,
        )

    def show(self, *readings: Reading) -> None:
        """Take these, too."""
        self._registry.register(_Readings(readings))

    def observe(self, report: SpeechReport) -> None:
        """Count a speech."""
        self._speeches.labels(report.backend, report.reason).inc()
        if report.samples:
            self._audio.labels(report.backend).inc(report.samples / report.sample_rate)
        if report.error is not None:
            self._errors.labels(report.error).inc()
        if report.first_audio_ms is not None:
            self._first_audio.labels(report.backend).observe(report.first_audio_ms / 1000)

    def render(self) -> bytes:
        """Return the text format."""
        return generate_latest(self._registry)


def _codes(kind: type[VoicedError]) -> Iterator[str]:
    yield kind.code
    for special in kind.__subclasses__():
        yield from _codes(special)


class _Readings(Collector):
    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        for reading in self._readings:
            labels = [reading.label] if reading.label else []
            family = _FAMILIES[reading.kind](reading.name, reading.help_text, labels=labels)
            value = reading.read()
            for name, number in value.items() if isinstance(value, Mapping) else [("", value)]:
                family.add_metric([name] if labels else [], number)
            yield family
