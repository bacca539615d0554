"""Time to first audio: through the WebSocket against the bare engine, in turns, in one run.

    python benchmarks/first_audio.py [--rounds 100]

`bare` is espeak-ng in this process, from the call to its first samples, the library loaded and
the voice set ahead as the daemon does it; `with loading` is the same from nothing. `websocket` is
from just before `speak` is sent on an open session to the first audio frame. Both speak the same
texts, one after the other in each round, and are stopped after their first audio.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time

from rig import daemon, median, p99, session, show, text, verdict

from voiced.backends.espeak_library import EspeakFiles, EspeakLibrary, EspeakSound
from voiced.speech import Float32

_TEXTS = ("reply", "sentences", "paragraph")
_VOICE = "gmw/en-US"  # the file behind the daemon's default voice
_WARM_UP = 5  # rounds not counted
_SETTLE_S = 0.02  # for the daemon to have its engine ready again
_TARGET_MS = 6.0


class Bare:
    """espeak-ng without anything around it."""

    def __init__(self) -> None:
        self._library = EspeakLibrary(EspeakFiles.find(os.environ))
        self._library.prepare()
        self._library.unload()

    def first_audio(self, words: str) -> tuple[float, float]:
        """Return the ms to the first samples: of the engine made ready, and with all loading."""
        at_first: list[float] = []

        def on_audio(samples: Float32, _events: list[tuple[int, int, int]]) -> bool:
            if samples.size:
                at_first.append(time.perf_counter())
            return not at_first

        began = time.perf_counter()
        self._library.prepare(_VOICE)
        prepared = time.perf_counter()
        self._library.speak(words, voice=_VOICE, sound=EspeakSound(), on_audio=on_audio)
        return (at_first[0] - prepared) * 1000, (at_first[0] - began) * 1000


async def measure(url: str, words: str, rounds: int) -> list[tuple[float, float, float]]:
    """Return bare, bare with loading and WebSocket for each round, in ms."""
    bare = Bare()
    times = []
    async with session(url) as client:
        for _ in range(_WARM_UP + rounds):
            ready_ms, loading_ms = bare.first_audio(words)
            speech, websocket_ms = await client.first_audio(words)
            await client.cancel(speech)
            await asyncio.sleep(_SETTLE_S)
            times.append((ready_ms, loading_ms, websocket_ms))
    return times[_WARM_UP:]


def main() -> None:
    """Measure every text and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    rows = []
    with daemon() as server:
        for name in _TEXTS:
            words = text(name)
            times = asyncio.run(measure(server.url, words, args.rounds))
            bare, loading, websocket = zip(*times, strict=True)
            above = median(websocket) - median(bare)
            figures = (f(v) for v in (bare, loading, websocket) for f in (median, p99))
            rows.append(
                [
                    f"{name} ({len(words)} characters)",
                    *(f"{figure:.2f}" for figure in figures),
                    f"{above:.2f}",
                    verdict(above, _TARGET_MS),
                ]
            )
    show(
        f"Time to first audio in ms, {args.rounds} rounds; target: {_TARGET_MS:.0f} above bare",
        ["text", "bare", "p99", "with loading", "p99", "websocket", "p99", "above bare", "met"],
        rows,
    )


if __name__ == "__main__":
    main()
