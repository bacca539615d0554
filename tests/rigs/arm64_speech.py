"""Has the same texts spoken by every door of a daemon; compares what two machines said.

    python arm64_speech.py speak READY FOLDER
    python arm64_speech.py compare FOLDER FOLDER

READY is the ready file of a running daemon. FOLDER gets the samples of each text: as the engine
made them, and at the rate of every door. Both have to be the same on both machines.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import av
import numpy as np
from numpy.typing import NDArray
from wyoming.audio import AudioChunk, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeVoice

from voiced.client import connect

_MODEL = "espeak"
_ENGINE_HZ = 22050
_DOORS_HZ = 24000
_PATIENCE_S = 300  # an emulated machine is slow
_LEAST_S = 0.5


@dataclass(frozen=True, slots=True)
class _Text:
    voice: str
    text: str
    speed: float = 1


_TEXTS = (
    _Text("en-us", "Good morning. The kettle is on, and it is 7:45 on Tuesday, the 3rd of May."),
    _Text("en-gb-x-rp+f3", "The train from platform 2 leaves in ten minutes.", 0.9),
    _Text("de", "Guten Morgen, schöne Grüße. Die Milch kostet 1,29 € und reicht bis Freitag."),
    _Text("fr-fr", "Bonjour ! Il fait 21 °C dans le salon, et la fenêtre est ouverte.", 1.5),
    _Text("ru", "Доброе утро. Чайник уже кипит, а на улице идёт снег."),
    _Text("cmn", "早上好。水已经开了，今天是星期二。"),
)
_CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3float", "opus": "opus", "aac": "aac"}


def _main(command: str, *paths: str) -> int:
    first, second = (Path(path) for path in paths)
    if command == "speak":
        asyncio.run(_speak(json.loads(first.read_text(encoding="utf-8")), second))
        return 0
    assert command == "compare"
    return _compare(first, second)


def _tell(what: str) -> None:
    sys.stdout.write(f"  {what}\n")
    sys.stdout.flush()


# -------------------------------------------------------------------------------------- the doors


async def _speak(doors: Mapping[str, Any], folder: Path) -> None:
    websocket, http, wyoming = (
        f"{doors[name]['host']}:{doors[name]['port']}" for name in ("websocket", "http", "wyoming")
    )
    _tell(f"Wyoming describes {await _count_voices(wyoming)} voices")
    for number, text in enumerate(_TEXTS, 1):
        name = folder / f"{number}-{text.voice}"
        made = await _ask_websocket(text, websocket)
        Path(f"{name}.{_ENGINE_HZ}.pcm").write_bytes(made)
        said = _say(text, websocket, Path(f"{name}.wav"))
        assert _ask_http(text, http, "pcm") == said
        if text.speed == 1:  # Wyoming knows no other
            assert await _ask_wyoming(text, wyoming) == said
        Path(f"{name}.{_DOORS_HZ}.pcm").write_bytes(said)
    _tell(f"`voiced say`, HTTP and Wyoming gave the same for each of {len(_TEXTS)} texts")
    for container, codec in _CODECS.items():
        _check_decodes(_ask_http(_TEXTS[0], http, container), codec)
    _tell(f"HTTP gives {', '.join(_CODECS)}, which can be decoded")


async def _ask_websocket(text: _Text, place: str) -> bytes:
    fields = {"model": _MODEL, "voice": text.voice, "speed": text.speed}
    async with (
        connect(f"ws://{place}/v1/ws") as client,
        client.speak(text.text, sample_rate=_ENGINE_HZ, **fields) as speech,
    ):
        audio = b"".join([bytes(part) async for part in speech])
    return _checked(audio, _ENGINE_HZ)


def _say(text: _Text, place: str, path: Path) -> bytes:
    subprocess.run(
        [
            *(sys.executable, "-m", "voiced", "say", text.text, "-o", str(path)),
            *("--url", f"ws://{place}/v1/ws", "--model", _MODEL),
            *("--voice", text.voice, "--speed", str(text.speed)),
        ],
        check=True,
        timeout=_PATIENCE_S,
    )
    with wave.open(str(path)) as file:
        assert file.getframerate() == _DOORS_HZ
        audio = file.readframes(file.getnframes())
    path.unlink()
    return _checked(audio, _DOORS_HZ)


def _ask_http(text: _Text, place: str, response_format: str) -> bytes:
    asked = {
        "model": _MODEL,
        "input": text.text,
        "voice": text.voice,
        "speed": text.speed,
        "response_format": response_format,
    }
    request = Request(
        f"http://{place}/v1/audio/speech",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=_PATIENCE_S) as response:
        audio: bytes = response.read()
    return audio


async def _count_voices(place: str) -> int:
    async with _wyoming(place) as client:
        await client.write_event(Describe().event())
        event = await client.read_event()
    assert event is not None
    (program,) = Info.from_event(event).tts
    assert program.voices
    return len(program.voices)


async def _ask_wyoming(text: _Text, place: str) -> bytes:
    audio = b""
    async with _wyoming(place) as client:
        voice = SynthesizeVoice(name=f"{_MODEL}/{text.voice}")
        await client.write_event(Synthesize(text=text.text, voice=voice).event())
        while event := await client.read_event():
            if AudioStop.is_type(event.type):
                break
            if AudioChunk.is_type(event.type):
                chunk = AudioChunk.from_event(event)
                assert (chunk.rate, chunk.width, chunk.channels) == (_DOORS_HZ, 2, 1)
                audio += chunk.audio
    return audio


def _wyoming(place: str) -> AsyncTcpClient:
    host, _, port = place.rpartition(":")
    return AsyncTcpClient(host, int(port), read_timeout=_PATIENCE_S)


def _checked(pcm: bytes, rate: int) -> bytes:
    assert len(pcm) > 2 * rate * _LEAST_S, f"{len(pcm)} bytes of audio"
    assert any(pcm), "silence"
    return pcm


def _check_decodes(audio: bytes, codec: str) -> None:
    with av.open(io.BytesIO(audio), "r") as opened:
        (stream,) = opened.streams.audio
        assert stream.codec_context.name == codec, stream.codec_context.name
        seconds = sum(frame.samples / frame.sample_rate for frame in opened.decode(stream))
    assert seconds > _LEAST_S, f"{seconds} s of {codec}"


# --------------------------------------------------------------------------------- two machines


def _compare(ours: Path, theirs: Path) -> int:
    names = sorted(path.name for path in ours.iterdir())
    is_alike = bool(names) and names == sorted(path.name for path in theirs.iterdir())
    _tell(f"{'samples':<28}{'x86-64: sha256':<20}{'arm64: sha256':<20}")
    for name in names if is_alike else ():
        pair = [(folder / name).read_bytes() for folder in (ours, theirs)]
        one, other = (np.frombuffer(samples, "<i2").astype(np.int32) for samples in pair)
        is_alike = is_alike and np.array_equal(one, other)
        sums = "".join(f"{hashlib.sha256(samples).hexdigest()[:16]:<20}" for samples in pair)
        _tell(f"{name:<28}{sums}{_difference(one, other)}")
    return int(not is_alike)


def _difference(one: NDArray[np.int32], other: NDArray[np.int32]) -> str:
    if one.size != other.size:
        return f"{one.size} and {other.size} samples"
    steps = np.abs(one - other)
    if not (differ := int(np.count_nonzero(steps))):
        return "the same"
    return f"{differ} of {one.size} differ, by up to {steps.max()}"


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
