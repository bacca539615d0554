"""Playing audio as it arrives: by a program that is on the machine, or by `sounddevice`."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterable
from importlib.util import find_spec

from voiced.errors import VoicedError

_PROGRAMS = {
    "aplay": "aplay -q -t raw -f S16_LE -c 1 -r {rate} -",
    "paplay": "paplay --raw --format=s16le --channels=1 --rate={rate}",
    "ffplay": "ffplay -nodisp -autoexit -loglevel error -f s16le -ar {rate} -i -",
}


def find_player() -> str | None:
    """Return the player that would be used."""
    for name in _PROGRAMS:
        if shutil.which(name):
            return name
    return "sounddevice" if find_spec("sounddevice") else None


async def play(audio: AsyncIterable[bytes], *, rate: int) -> None:
    """Play 16-bit mono samples until they end.

    Raises:
        VoicedError: there is no player, or it failed.
    """
    name = find_player()
    if name is None:
        raise VoicedError(
            "No player here (aplay, paplay, ffplay or the sounddevice package); install "
            "alsa-utils, or write a file with -o speech.wav."
        )
    if name == "sounddevice":
        await _play_by_sounddevice(audio, rate=rate)
        return
    process = await asyncio.create_subprocess_exec(
        *_PROGRAMS[name].format(rate=rate).split(),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    try:
        async for part in audio:
            process.stdin.write(part)
            await process.stdin.drain()
        process.stdin.close()
        status = await process.wait()
    except (BrokenPipeError, ConnectionResetError):
        status = await process.wait() or 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status:
        raise VoicedError(
            f"{name} could not play (status {status}): has this machine a sound card? "
            "Write a file with -o speech.wav."
        )


async def _play_by_sounddevice(audio: AsyncIterable[bytes], *, rate: int) -> None:
    import sounddevice

    try:
        stream = sounddevice.RawOutputStream(samplerate=rate, channels=1, dtype="int16")
    except sounddevice.PortAudioError:
        raise VoicedError("sounddevice found no output; write a file with -o speech.wav.") from None
    with stream:
        async for part in audio:
            await asyncio.to_thread(stream.write, part)
