from __future__ import annotations

import io
import random
import struct
from contextlib import suppress

import av
import numpy as np
import pytest
from av.audio import AudioStream

from voiced.audio.decoder import FORMATS, StreamingAudioDecoder, UndecodableError
from voiced.audio.writer import StreamingAudioWriter, wav_header
from voiced.speech import AudioFormat, Float32, Int16

RATE = 24000
CODED = [AudioFormat(name) for name in FORMATS]


def tone(seconds: float = 1.0, rate: int = RATE) -> Int16:
    time = np.arange(round(seconds * rate)) / rate
    return (12000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)


def encoded(response_format: AudioFormat, samples: Int16, rate: int = RATE) -> bytes:
    writer = StreamingAudioWriter(response_format, rate)
    return b"".join(part.data for part in [*writer.write(samples), *writer.close()])


def decoded(audio_format: str, data: bytes, *sizes: int, rate: int = RATE) -> Float32:
    decoder = StreamingAudioDecoder(audio_format, rate=rate)
    parts: list[Float32] = []
    at = 0
    while at < len(data):
        size = sizes[len(parts) % len(sizes)] if sizes else len(data)
        parts.append(decoder.push(data[at : at + size]))
        at += size
    return np.concatenate([*parts, decoder.flush()])


def frequency(samples: Float32, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(spectrum.argmax()) * rate / samples.size


@pytest.mark.parametrize("response_format", CODED)
def test_what_is_encoded_comes_back(response_format: AudioFormat) -> None:
    samples = tone()
    back = decoded(response_format, encoded(response_format, samples))
    assert back.dtype == np.float32
    assert samples.size <= back.size <= samples.size + RATE // 10
    assert frequency(back) == pytest.approx(440, abs=2)
    assert np.abs(back).max() == pytest.approx(12000 / 32768, abs=0.08)
    if response_format in ("pcm", "wav"):
        assert np.array_equal(back, samples.astype(np.float32) / 32768)


@pytest.mark.parametrize("response_format", CODED)
def test_it_does_not_matter_how_the_network_cuts_it(response_format: AudioFormat) -> None:
    data = encoded(response_format, tone(0.3))
    whole = decoded(response_format, data)
    chance = random.Random(1)
    for sizes in ([1], [1213, 3989, 1557, 279], [chance.randrange(1, 700) for _ in range(50)]):
        assert np.array_equal(decoded(response_format, data, *sizes), whole)


@pytest.mark.parametrize(("response_format", "within_bytes"), [("mp3", 1000), ("opus", 1200)])
def test_audio_comes_while_bytes_do(response_format: str, within_bytes: int) -> None:
    data = encoded(AudioFormat(response_format), tone())
    decoder = StreamingAudioDecoder(response_format, rate=RATE)
    taken = 0
    while not decoder.push(data[taken : taken + 50]).size:
        taken += 50
    assert taken < within_bytes


@pytest.mark.parametrize("response_format", ["wav", "mp3", "opus"])
def test_other_rates_are_converted(response_format: str) -> None:
    data = encoded(AudioFormat(response_format), tone(1.0, 48000), 48000)
    back = decoded(response_format, data)
    assert back.size == pytest.approx(RATE, rel=0.1)
    assert frequency(back) == pytest.approx(440, abs=2)


def test_pcm_of_another_rate() -> None:
    decoder = StreamingAudioDecoder("pcm", rate=RATE, pcm_rate=22050)
    back = np.concatenate([decoder.push(tone(1.0, 22050).tobytes()), decoder.flush()])
    assert back.size == pytest.approx(RATE, abs=50)
    assert frequency(back) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("codec", "bits"), [("pcm_s24le", 24), ("pcm_f32le", 32), ("pcm_u8", 8), ("pcm_s32le", 32)]
)
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_every_kind_of_wav(codec: str, bits: int, layout: str) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as container:
        stream = container.add_stream(codec, rate=44100, layout=layout)
        samples = np.repeat(tone(0.5, 44100), 2 if layout == "stereo" else 1)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(samples, "s16", layout)
        frame.sample_rate = 44100
        assert isinstance(stream, AudioStream)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    back = decoded("wav", file.getvalue(), 1000)
    assert back.size == pytest.approx(RATE / 2, abs=300)
    assert frequency(back) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_that_does_not_know_its_length(size: int) -> None:
    header = wav_header(RATE)[:-4] + struct.pack("<I", size)
    assert decoded("wav", header + tone().tobytes()).size == RATE


@pytest.mark.parametrize(
    ("audio_format", "data"),
    [
        ("wav", b"<html><body>Bad Gateway</body></html>"),
        ("wav", wav_header(RATE)[:30]),
        ("wav", b""),
        ("opus", b'{"error": "no"}'),
        ("opus", b""),
        ("opus", encoded(AudioFormat.OPUS, tone())[:20]),
    ],
    ids=["page", "half a header", "nothing", "json", "no opus", "half a page"],
)
def test_what_is_something_else_is_said(audio_format: str, data: bytes) -> None:
    with pytest.raises(UndecodableError):
        decoded(audio_format, data)


@pytest.mark.parametrize("audio_format", ["mp3", "aac"])
def test_text_gives_no_audio(audio_format: str) -> None:
    with suppress(UndecodableError):
        assert not decoded(audio_format, b"<html><body>Bad Gateway</body></html>" * 20).size


@pytest.mark.parametrize("audio_format", ["wav", "mp3", "opus", "aac"])
def test_no_bytes_at_all_do_anything_else(audio_format: str) -> None:
    chance = random.Random(7)
    good = encoded(AudioFormat(audio_format), tone(0.2))
    for _ in range(200):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 20)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decoded(audio_format, bytes(data), chance.randrange(1, 500))
        except UndecodableError:
            continue
