"""Time to first audio: through the WebSocket against the bare engine, in turns, in one run.

    python benchmarks/first_audio.py [--rounds 100]

`bare` is espeak-ng in this process, from the call to its first samples, the library loaded and
the voice set ahead as the daemon does it; `with loading` is the same from nothing. `websocket` is
from just before `speak` is sent on an open session to the first audio frame. Both speak the same
texts, one after the other in each round, and are stopped after their first audio.

The second table is of text that comes piece by piece, as from a language model. All up to the
character which decides the first clause is sent in word-sized deltas; once the daemon has handled
them and is quiet, `last delta` is from just before that character is sent to the first audio
frame. `bare` is of the same clause and `speak` of the whole text, in the same rounds. Where the
clause ends is the segmenter's word, and checked: a frame that comes before the last delta ends the
benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import time

from rig import daemon, median, p99, show, show_complaints, text, verdict
from sessions import Session, session

from voiced.backends.base import SegmentSizes
from voiced.backends.espeak.files import EspeakFiles
from voiced.backends.espeak.library import EspeakLibrary
from voiced.synthesis.segmenter import Segmenter

_TEXTS = ("reply", "sentences", "paragraph")
_VOICE = "gmw/en-US"  # the file behind the daemon's default voice
_WARM_UP = 5  # rounds not counted
_SETTLE_S = 0.02  # for the daemon to have its engine ready again
_TARGET_MS = 6.0
_GREETING = f"Good morning, everyone. {text('sentences')}"
_ESPEAK_SIZES = SegmentSizes(preferred=100, largest=400)
_LAST_DELTA_TARGET_MS = 10.0

Rounds = list[tuple[float, float, float]]


class Bare:
    """espeak-ng without anything around it."""

    def __init__(self) -> None:
        files = EspeakFiles.find(os.environ)
        self._paths = str(files.library), str(files.data)

    def first_audio(self, words: str) -> tuple[float, float]:
        """Return the ms to the first samples: of the engine made ready, and with all loading."""
        at_first: list[float] = []

        def on_audio(samples: bytes, _words: list[int]) -> bool:
            if samples:
                at_first.append(time.perf_counter())
            return not at_first

        began = time.perf_counter()
        library = EspeakLibrary(*self._paths)
        library.set_voice(_VOICE)
        prepared = time.perf_counter()
        library.speak(words, rate=175, pitch=50, word_gap=0, ssml=False, on_audio=on_audio)
        return (at_first[0] - prepared) * 1000, (at_first[0] - began) * 1000


async def measure(url: str, words: str, rounds: int) -> Rounds:
    """Return bare, bare with loading and WebSocket for each round, in ms."""
    bare = Bare()
    times = []
    async with session(url) as client:
        for _ in range(_WARM_UP + rounds):
            ready_ms, loading_ms = bare.first_audio(words)
            speech, websocket_ms = await client.first_audio(words)
            await client.stop(speech)
            await asyncio.sleep(_SETTLE_S)
            times.append((ready_ms, loading_ms, websocket_ms))
    return times[_WARM_UP:]


def deciding(words: str) -> int:
    """Return how many characters it takes until the first clause is decided."""
    segmenter = Segmenter(_ESPEAK_SIZES)
    for count, character in enumerate(words, 1):
        segmenter.push(character)
        if segmenter.next_piece():
            return count
    raise SystemExit(f"No clause is decided in {words!r}.")


async def after_last_delta(client: Session, clause: str) -> float:
    """Send a first clause, its deciding character apart; return the ms from there to audio."""
    before, last = clause[:-1], clause[-1]
    speech = await client.send("speech/open", max_delay_ms=0)
    await client.append(speech, *re.findall(r"\S+\s*", before))
    frames = await client.handled() + await client.read_for(_SETTLE_S)
    if frames:
        raise SystemExit(f"Audio came before the last character of {clause!r}.")
    began = time.perf_counter()
    await client.append(speech, last)
    elapsed_ms = (await client.audio_of(speech) - began) * 1000
    await client.stop(speech)
    return elapsed_ms


async def measure_growing(url: str, words: str, rounds: int) -> Rounds:
    """Return bare of the first clause, `speak`, and the last delta for each round, in ms."""
    clause = words[: deciding(words)]
    bare = Bare()
    times = []
    async with session(url) as client:
        for _ in range(_WARM_UP + rounds):
            ready_ms, _ = bare.first_audio(clause)
            speech, speak_ms = await client.first_audio(words)
            await client.stop(speech)
            await client.read_for(_SETTLE_S)
            last_delta_ms = await after_last_delta(client, clause)
            await client.read_for(_SETTLE_S)
            times.append((ready_ms, speak_ms, last_delta_ms))
    return times[_WARM_UP:]


def row(what: str, times: Rounds, target_ms: float) -> list[str]:
    """Make a row of the three; the last is measured by how far it is above the first."""
    bare, other, measured = zip(*times, strict=True)
    above = median(measured) - median(bare)
    figures = (f(v) for v in (bare, other, measured) for f in (median, p99))
    return [what, *(f"{f:.2f}" for f in figures), f"{above:.2f}", verdict(above, target_ms)]


def main() -> None:
    """Measure every text and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    whole, growing = [], []
    with daemon() as server:
        for name in _TEXTS:
            words = text(name)
            times = asyncio.run(measure(server.url, words, args.rounds))
            whole.append(row(f"{name} ({len(words)} characters)", times, _TARGET_MS))
        for name, words in [("greeting", _GREETING), *((name, text(name)) for name in _TEXTS)]:
            times = asyncio.run(measure_growing(server.url, words, args.rounds))
            what = f"{name} (clause of {deciding(words) - 1})"
            growing.append(row(what, times, _LAST_DELTA_TARGET_MS))
        complaints = server.complaints()
    show(
        f"Time to first audio in ms, {args.rounds} rounds; target: {_TARGET_MS:.0f} above bare",
        ["text", "bare", "p99", "with loading", "p99", "websocket", "p99", "above bare", "met"],
        whole,
    )
    show(
        "Time from the character that decides the first clause to its first audio in ms; "
        f"target: {_LAST_DELTA_TARGET_MS:.0f} above bare",
        ["text", "bare", "p99", "speak", "p99", "last delta", "p99", "above", "met"],
        growing,
    )
    show_complaints(complaints)


if __name__ == "__main__":
    main()
