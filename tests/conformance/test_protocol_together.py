"""The wire contract of `voiced.v1`: coalescing, many sessions, and storms of commands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from doors import Door
from heard import Speech
from texts import SENTENCES, SHORT, cuts
from wire import Wire

# --------------------------------------------------------------------------------------- coalescing


async def coalesce(wire: Wire, **more: Any) -> None:
    wire.checker.may_coalesce = True
    assert await wire.call("supported_features", features={"coalesce_messages": 1, **more}) is None


async def test_with_coalescing_everything_still_holds(wire: Wire) -> None:
    plain = await wire.speak(SENTENCES)
    await coalesce(wire)
    ids = await wire.send_all(*(wire.command("speak", input=SENTENCES) for _ in range(5)))
    await wire.send_all(*(wire.command("models/list") for _ in range(5)))
    for speech_id in ids:
        assert (await wire.end(wire.speeches[speech_id])).ranges == plain.ranges
        assert wire.speeches[speech_id].samples == plain.samples
    speech = await wire.begin(wire.endless())
    assert (await wire.call("speech/cancel", speech=speech.id))["state"] == "cancelled"


async def test_features_that_nobody_knows_are_ignored(wire: Wire) -> None:
    await coalesce(wire, of_the_future=7, another={"deep": [None]})
    await wire.speak(SHORT)


# ------------------------------------------------------------------------------ everything together


async def storm(wire: Wire, *, seed: int, steps: int, kinds: Sequence[str]) -> None:
    """Do what a client may do, in any order; the checker sees what must hold whatever comes."""
    dice = random.Random(seed)
    windows = [{}, {}, {"window_ms": 300}] if "speech/progress" in kinds else [{}]
    marks = [{}, {"marks": "word"}, {"marks": "segment"}] if "marks" in kinds else [{}]
    for _ in range(steps):
        kind = dice.choice(kinds)
        fields: dict[str, Any] = {}
        if kind in {"speak", "speech/open"}:
            fields = {
                "mode": dice.choice(["queue", "queue", "parallel", "parallel", "replace"]),
                "response_format": dice.choice(["pcm", "pcm", "flac"]),
                "quiet": dice.random() < 0.2,
                "priority": dice.choice(["normal", "normal", "normal", "high"]),
                **dice.choice(windows),
                **dice.choice(marks),
            }
            if kind == "speak":
                fields["input"] = dice.choice([SHORT, SENTENCES, SENTENCES * 20, " "])
            else:
                fields["max_delay_ms"] = dice.choice([0, 10, 3000])
        elif kind.startswith("speech/"):
            fields["speech"] = dice.choice([*list(wire.speeches)[-6:], 4711])
            if kind == "speech/text":
                fields["text"] = dice.choice(cuts(SENTENCES, dice.randrange(9)))
            elif kind == "speech/progress" or (kind == "speech/cancel" and dice.random() < 0.5):
                fields["played_ms"] = dice.randrange(5000)
        elif kind in {"listen", "marks"}:
            await wire.listen(dice.choice([0, 0.001, 0.02]))
            continue
        await wire.send(kind, **fields)
    await wire.ping()


SPEAKING = ["speak"] * 3 + ["listen"] * 4 + ["speech/cancel"] * 2 + ["clear", "ping", "models/list"]
ALL = [
    *SPEAKING,
    "speech/open",
    *["speech/text"] * 4,
    "speech/flush",
    "speech/end",
    "speech/progress",
    "subscribe_status",
    "marks",
]


@pytest.mark.parametrize("seed", range(4))
async def test_a_storm_of_speeches_and_cancels_breaks_no_promise(wire: Wire, seed: int) -> None:
    await storm(wire, seed=seed, steps=100, kinds=SPEAKING)
    assert wire.speeches


@pytest.mark.parametrize("seed", range(6))
async def test_a_storm_of_every_command_breaks_no_promise(wire: Wire, seed: int) -> None:
    if seed % 2:
        await coalesce(wire)
    await wire.open()  # so that this fails where nothing can be opened
    await storm(wire, seed=seed, steps=150, kinds=ALL)


async def test_many_sessions_each_hear_their_own(door: Door, wire: Wire) -> None:
    texts = [f"This is for session number {number}. And it goes on." for number in range(8)]
    expected = [await wire.speak(text) for text in texts]

    async def listen(text: str) -> Speech:
        async with door.dial() as other:
            return await other.speak(text)

    speeches = await asyncio.gather(*map(listen, texts))
    for speech, alone in zip(speeches, expected, strict=True):
        assert speech.ranges == alone.ranges
        assert speech.samples == alone.samples
