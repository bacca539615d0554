"""`StreamingAudioWriter`: pcm in, encoded bytes out, as early as each codec can.

What each format needs was measured (24 kHz mono, 20 ms fed at a time):

    format  container  first bytes after  decoded length
    wav     own header at once            exact
    pcm     none       at once            exact
    opus    Ogg        40 ms              exact
    mp3     none       60 ms              at most 3 frames longer
    aac     ADTS       100 ms             at most 4 frames longer
    flac    FLAC       40 ms              exact
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, cast

import av
import numpy as np
from av.audio import AudioStream

from voiced.speech import AudioFormat, Int16

MEDIA_TYPES: Mapping[AudioFormat, str] = MappingProxyType(
    {
        AudioFormat.MP3: "audio/mpeg",
        AudioFormat.OPUS: "audio/opus",
        AudioFormat.AAC: "audio/aac",
        AudioFormat.FLAC: "audio/flac",
        AudioFormat.WAV: "audio/wav",
        AudioFormat.PCM: "audio/pcm",
    }
)

_UNKNOWN_SIZE = 0xFFFFFFFF
_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
WAV_HEADER_BYTES = _WAV_HEADER.size


@dataclass(frozen=True, slots=True)
class _Codec:
    container: str
    name: str
    sample_format: str
    bit_rate: int | None
    container_options: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    rates: tuple[int, ...] = ()  # Hz it takes; empty: all of ours


_CODECS: Mapping[AudioFormat, _Codec] = MappingProxyType(
    {
        # No Xing header: it would hold back the first frame, and claim a length.
        # No bit reservoir: a frame stands alone, and the first leaves 20 ms sooner.
        AudioFormat.MP3: _Codec(
            "mp3",
            "libmp3lame",
            "s16p",
            64_000,
            {"write_xing": "0", "id3v2_version": "0"},
            {"reservoir": "0"},
        ),
        # Pages of one packet: by default Ogg keeps two seconds to itself.
        AudioFormat.OPUS: _Codec(
            "ogg",
            "libopus",
            "s16",
            48_000,
            {"page_duration": "20000"},
            {"application": "voip", "frame_duration": "20"},
            rates=(16000, 24000, 48000),  # at 8000 the last packet loses samples
        ),
        AudioFormat.AAC: _Codec("adts", "aac", "fltp", 64_000),
        # Without the option the header carries 8 KiB of padding.
        AudioFormat.FLAC: _Codec(
            "flac",
            "flac",
            "s16",
            None,
            {"metadata_header_padding": "0"},
            {"frame_size": "576"},
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The next bytes of a stream, and how many samples they stand for: 128 ms at most of a codec's.

    A codec delays and pads, so all of a stream may stand for a little more than was written.
    """

    data: bytes
    samples: int  # at the rate of what was written


class StreamingAudioWriter:
    """Encodes int16 mono samples of one rate into one stream of `response_format`.

    `write` returns what is ready, often nothing; `close` returns the rest. Neither blocks: 20 ms
    of audio cost 0.1-0.5 ms. Not for use from two threads at once.
    """

    def __init__(self, response_format: AudioFormat, sample_rate: int) -> None:
        self._rate = sample_rate
        self._head = b""
        self._encoder: _Encoder | None = None
        if response_format is AudioFormat.WAV:
            self._head = wav_header(sample_rate)
        elif response_format is not AudioFormat.PCM:
            self._encoder = _Encoder(_CODECS[response_format], sample_rate)

    def write(self, samples: Int16) -> list[Encoded]:
        """Encode `samples` (any number) and return what is ready."""
        if not samples.size:
            return []
        if self._encoder is not None:
            return self._encoder.encode(samples)
        head, self._head = self._head, b""
        return [Encoded(head + samples.astype("<i2", copy=False).tobytes(), samples.size)]

    def close(self) -> list[Encoded]:
        """End the stream and return its rest, a header too if nothing was written."""
        if self._encoder is not None:
            return self._encoder.finish()
        head, self._head = self._head, b""
        return [Encoded(head, 0)] if head else []


def wav_header(sample_rate: int, data_bytes: int = _UNKNOWN_SIZE) -> bytes:
    """Return the 44 bytes before 16-bit mono samples; both sizes say "unknown" by default."""
    riff_bytes = data_bytes if data_bytes == _UNKNOWN_SIZE else data_bytes + _WAV_HEADER.size - 8
    return _WAV_HEADER.pack(
        *(b"RIFF", riff_bytes, b"WAVE"),
        *(b"fmt ", 16, 1, 1, sample_rate, sample_rate * 2, 2, 16),
        *(b"data", data_bytes),
    )


class _Output:
    """What PyAV writes to: a file that cannot seek."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


class _Encoder:
    def __init__(self, codec: _Codec, sample_rate: int) -> None:
        self._input_rate = sample_rate
        rate = sample_rate if sample_rate in codec.rates or not codec.rates else codec.rates[-1]
        self._output = _Output()
        self._container = av.open(
            self._output, "w", format=codec.container, options=codec.container_options
        )
        name = cast("Literal['aac']", codec.name)  # the stubs list a few names only
        self._stream: AudioStream = self._container.add_stream(
            name, rate=rate, options=codec.options
        )
        self._stream.layout = "mono"
        self._stream.format = codec.sample_format
        if codec.bit_rate:
            self._stream.bit_rate = codec.bit_rate
        self._stream.codec_context.thread_count = 1  # one stream is light, and there may be many
        self._fed = 0
        self._held = 0  # samples of packets that the container has not written yet

    def encode(self, samples: Int16) -> list[Encoded]:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples)[np.newaxis], format="s16", layout="mono"
        )
        frame.sample_rate = self._input_rate
        frame.time_base = Fraction(1, self._input_rate)
        frame.pts = self._fed
        self._fed += samples.size
        return self._mux(frame)  # PyAV converts the format and the rate, and cuts codec frames

    def finish(self) -> list[Encoded]:
        self._container.start_encoding()  # an empty stream has its header too
        written = self._mux(None)
        self._container.close()  # Ogg writes its last page here
        return [*written, *self._take()]

    def _mux(self, frame: av.AudioFrame | None) -> list[Encoded]:
        written = []
        for packet in self._stream.encode(frame):
            if packet.duration and packet.time_base:
                self._held += round(packet.duration * packet.time_base * self._input_rate)
            self._container.mux(packet)
            written += self._take()
        return written

    def _take(self) -> list[Encoded]:
        data = self._output.take()
        if not data:
            return []
        samples, self._held = self._held, 0
        return [Encoded(data, samples)]
