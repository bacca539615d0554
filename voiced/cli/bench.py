"""`voiced bench`: how fast the engines are on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from voiced.cli.session import add_json_argument, show
from voiced.cli.settings import add_config_argument, config_path
from voiced.errors import BackendError, VoicedError

if TYPE_CHECKING:
    from voiced.backends.base import TTSBackendBase
    from voiced.settings import Settings

HELP = "measure the engines that are here, and say which one to use and with how many threads"
EXAMPLE = "voiced bench --seconds 30"

# Of a dozen phonemes, of a first segment, and of one as they are after it.
_TEXTS = {
    "short": "Good morning.",
    "first": "The kettle had been singing for some time",
    "long": "before anyone noticed it, and a thin rain fell on the garden, so nobody went outside.",
}
_TIMES = 3  # each text is spoken
_IN_USE = 0.88  # of the machine, when listeners are served; the rest is for whoever comes
_SAME = 1.05  # a gain below that is none


@dataclass(frozen=True, slots=True)
class Measured:
    """An engine with a number of threads."""

    backend: str
    quality: int
    threads: int
    load_s: float
    first_audio_ms: float  # of a first segment
    short: float  # real-time factors by the length of the segment
    first: float
    long: float

    @property
    def listeners(self) -> int:
        """How many can listen to long texts at the same time."""
        return int(_IN_USE / self.long)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config_argument(parser)
    parser.add_argument(
        "--seconds", type=float, default=60, help="begin nothing after so long (60)"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Measure; status 1 where no engine can speak."""
    from voiced.settings import Sources

    settings = Sources(config_path(args), {}).read()
    measured = asyncio.run(_measure_all(settings, seconds=args.seconds))
    rows = [asdict(one) | {"listeners": one.listeners} for one in measured]
    if args.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        shown = [{k: _rounded(v) for k, v in row.items()} for row in rows]
        columns = "backend threads load_s first_audio_ms short first long listeners".split()
        show(shown, columns, as_json=False, title="real-time factors by segment, and the rest")
        print(f"\n{_advice(measured, settings)}")
    return 0 if rows else 1


async def _measure_all(settings: Settings, *, seconds: float) -> list[Measured]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    measured: list[Measured] = []
    for backend_id, own in settings.backends.items():
        try:
            kind = settings.registry.load(own.type)
            if not kind.is_local:
                continue
            for threads in _threads(settings.threads) if kind.is_slow else [settings.threads]:
                if loop.time() > deadline:
                    print("voiced: the time is up; --seconds allows more.", file=sys.stderr)
                    return measured
                measured.append(await _measure(settings, backend_id, threads))
        except VoicedError as problem:
            print(f"voiced: {backend_id}: {problem.message}", file=sys.stderr)
    return measured


def _threads(cores: int) -> list[int]:
    """Return the numbers of threads to try: all cores first, then half as many, ..."""
    return [cores] if cores == 1 else [cores, *_threads(cores // 2)]


async def _measure(settings: Settings, backend_id: str, threads: int) -> Measured:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with _loaded(settings, backend_id, threads) as backend:
        load_s = loop.time() - began
        factors, first_audio_ms = {}, 0.0
        for name, text in _TEXTS.items():
            times = [await _speak(backend, text) for _ in range(_TIMES)]
            factors[name] = median(work_s / audio_s for _, work_s, audio_s in times)
            if name == "first":
                first_audio_ms = 1000 * median(first_s for first_s, _, _ in times)
        return Measured(
            backend_id, backend.quality, threads, load_s, first_audio_ms=first_audio_ms, **factors
        )


@asynccontextmanager
async def _loaded(
    settings: Settings, backend_id: str, threads: int
) -> AsyncIterator[TTSBackendBase]:
    from voiced.synthesis.lane import Lane

    own = settings.backends[backend_id]
    lane = Lane(threads=threads)
    backend = settings.registry.load(own.type)(own, lane=lane.engine())
    try:
        await backend.initialize()
        yield backend
        await backend.close()
    finally:
        await lane.close()


async def _speak(backend: TTSBackendBase, text: str) -> tuple[float, float, float]:
    """Speak a segment; return the seconds to its first audio, to its end, and of its audio."""
    from voiced.speech import Segment

    loop = asyncio.get_running_loop()
    voice, options = backend.choose_voice(None, None), backend.options_model()
    segment = Segment(0, text, 0, len(text), voice, None, 1.0, options)
    began = loop.time()
    first_s, samples = 0.0, 0
    async with aclosing(backend.generate_speech_stream(segment)) as chunks:
        async for chunk in chunks:
            first_s = first_s or loop.time() - began
            samples += chunk.samples.size
    if not samples:
        raise BackendError("The engine said nothing.")
    return first_s, loop.time() - began, samples / voice.sample_rate


def _rounded(value: object) -> object:
    if not isinstance(value, float):
        return value
    return f"{value:.0f}" if value >= 100 else f"{value:.3f}" if value < 1 else f"{value:.1f}"


def _advice(measured: list[Measured], settings: Settings) -> str:
    """Say which engine to use, with which threads, and what to write into the configuration."""
    from voiced.synthesis.pace import FAST_ENOUGH

    fast = [one for one in measured if one.long < FAST_ENOUGH] or measured
    quality = max(one.quality for one in fast)
    candidates = [one for one in fast if one.quality == quality]
    soonest = min(one.first_audio_ms for one in candidates)
    best = min(
        (one for one in candidates if one.first_audio_ms <= soonest * _SAME),
        key=lambda one: one.threads,
    )
    use = (
        f"Use {best.backend}: first audio after {best.first_audio_ms / 1000:.2f} s, real-time "
        f"factor {best.long:.2f}, {best.listeners} listeners at once."
    )
    keys = []
    others = [one for one in measured if one.backend != best.backend]
    is_taken = settings.config.defaults.model in (
        best.backend,
        *settings.mappings.names(best.backend),
    )
    is_auto = settings.config.defaults.model == "auto" and all(
        one.quality < best.quality or one.long >= FAST_ENOUGH for one in others
    )
    if not is_taken and not is_auto:
        keys.append(f'[defaults]\nmodel = "{best.backend}"')
    if best.threads != settings.threads:
        keys.append(f"[lane]\nthreads = {best.threads}")
    if keys:
        return "\n".join([use, "Write into config.toml:\n", *keys])
    return f"{use} That is what the configuration does."
