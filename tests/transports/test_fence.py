"""A cancel is a fence: after its result nothing of the speech comes, whatever was under way."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from support import RATE, SHIPPED, Parts, eventually
from virtual import run
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection

from voiced.backends.base import BackendSettings, SegmentSizes, TTSBackendBase
from voiced.backends.registry import BackendRegistry
from voiced.protocol.access import AccessPolicy
from voiced.protocol.greeting import Greeting, SessionLimits
from voiced.protocol.messages import FrameFlag, parse_frame
from voiced.speech import PcmChunk, Segment, Voice
from voiced.synthesis.lane import Lane
from voiced.synthesis.manager import TTSBackendManager
from voiced.synthesis.pool import BackendPool
from voiced.transports.ws import WebSocketDoor

TEXT = "One sentence, and a clause. Another one! And a last one? Yes."


class Ear:
    """Takes every message in order, and fails at the first that should not have come."""

    def __init__(self) -> None:
        self.open: dict[int, list[str]] = {}  # what came of each speech that has not ended
        self.ended: dict[int, str] = {}
        self.results: dict[int, Any] = {}
        self.frames = 0
        self.failure: Exception | None = None

    def take(self, message: str | bytes) -> None:
        try:
            self._take(message)
        except Exception as failure:
            self.failure = failure
            raise

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            _, flags, _, speech, _, _ = parse_frame(message)
            assert speech in self.open, f"a frame of {speech}, which is {self.ended.get(speech)}"
            assert bool(flags & FrameFlag.FIRST) == ("frame" not in self.open[speech])
            self.open[speech].append("frame")
            self.frames += 1
            return
        content = json.loads(message)
        for item in content if isinstance(content, list) else [content]:
            self._take_item(item)

    def _take_item(self, item: dict[str, Any]) -> None:
        if item["type"] == "auth_ok":
            return
        command = item["id"]
        if item["type"] == "result":
            assert item["success"], item
            assert command not in self.results
            self.results[command] = item["result"] or {}
            if self.results[command].get("speech") == command:
                self.open[command] = []
            self._check_fence(self.results[command])
            return
        kind = item["event"]["type"]
        assert command in self.open, f"{kind} of {command}, which is {self.ended.get(command)}"
        self.open[command].append(kind)
        if kind == "speech-end":
            self.ended[command] = item["event"]["data"]["reason"]
            del self.open[command]

    def _check_fence(self, result: dict[str, Any]) -> None:
        stopped = [result["speech"]] if result.get("state") == "cancelled" else []
        for speech in [*stopped, *result.get("cancelled", [])]:
            assert self.ended[speech] == "cancelled"


class Slow(TTSBackendBase):
    """An engine on virtual time: 100 ms of audio in some milliseconds."""

    is_local = True
    chance: ClassVar[random.Random]
    running: ClassVar[int] = 0

    async def initialize(self) -> None:
        pass

    def voices(self) -> Sequence[Voice]:
        return (Voice("one", "One", ("en",), RATE),)

    def segment_sizes(self, options: Any, *, is_whole: bool) -> SegmentSizes:
        return SegmentSizes(preferred=1, largest=400)

    async def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        type(self).running += 1
        try:
            for _ in range(len(segment.text) // 4):
                await asyncio.sleep(self.chance.choice((0, 0.001, 0.02)))
                yield PcmChunk(np.full(RATE // 10, 0.5, np.float32))
        finally:
            type(self).running -= 1

    async def close(self) -> None:
        pass


class Transport:
    """A socket's other half, as far as the writer looks at it."""

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        raise AssertionError("nobody was that slow")


class Wire:
    """The connection of a client that reads slowly: commands in, messages to an ear."""

    transport = Transport()

    def __init__(self, ear: Ear, chance: random.Random) -> None:
        self._ear = ear
        self._chance = chance
        self._commands: asyncio.Queue[str | None] = asyncio.Queue()
        self.said = 0

    def say(self, **command: Any) -> None:
        self.said += 1
        self._commands.put_nowait(json.dumps(command))

    @property
    def unread(self) -> int:
        return self._commands.qsize()

    def hang_up(self) -> None:
        self._commands.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[str]:
        while (command := await self._commands.get()) is not None:
            yield command

    async def send(self, message: str | bytes) -> None:
        if self._chance.random() < 0.3:
            await asyncio.sleep(self._chance.choice((0, 0.002, 0.05)))
        self._ear.take(message)


