"""Loudness: a neural engine speaks short texts softer or louder than long ones."""

from __future__ import annotations

import numpy as np

from voiced.speech import Float32

_TARGET = 0.08  # root mean square of what is voiced, -22 dBFS: as loud as podcasts are
_MOST = 2.0  # a whisper stays one
_PEAK = 0.97
_BLOCK_S = 0.05
_GATE = 0.1  # of the loudest block; what is below is a pause


def even_out(samples: Float32, rate: int) -> Float32:
    """Bring a whole segment to the loudness of all others, by at most 6 dB and without clipping."""
    size = round(rate * _BLOCK_S)
    blocks = samples[: samples.size // size * size].reshape(-1, size)
    powers = np.mean(np.square(blocks), axis=1) if blocks.size else np.zeros(1, np.float32)
    if not 0 < powers.max() < np.inf:  # silence, or no numbers
        return samples
    level = float(np.sqrt(powers[powers >= powers.max() * _GATE**2].mean()))
    peak = float(np.abs(samples).max())
    gain = min(max(_TARGET / level, 1 / _MOST), _MOST, max(_PEAK / peak, 1 / _MOST))
    evened: Float32 = samples * np.float32(gain)
    return evened
