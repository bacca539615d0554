"""Bytes of a provider to samples, as they come.

`StreamingAudioDecoder` takes pcm, wav, mp3, aac (ADTS) and Ogg with Opus in whatever parts a
network cuts them into, and gives float32 mono at one rate. What is a container is taken apart here,
since FFmpeg's demuxers read and wait; the codecs, the mixing and the resampling are FFmpeg's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from voiced.speech import Float32

_RIFF_CHUNK = struct.Struct("<4sI")
_WAV_FORMAT = struct.Struct("<HHIIHH")
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WAV_CODECS = {
    (_PCM, 8): "pcm_u8",
    (_PCM, 16): "pcm_s16le",
    (_PCM, 24): "pcm_s24le",
    (_PCM, 32): "pcm_s32le",
    (_FLOAT, 32): "pcm_f32le",
}
_LONGEST_HEADER_BYTES = 1 << 20  # what stands before the samples of a WAV file, pictures and all
_OGG_PAGE = struct.Struct("<4sBBqIIIB")
_OPUS_RATE = 48000  # that its time always counts in
_EMPTY = np.zeros(0, np.float32)

FORMATS = ("pcm", "wav", "mp3", "opus", "aac")
"""What it can be told that the bytes are; `opus` is in Ogg."""


class UndecodableError(Exception):
    """The bytes are not what they were said to be; the message says what they lack."""


class StreamingAudioDecoder:
    """Call `push` with each part and `flush` once. Neither blocks; 0.1 s of audio cost 0.2 ms."""

    def __init__(self, audio_format: str, *, rate: int, pcm_rate: int | None = None) -> None:
        """Give samples at `rate`; bytes of `pcm` are 16-bit mono at `pcm_rate`, else at `rate`."""
        self._parts = _reader(audio_format, pcm_rate or rate)
        self._mixer = av.AudioResampler(format="flt", layout="mono", rate=rate)

    def push(self, data: bytes) -> Float32:
        """Take the next bytes and return the samples that are ready.

        Raises:
            UndecodableError: they are not what they were said to be.
        """
        return self._mixed(self._parts.push(data))

    def flush(self) -> Float32:
        """Return what was held back; the bytes are over.

        Raises:
            UndecodableError: they end before there was any audio.
        """
        rest = self._mixed(self._parts.flush())
        return np.concatenate((rest, self._mixed([None])))

    def _mixed(self, frames: Iterator[av.AudioFrame] | list[None]) -> Float32:
        try:
            mixed = [f.to_ndarray()[0] for frame in frames for f in self._mixer.resample(frame)]
        except (av.FFmpegError, ValueError) as error:  # the latter of a rate that changes
            raise UndecodableError(f"FFmpeg finds {type(error).__name__}") from None
        return np.concatenate(mixed) if mixed else _EMPTY


class _Stream:
    """A codec whose packets FFmpeg finds in the bytes by itself."""

    def __init__(self, codec: str) -> None:
        self._codec = _open(codec)

    def push(self, data: bytes) -> Iterator[av.AudioFrame]:
        for packet in self._codec.parse(data):
            yield from self._codec.decode(packet)

    def flush(self) -> Iterator[av.AudioFrame]:
        for packet in self._codec.parse(None):
            yield from self._codec.decode(packet)
        yield from self._codec.decode(None)


class _Pcm:
    """Samples as they stand; a part may end within one."""

    def __init__(self, codec: str, rate: int, channels: int = 1) -> None:
        self._codec = _open(codec)
        self._codec.sample_rate = rate
        self._codec.layout = "mono" if channels == 1 else f"{channels}C"
        if channels == 2:
            self._codec.layout = "stereo"
        self._size = channels * {"pcm_u8": 1, "pcm_s16le": 2, "pcm_s24le": 3}.get(codec, 4)
        self._held = b""

    def push(self, data: bytes) -> Iterator[av.AudioFrame]:
        held = self._held + data
        whole = len(held) - len(held) % self._size
        self._held = held[whole:]
        if whole:
            yield from self._codec.decode(av.Packet(held[:whole]))

    def flush(self) -> Iterator[av.AudioFrame]:
        yield from self._codec.decode(None)


class _Wav:
    """A WAV file; what its header says of lengths is not believed, as streams cannot know them."""

    def __init__(self) -> None:
        self._head = b""
        self._pcm: _Pcm | None = None
        self._at = 12  # of the next chunk
        self._format: tuple[str, int, int] | None = None

    def push(self, data: bytes) -> Iterator[av.AudioFrame]:
        if self._pcm is None:
            self._head += data
            data = self._read_head()
        if self._pcm is not None:
            yield from self._pcm.push(data)

    def flush(self) -> Iterator[av.AudioFrame]:
        if self._pcm is None:
            raise UndecodableError("it ends before the samples of a WAV file")
        yield from self._pcm.flush()

    def _read_head(self) -> bytes:
        """Look for the samples; return those that have come."""
        head = self._head
        if len(head) >= 12 and (head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE"):
            raise UndecodableError("it does not begin as a WAV file")
        if len(head) > _LONGEST_HEADER_BYTES:
            raise UndecodableError("a WAV file begins, but its samples do not")
        while len(head) >= self._at + _RIFF_CHUNK.size:
            name, size = _RIFF_CHUNK.unpack_from(head, self._at)
            begin = self._at + _RIFF_CHUNK.size
            if name == b"data":
                if self._format is None:
                    raise UndecodableError("the WAV file does not say what its samples are")
                self._pcm, self._head = _Pcm(*self._format), b""
                return head[begin:]
            if len(head) < begin + size:
                break
            if name == b"fmt ":
                self._format = _wav_format(head[begin : begin + size])
            self._at = begin + size + size % 2
        return b""


class _OggOpus:
    """Opus in Ogg, RFC 7845: pages to packets, less the samples that only prime the codec."""

    def __init__(self) -> None:
        self._held = b""
        self._packet = b""  # that goes on in the next page
        self._count = 0
        self._codec: AudioCodecContext | None = None
        self._skip = 0  # samples of the beginning

    def push(self, data: bytes) -> Iterator[av.AudioFrame]:
        self._held += data
        while (page := self._next_page()) is not None:
            for packet in page:
                yield from self._take(packet)

    def flush(self) -> Iterator[av.AudioFrame]:
        if self._codec is None:
            raise UndecodableError("it ends before the audio of an Ogg file")
        yield from self._codec.decode(None)

    def _next_page(self) -> list[bytes] | None:
        """Return the packets that end in the next page, None where it is not here yet."""
        held = self._held
        if held and not held.startswith(b"OggS"[: len(held)]):
            raise UndecodableError("it is no Ogg file, or a page is broken")
        if len(held) < _OGG_PAGE.size:
            return None
        count = held[_OGG_PAGE.size - 1]
        lengths = held[_OGG_PAGE.size : _OGG_PAGE.size + count]
        end = _OGG_PAGE.size + count + sum(lengths)
        if len(lengths) < count or len(held) < end:
            return None
        packets, at = [], _OGG_PAGE.size + count
        for length in lengths:
            self._packet += held[at : at + length]
            at += length
            if length < 255:
                packets.append(self._packet)
                self._packet = b""
        self._held = held[end:]
        return packets

    def _take(self, packet: bytes) -> Iterator[av.AudioFrame]:
        self._count += 1
        if self._count == 1:
            if not packet.startswith(b"OpusHead") or len(packet) < 19:
                raise UndecodableError("the Ogg file holds no Opus")
            self._codec = _open("libopus")
            self._codec.extradata = packet
            (self._skip,) = struct.unpack_from("<H", packet, 10)
        elif self._count > 2:  # the second has the tags
            assert self._codec is not None
            for frame in self._codec.decode(av.Packet(packet)):
                yield from self._without_priming(frame)

    def _without_priming(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        skipped = min(self._skip, frame.samples)
        self._skip -= skipped
        if not skipped:
            yield frame
        elif skipped < frame.samples:
            samples: Any = np.ascontiguousarray(frame.to_ndarray()[:, skipped * _width(frame) :])
            rest = av.AudioFrame.from_ndarray(samples, frame.format.name, frame.layout.name)
            rest.sample_rate = frame.sample_rate
            yield rest


_Reader = _Stream | _Pcm | _Wav | _OggOpus


def _reader(audio_format: str, pcm_rate: int) -> _Reader:
    match audio_format:
        case "pcm":
            return _Pcm("pcm_s16le", pcm_rate)
        case "wav":
            return _Wav()
        case "opus":
            return _OggOpus()
        case "mp3" | "aac":
            return _Stream(audio_format)
    raise ValueError(f"There is no audio format {audio_format!r}; there are {', '.join(FORMATS)}.")


def _wav_format(chunk: bytes) -> tuple[str, int, int]:
    """Return the codec, the rate and the channels that a format chunk tells."""
    if len(chunk) < _WAV_FORMAT.size:
        raise UndecodableError("the WAV file does not say what its samples are")
    kind, channels, rate, _, _, bits = _WAV_FORMAT.unpack_from(chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        (kind,) = struct.unpack_from("<H", chunk, 24)
    codec = _WAV_CODECS.get((kind, bits))
    if codec is None or channels not in (1, 2) or not 4000 <= rate <= 192_000:
        raise UndecodableError(
            f"its {bits} bits, {channels} channels, {rate} Hz are not for speech"
        )
    return codec, rate, channels


def _width(frame: av.AudioFrame) -> int:
    """Return how many values of a row are a sample."""
    return 1 if frame.format.is_planar else len(frame.layout.channels)


def _open(codec: str) -> AudioCodecContext:
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, AudioCodecContext)
    context.thread_count = 1
    return context