class Script:
    """What a client does at random: it opens speeches, and ends them in every way there is."""

    def __init__(self, wire: Wire, chance: random.Random) -> None:
        self.cancels = 0
        self.last_id = 0
        self._wire = wire
        self._chance = chance
        self._speeches: list[int] = []

    def step(self) -> None:
        chance = self._chance
        kind = chance.choices(
            ("speak", "speech/open", "speech/cancel", "clear"),
            (4, 3, 8, 1 if self._speeches else 0),
        )[0]
        self.last_id += 1
        if kind in ("speak", "speech/open"):
            self._open(kind)
        elif kind == "clear":
            self.cancels += len(self._speeches)
            self._speeches.clear()
            self._wire.say(id=self.last_id, type="clear")
        elif self._speeches:
            speech = self._speeches.pop(chance.randrange(len(self._speeches)))
            self.cancels += 1
            played = {"played_ms": chance.randrange(5000)} if chance.random() < 0.5 else {}
            self._wire.say(id=self.last_id, type=kind, speech=speech, **played)

    def _open(self, kind: str) -> None:
        chance = self._chance
        mode = chance.choices(("queue", "parallel", "replace"), (2, 3, 1))[0]
        fields: dict[str, Any] = {"mode": mode, "priority": chance.choice(("normal", "high"))}
        fields |= {"window_ms": chance.choice((200, 900))} if chance.random() < 0.2 else {}
        fields |= {"marks": chance.choice(("none", "word", "segment"))}
        fields |= {"response_format": chance.choice(("pcm", "pcm", "wav"))}
        if kind == "speak":
            fields["input"] = TEXT
        if mode == "replace":
            self._speeches.clear()
        elif len(self._speeches) >= 6:
            self._wire.say(id=self.last_id, type="speech/cancel", speech=self._speeches.pop(0))
            self.cancels += 1
            self.last_id += 1
        speech = self.last_id
        self._wire.say(id=speech, type=kind, **fields)
        self._speeches.append(speech)
        if kind == "speech/open":
            for at in range(0, len(TEXT), 20):
                self.last_id += 1
                text = {"text": TEXT[at : at + 20], "speech": speech}
                self._wire.say(id=self.last_id, type="speech/text", **text)
            self.last_id += 1
            self._wire.say(
                id=self.last_id, type=chance.choice(("speech/flush", "speech/end")), speech=speech
            )


def test_ten_thousand_cancels_at_random_moments_are_fences() -> None:
    chance = random.Random(20_261_123)
    Slow.chance = chance

    async def main() -> tuple[Ear, int]:
        pool = BackendPool(
            {"slow": BackendSettings(type="slow")},
            registry=BackendRegistry({"slow": Slow}),
            lane=Lane(),
        )
        manager = TTSBackendManager(pool, mappings=SHIPPED)
        await manager.get_backend("slow")
        limits = SessionLimits(max_speeches=64, stalled_s=1e9, idle_text_ms=10**9)
        greeting = Greeting("0", "", "0" * 32, "test", {}, limits)
        door = WebSocketDoor(manager, policy=AccessPolicy(), greeting=greeting, max_sessions=9)
        ear = Ear()
        wire = Wire(ear, chance)
        serving = asyncio.create_task(
            door.serve(cast("ServerConnection", wire), is_authorized=True)
        )
        script = Script(wire, chance)
        while script.cancels < 10_000:
            for _ in range(chance.randrange(1, 5)):
                script.step()
            await asyncio.sleep(chance.choice((0, 0.001, 0.01, 0.1, 0.7)))
            # As a socket would make it wait.
            await eventually(lambda: wire.unread < 9 or ear.failure is not None, seconds=600)
            if ear.failure:
                raise ear.failure
        wire.say(id=script.last_id + 1, type="clear")
        await eventually(lambda: script.last_id + 1 in ear.results, seconds=60)
        for _ in range(20):  # what was cancelled stops within a few turns of the loop
            await asyncio.sleep(0)
        assert Slow.running == 0
        assert manager.speaking == 0
        wire.hang_up()
        await serving
        await manager.close()
        return ear, wire.said

    ear, commands = run(main())
    assert ear.open == {}
    assert len(ear.results) == commands
    assert ear.frames > 10_000
    assert set(ear.ended.values()) == {"cancelled", "replaced", "complete"}


@pytest.mark.parametrize("seed", range(3))
async def test_hundreds_of_cancels_over_a_real_socket_are_fences(parts: Parts, seed: int) -> None:
    chance = random.Random(seed)
    ear = Ear()
    async with connect(parts.url, max_queue=2) as connection:

        class Socket(Wire):
            def say(self, **command: Any) -> None:
                pending.append(json.dumps(command))

        pending: list[str] = []
        script = Script(Socket(ear, chance), chance)
        while script.cancels < 150 or ear.frames <= 100:
            script.step()
            while pending:
                await connection.send(pending.pop(0))
            for _ in range(chance.choice((0, 1, 5, 40))):
                try:
                    async with asyncio.timeout(0.002):
                        ear.take(await connection.recv())
                except TimeoutError:
                    break
        await connection.send(json.dumps({"id": script.last_id + 1, "type": "clear"}))
        while script.last_id + 1 not in ear.results:
            ear.take(await connection.recv())
    assert ear.open == {}
