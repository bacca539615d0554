"""A voice of Kokoro as an array: what is one, read without trusting its header.

A MiB of a compressed archive can unpack to a GiB, so that shape and type are looked at before any
of the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from voiced.speech import Float32

STYLE = 256
"""Numbers of a style: half say the timbre, half the prosody."""

MOST_ROWS = 1024
"""The published voices have 510, one for each number of tokens."""

_HEADER_BYTES = 1024  # numpy writes 118


@dataclass(frozen=True, slots=True)
class Layout:
    """What the header of a `.npy` says of the numbers after it."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]


def read_layout(stream: IO[bytes]) -> Layout:
    """Read the header of a `.npy` up to its data.

    Raises:
        ValueError: it is no header, or not that of a voice.
    """
    # The later versions are for headers above 64 KiB; reading one allocates what it says.
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("it is no array of version 1.0")
    layout = Layout(*npy.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES))
    _check_layout(layout.shape, layout.dtype)
    return layout


def _check_layout(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    is_style = len(shape) in {2, 3} and shape[-1] == STYLE and shape[1:-1] in {(), (1,)}
    if not is_style or not 1 <= shape[0] <= MOST_ROWS:
        raise ValueError(f"it is an array {list(shape)} and not [510, 1, {STYLE}]")
    if dtype.kind != "f" or dtype.itemsize not in {2, 4, 8}:
        raise ValueError(f"it is an array of {dtype.name} and not of float32")


def read_array(stream: IO[bytes]) -> Float32:
    """Read a `.npy` to its end: float32 [rows, 1, 256].

    Raises:
        ValueError: it is no voice, is cut off, or goes on.
    """
    layout = read_layout(stream)
    size = math.prod(layout.shape) * layout.dtype.itemsize
    data = stream.read(size + 1)  # one more, which reaches the end, where zipfile checks the sum
    if len(data) != size:
        raise ValueError(f"its array has not {size} bytes")
    values = np.frombuffer(data, layout.dtype)
    return checked(values.reshape(layout.shape, order="F" if layout.is_fortran else "C"))


def checked(values: NDArray[Any]) -> Float32:
    """Return an array as a voice: float32 [rows, 1, 256] in memory of its own, all finite.

    Raises:
        ValueError: it has another shape or type, or values that are no numbers.
    """
    _check_layout(values.shape, values.dtype)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        voice = np.array(values, np.float32, order="C").reshape(-1, 1, STYLE)
    if not np.isfinite(voice).all():
        raise ValueError("it has values that are no numbers")
    return voice
