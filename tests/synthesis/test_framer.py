from __future__ import annotations

import numpy as np
import pytest

from voiced.speech import SAMPLE_RATES, AudioFormat
from voiced.synthesis.framer import Framer


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("response_format", list(AudioFormat))
def test_frames_are_short_and_count_every_sample_once(
    response_format: AudioFormat, rate: int
) -> None:
    framer = Framer(response_format, rate)
    noise = np.random.default_rng(1).integers(-9000, 9000, rate * 2).astype(np.int16)
    frames = []
    for index, samples in enumerate((noise[:7], noise[7 : rate + 100], noise[rate + 100 :])):
        framer.begin_segment(index)
        frames += list(framer.frames(samples))
    frames += list(framer.finish())
    position = 0
    for frame in frames:
        assert frame.position == position
        assert frame.samples <= rate * 0.13
        position += frame.samples
    assert position == framer.position == rate * 2
    assert [frame.first for frame in frames].index(True) == 0
    assert [frame.last for frame in frames].index(True) == len(frames) - 1
    assert frames[-1].segment == 2


def test_a_speech_without_samples_has_a_last_frame() -> None:
    (frame,) = Framer(AudioFormat.PCM, 24000).finish()
    assert (frame.data, frame.samples, frame.last) == (b"", 0, True)
