"""Sessions with a daemon, as the benchmarks hold them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rig import TOKEN
from websockets.asyncio.client import ClientConnection, connect

from voiced.protocol import messages


@dataclass(slots=True)
class Heard:
    """What came of one speech."""

    first_audio_ms: float = 0.0  # from just before `speak` was sent
    audio: bytearray = field(default_factory=bytearray)
    reason: str = ""


class Session:
    """A session with nothing between it and the socket that would cost time. One task only."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last_id = 0
        self._cancelled: set[int] = set()
        self.late_frames = 0  # of speeches whose cancel had its result before

    async def send(self, kind: str, **fields: Any) -> int:
        """Send a command, and return its id."""
        self._last_id += 1
        command = {"id": self._last_id, "type": kind, **fields}
        await self._connection.send(messages.encode(command))
        return self._last_id

    async def send_together(self, *commands: tuple[str, dict[str, Any]]) -> list[int]:
        """Send commands as one message; return their ids."""
        ids = [self._last_id + n for n in range(1, len(commands) + 1)]
        self._last_id = ids[-1]
        parts = [
            messages.encode({"id": command, "type": kind, **fields})
            for command, (kind, fields) in zip(ids, commands, strict=True)
        ]
        await self._connection.send(f"[{','.join(parts)}]")
        return ids

    async def _receive(self) -> str | bytes:
        message = await self._connection.recv()
        if self._cancelled and isinstance(message, bytes):
            _, _, _, of, _, _ = messages.parse_frame(message)
            self.late_frames += of in self._cancelled
        return message

    async def result(self, command: int) -> Any:
        """Read up to the result of a command."""
        while True:
            message = await self._receive()
            if isinstance(message, str):
                content = json.loads(message)
                if content["id"] == command and content["type"] == "result":
                    assert content["success"], content
                    return content["result"]

    async def first_audio(self, text: str, **fields: Any) -> tuple[int, float]:
        """Begin a speech; return its id and the ms until its first audio arrived."""
        began = time.perf_counter()
        speech = await self.send("speak", input=text, **fields)
        return speech, (await self.audio_of(speech) - began) * 1000

    async def replaced(self, speech: int, text: str) -> tuple[int, float]:
        """Cancel a speech and begin another one, as one message; else as `first_audio`."""
        commands = ("speech/cancel", {"speech": speech}), ("speak", {"input": text})
        began = time.perf_counter()
        cancel, following = await self.send_together(*commands)
        result = await self.result(cancel)
        assert result["state"] == "cancelled", result
        self._cancelled.add(speech)
        return following, (await self.audio_of(following) - began) * 1000

    async def audio_of(self, speech: int) -> float:
        """Read up to the next audio of a speech; return when it arrived, by `perf_counter`."""
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                arrived = time.perf_counter()
                _, _, _, of, _, payload = messages.parse_frame(message)
                if of == speech and payload:
                    return arrived
            elif '"success":false' in message:
                raise SystemExit(message)

    async def append(self, speech: int, *deltas: str) -> None:
        """Let the text of an open speech grow, a command for each delta."""
        for delta in deltas:
            await self.send("speech/text", speech=speech, text=delta, quiet=True)

    async def handled(self) -> int:
        """Read until all that was sent before has been handled; return how many frames came."""
        ping = await self.send("ping")
        frames = 0
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                frames += 1
            elif '"success":false' in message:
                raise SystemExit(message)
            elif '"pong"' in message and json.loads(message)["id"] == ping:
                return frames

    async def event(self, kind: str) -> Any:
        """Read up to an event of that kind, and no further than an end; return its data."""
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                continue
            content = json.loads(message)
            event = content.get("event", {})
            if event.get("type") == kind:
                return event["data"]
            if event.get("type") == "speech-end" or content.get("success") is False:
                raise SystemExit(message)

    async def read_for(self, seconds: float) -> int:
        """Read, and forget it, for a while; return how many frames came."""
        frames = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    frames += isinstance(await self._receive(), bytes)
        return frames

    async def ended(self) -> None:
        """Read, and forget it, up to the end of a speech."""
        while True:
            message = await self._receive()
            if isinstance(message, str) and '"speech-end"' in message:
                return

    def stop_reading(self) -> None:
        """Take no byte from the socket any more."""
        self._connection.transport.pause_reading()

    def abort(self) -> None:
        """Drop the connection as it stands."""
        self._connection.transport.abort()

    async def hear(self, text: str, **fields: Any) -> Heard:
        """Speak and read all of it."""
        heard = Heard()
        began = time.perf_counter()
        speech = await self.send("speak", input=text, **fields)
        while True:
            message = await self._connection.recv()
            if isinstance(message, bytes):
                if not heard.audio:
                    heard.first_audio_ms = (time.perf_counter() - began) * 1000
                _, _, _, of, position, payload = messages.parse_frame(message)
                assert of == speech
                assert position * 2 == len(heard.audio), "a gap in the positions"
                heard.audio += payload
            elif '"speech-end"' in message:
                heard.reason = json.loads(message)["event"]["data"]["reason"]
                return heard
            elif '"success":false' in message:
                raise SystemExit(message)

    async def stop(self, speech: int) -> None:
        """Cancel a speech, which may have ended."""
        await self.result(await self.send("speech/cancel", speech=speech))
        self._cancelled.add(speech)

    async def cancel(self, speech: int) -> float:
        """Cancel a speech that has not ended; return the ms until the result arrived."""
        began = time.perf_counter()
        result = await self.result(await self.send("speech/cancel", speech=speech))
        elapsed_ms = (time.perf_counter() - began) * 1000
        assert result["state"] == "cancelled", result
        self._cancelled.add(speech)
        return elapsed_ms


@asynccontextmanager
async def session(url: str) -> AsyncGenerator[Session, None]:
    """Open a session, with the token as a client without headers sends it."""
    async with connect(url, compression=None, max_size=None, proxy=None) as connection:
        assert json.loads(await connection.recv())["type"] == "auth_required"
        await connection.send(messages.encode({"type": "auth", "access_token": TOKEN}))
        assert json.loads(await connection.recv())["type"] == "auth_ok"
        yield Session(connection)
