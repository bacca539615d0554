from __future__ import annotations

import struct

import numpy as np
import pytest
from support import decode

from voiced.audio.writer import (
    MEDIA_TYPES,
    StreamingAudioWriter,
    wav_header,
)
from voiced.speech import SAMPLE_RATES, AudioFormat, Int16

EXACT = (AudioFormat.PCM, AudioFormat.WAV, AudioFormat.FLAC, AudioFormat.OPUS)
CODEC_FRAME = {AudioFormat.MP3: 576, AudioFormat.AAC: 1024}
SPARE_FRAMES = {AudioFormat.MP3: 3, AudioFormat.AAC: 4}
FIRST_AUDIO_MS = {
    AudioFormat.WAV: 20,
    AudioFormat.PCM: 20,
    AudioFormat.OPUS: 60,
    AudioFormat.MP3: 80,
    AudioFormat.AAC: 100,
    AudioFormat.FLAC: 100,
}


def tone(samples: int, rate: int) -> Int16:
    return (np.sin(np.arange(samples) * 2 * np.pi * 220 / rate) * 12000).astype(np.int16)


def encode(response_format: AudioFormat, samples: Int16, rate: int, step: int = 480) -> bytes:
    writer = StreamingAudioWriter(response_format, rate)
    written = [writer.write(samples[at : at + step]) for at in range(0, samples.size, step)]
    return b"".join(part.data for parts in [*written, writer.close()] for part in parts)


def decoded_length(response_format: AudioFormat, data: bytes, rate: int) -> float:
    """Return the length in samples at `rate`."""
    if response_format is AudioFormat.PCM:
        return len(data) / 2
    container = {AudioFormat.MP3: "mp3", AudioFormat.AAC: "aac"}.get(response_format)
    samples, decoded_rate = decode(data, container=container)
    return samples.size * rate / decoded_rate


@pytest.mark.parametrize("samples", [1, 100, 577, 24000, 50_123])
@pytest.mark.parametrize("response_format", EXACT)
def test_lossless_length(response_format: AudioFormat, samples: int) -> None:
    data = encode(response_format, tone(samples, 24000), 24000)
    assert decoded_length(response_format, data, 24000) == samples


@pytest.mark.parametrize("samples", [600, 24000, 50_123])
@pytest.mark.parametrize("response_format", [AudioFormat.MP3, AudioFormat.AAC])
def test_padded_formats_are_never_shorter_and_a_few_frames_longer(
    response_format: AudioFormat, samples: int
) -> None:
    data = encode(response_format, tone(samples, 24000), 24000)
    longest = samples + SPARE_FRAMES[response_format] * CODEC_FRAME[response_format]
    assert samples <= decoded_length(response_format, data, 24000) <= longest


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("response_format", list(AudioFormat))
def test_every_format_at_every_rate(response_format: AudioFormat, rate: int) -> None:
    data = encode(response_format, tone(rate, rate), rate)
    length = decoded_length(response_format, data, rate)
    if response_format in EXACT:
        assert length == pytest.approx(rate, abs=1)  # opus has no 22050 or 44100: it is converted
    else:
        assert rate <= length <= rate + 4 * 1152


@pytest.mark.parametrize("response_format", list(AudioFormat))
def test_the_first_audio_comes_early(response_format: AudioFormat) -> None:
    """Decode what has come so far, as a player would: headers alone are no audio."""
    writer = StreamingAudioWriter(response_format, 24000)
    samples = tone(24000, 24000)
    come = b""
    for fed_ms in range(20, 1000, 20):
        written = writer.write(samples[(fed_ms - 20) * 24 : fed_ms * 24])
        come += b"".join(part.data for part in written)
        if _has_audio(response_format, come):
            break
    assert fed_ms <= FIRST_AUDIO_MS[response_format]
    writer.close()


def _has_audio(response_format: AudioFormat, data: bytes) -> bool:
    if response_format is AudioFormat.PCM:
        return bool(data)
    if response_format is AudioFormat.OPUS:
        return data.count(b"OggS") > 2  # a page after those of the two headers
    if response_format is AudioFormat.FLAC:
        return data.find(b"\xff\xf8") > 42  # a frame's sync code after the stream's description
    if response_format is AudioFormat.WAV:
        return len(data) > 44
    return bool(data)  # mp3 and aac have no header but their frames'


@pytest.mark.parametrize("response_format", list(AudioFormat))
def test_what_is_decoded_is_what_was_encoded(response_format: AudioFormat) -> None:
    samples = tone(24000, 24000)
    data = encode(response_format, samples, 24000)
    if response_format is AudioFormat.PCM:
        assert data == samples.astype("<i2").tobytes()
        return
    decoded, rate = decode(data)
    middle = decoded[rate // 4 : rate // 2]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    assert np.argmax(spectrum) * rate / middle.size == pytest.approx(220, abs=8)
    assert np.abs(middle).max() == pytest.approx(12000 / 32768, rel=0.1)


def test_no_byte_follows_the_data_of_a_wav() -> None:
    samples = tone(1000, 24000)
    assert encode(AudioFormat.WAV, samples, 24000) == wav_header(24000) + samples.tobytes()


def test_a_streamed_wav_says_that_its_sizes_are_unknown() -> None:
    header = wav_header(24000)
    assert len(header) == 44
    assert struct.unpack_from("<I", header, 4) == (0xFFFFFFFF,)
    assert struct.unpack_from("<I", header, 40) == (0xFFFFFFFF,)


def test_a_header_with_a_known_length_has_exact_sizes() -> None:
    header = wav_header(24000, 2000)
    assert struct.unpack_from("<I", header, 4) == (2000 + 44 - 8,)
    assert struct.unpack_from("<I", header, 40) == (2000,)


@pytest.mark.parametrize("response_format", [AudioFormat.WAV, AudioFormat.FLAC, AudioFormat.OPUS])
def test_an_empty_stream_has_its_header(response_format: AudioFormat) -> None:
    magic = {AudioFormat.WAV: b"RIFF", AudioFormat.FLAC: b"fLaC", AudioFormat.OPUS: b"OggS"}
    assert encode(response_format, tone(0, 24000), 24000).startswith(magic[response_format])


def test_every_format_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == set(AudioFormat)


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("response_format", list(AudioFormat))
def test_what_is_written_says_for_how_many_samples_it_stands(
    response_format: AudioFormat, rate: int
) -> None:
    writer = StreamingAudioWriter(response_format, rate)
    samples = tone(rate, rate)
    parts = [*writer.write(samples), *writer.close()]
    assert rate <= sum(part.samples for part in parts) <= rate * 1.15
    if response_format not in (AudioFormat.PCM, AudioFormat.WAV):
        assert max(part.samples for part in parts) <= rate * 0.129
