"""`docs/assistant.md`, run as it stands on the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support import Parts, fenced

from voiced.client import AnswerError, connect

TEXT = "It is raining today, so take an umbrella. And mind the step. "


class Player:
    """Has played all but the last half second of what it was given."""

    def __init__(self, interrupts_at_ms: float = 1e9) -> None:
        self.played_ms = 0.0
        self.given_ms = 0.0
        self.is_stopped = False
        self.interrupted = asyncio.Event()
        self._interrupts_at_ms = interrupts_at_ms

    async def play(self, audio: bytes) -> None:
        assert not self.is_stopped
        self.given_ms += len(audio) / 48
        self.played_ms = max(self.played_ms, self.given_ms - 500)
        if self.played_ms >= self._interrupts_at_ms:
            self.interrupted.set()
            await asyncio.Event().wait()  # a sound card that has been told to stop

    async def drain(self) -> None:
        self.played_ms = self.given_ms

    def stop(self) -> None:
        self.is_stopped = True


async def words(text: str = TEXT) -> AsyncIterator[str]:
    for word in text.split(" "):
        yield f"{word} "
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def answer() -> Any:
    (page,) = fenced("docs/assistant.md", "python")
    names: dict[str, Any] = {"__name__": "assistant"}
    exec(compile(page, "docs/assistant.md", "exec"), names)  # our own page
    return names["answer"]


async def test_an_answer_is_spoken_while_it_is_written(parts: Parts, answer: Any) -> None:
    player = Player()
    async with connect(parts.url) as client:
        heard = await asyncio.wait_for(answer(client, words(), player, player.interrupted), 10)
    assert heard == TEXT + " "
    assert player.played_ms > 3000


async def test_an_interruption_stops_it_and_tells_what_was_heard(parts: Parts, answer: Any) -> None:
    player = Player(interrupts_at_ms=1200)
    async with connect(parts.url) as client:
        heard = await asyncio.wait_for(
            answer(client, words(TEXT * 10), player, player.interrupted), 10
        )
        assert player.is_stopped
        assert TEXT.startswith(heard)
        assert "raining" in heard
        assert "step" not in heard
        assert await client.clear() == []
        assert parts.reports[-1].samples < 24000 * 10


async def test_an_error_reaches_the_assistant(parts: Parts, answer: Any) -> None:
    async with connect(parts.url) as client:
        with pytest.raises(AnswerError):
            await asyncio.wait_for(
                answer(client, words("x" * 1_000_001), Player(), asyncio.Event()), 10
            )
