from __future__ import annotations

import numpy as np
import pytest

from voiced.audio.loudness import even_out
from voiced.speech import Float32

RATE = 24000


def tone(level: float, seconds: float = 1.0) -> Float32:
    at = np.arange(round(seconds * RATE))
    samples: Float32 = (level * np.sqrt(2) * np.sin(at * 0.1)).astype(np.float32)
    return samples


def loudness(samples: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def test_segments_come_out_equally_loud() -> None:
    evened = [loudness(even_out(tone(level), RATE)) for level in (0.05, 0.08, 0.15)]
    assert evened == pytest.approx([0.08] * 3, rel=0.01)


def test_a_whisper_stays_one() -> None:
    assert loudness(even_out(tone(0.01), RATE)) == pytest.approx(0.02, rel=0.01)
    assert loudness(even_out(tone(0.4), RATE)) == pytest.approx(0.2, rel=0.01)


def test_pauses_do_not_count() -> None:
    speech = tone(0.06)
    paused = np.concatenate([speech, np.zeros(RATE * 3, np.float32)])
    assert loudness(even_out(paused, RATE)[:RATE]) == pytest.approx(0.08, rel=0.01)


def test_nothing_clips() -> None:
    samples = tone(0.04)
    samples[RATE // 2] = 0.9
    assert np.abs(even_out(samples, RATE)).max() == pytest.approx(0.97, rel=0.01)


@pytest.mark.parametrize(
    "samples", [np.zeros(0), np.zeros(100), np.zeros(RATE), np.full(RATE, np.nan)]
)
def test_what_has_no_loudness_stays_as_it_is(samples: Float32) -> None:
    samples = samples.astype(np.float32)
    assert np.array_equal(even_out(samples, RATE), samples, equal_nan=True)
