"""A client of `voiced.v1` for tests, written from the wire contract alone.

Everything that it receives goes through a `Checker`; what came is then looked up in the records
of that checker, so no order of waiting loses a message.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from heard import Message, Speech
from promises import Checker
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 10  # for any one thing that must come
SILENCE_S = 0.3  # how long to listen for what must not come
_FARTHEST_AWAY_S = 3600


class Wire:
    """One session. Sends commands with rising ids, and takes messages one by one."""

    def __init__(self, connection: ClientConnection, greeting: dict[str, Any]) -> None:
        self.connection = connection
        self.greeting = greeting
        self.limits: dict[str, Any] = greeting["limits"]
        self.defaults: dict[str, Any] = greeting["defaults"]
        self.checker = Checker(default_rate=self.defaults["sample_rate"])
        self.speeches = self.checker.speeches
        self._waiting: list[Message] = []
        self._last_id = 0
        self._is_spoilt = False  # a promise was broken, or the server closed: nothing to settle

    # ------------------------------------------------------------------------------- sending

    def command(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Make a command with the next id, or the one in `fields`."""
        command = {"id": self._last_id + 1, "type": kind, **fields}
        self._last_id = max(self._last_id, command["id"])
        return command

    async def send(self, kind: str, **fields: Any) -> int:
        """Send one command; return its id."""
        return (await self.send_all(self.command(kind, **fields)))[0]

    async def send_all(self, *commands: dict[str, Any]) -> list[int]:
        """Send one command as an object, several as an array; return their ids."""
        await self.send_text(json.dumps(commands[0] if len(commands) == 1 else commands))
        return [command["id"] for command in commands]

    async def send_text(self, text: str) -> None:
        """Send a text frame as it stands."""
        self.checker.sent(text)
        await self.connection.send(text)

    # ----------------------------------------------------------------------------- receiving

    async def next(self, patience_s: float = PATIENCE_S) -> Message:
        """Return the next result, event or frame."""
        while not self._waiting:
            async with asyncio.timeout(patience_s):
                data = await self.connection.recv()
            try:
                self._waiting += self.checker.received(data)
            except BaseException:
                self._is_spoilt = True
                raise
        return self._waiting.pop(0)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Take messages until what came makes something true."""
        while not is_so():
            await self.next()

    async def listen(self, seconds: float) -> list[Message]:
        """Return all that comes in a time."""
        heard: list[Message] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    heard.append(await self.next(_FARTHEST_AWAY_S))
        except TimeoutError:
            return heard

    async def until_silence(self, seconds: float = SILENCE_S) -> None:
        """Take messages until none has come for a time."""
        while True:
            try:
                await self.next(seconds)
            except TimeoutError:
                return

    async def until_held(self, speech: Speech) -> None:
        """Take messages until audio of a speech has come, and then nothing more does."""
        await self.until(lambda: bool(speech.frames))
        await self.until_silence(0.25)

    async def closed(self) -> int:
        """Return the code that the server closes with."""
        self.give_up()
        async with asyncio.timeout(PATIENCE_S):
            await self.connection.wait_closed()
        assert self.connection.close_code is not None
        return self.connection.close_code

    def give_up(self) -> None:
        """Leave the session as it stands: nothing is settled at its end."""
        self._is_spoilt = True

    # ------------------------------------------------------------------------------- talking

    async def answer(self, command: int) -> dict[str, Any]:
        """Return the answer to a command."""
        await self.until(lambda: command in self.checker.answers)
        return self.checker.answers[command]

    async def call(self, kind: str, **fields: Any) -> Any:
        """Send a command that must succeed; return what its result holds."""
        answer = await self.answer(await self.send(kind, **fields))
        assert answer["success"], answer
        return answer["result"]

    async def refused(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a command that must fail; return its error."""
        answer = await self.answer(await self.send(kind, **fields))
        assert not answer["success"], answer
        error: dict[str, Any] = answer["error"]
        return error

    async def ping(self) -> None:
        """Return when all that was sent before has been taken by the server."""
        await self.answer(await self.send("ping"))

    async def begin(self, text: str, **fields: Any) -> Speech:
        """Start a speech; return its record when it is accepted."""
        return self.speeches[(await self.call("speak", input=text, **fields))["speech"]]

    async def open(self, **fields: Any) -> Speech:
        """Open a speech for incremental text; return its record when it is accepted."""
        return self.speeches[(await self.call("speech/open", **fields))["speech"]]

    async def end(self, speech: Speech) -> Speech:
        """Return the record of a speech when it has ended."""
        await self.until(lambda: speech.end is not None)
        return speech

    async def speak(self, text: str, **fields: Any) -> Speech:
        """Speak a text to its end, which must be `complete`; return all that came."""
        speech = await self.end(await self.begin(text, **fields))
        assert speech.reason == "complete", speech.end
        return speech

    async def tell(self, parts: Iterable[str], **fields: Any) -> Speech:
        """Speak a text that is given in parts to its end; return all that came."""
        speech = await self.open(**({"max_delay_ms": 0} | fields))
        for part in parts:
            await self.call("speech/text", speech=speech.id, text=part)
        await self.call("speech/end", speech=speech.id)
        await self.end(speech)
        assert speech.reason == "complete", speech.end
        return speech

    async def play(self, speech: Speech) -> None:
        """Play what comes, and report it after each frame, to the end of the speech.

        A report may find the speech ended; what it then answers, the contract does not say.
        """
        told = 0
        while speech.end is None:
            if len(speech.frames) > told:
                told = len(speech.frames)
                played_ms = speech.samples * 1000 / speech.rate
                report = {"speech": speech.id, "played_ms": played_ms, "quiet": True}
                await self.send("speech/progress", **report)
            await self.next()

    def endless(self, characters: int = 20_000) -> str:
        """Return a text that nobody hears to its end."""
        unit = "One, two, three, and so it goes on. "
        return (unit * (characters // len(unit)))[: self.limits["max_input_chars"]]

    async def settle(self) -> None:
        """End what is left, and check that every command got its answer and every speech an end."""
        if self._is_spoilt:
            return
        await self.call("clear")
        await self.ping()
        await self.until(lambda: not self.checker.unanswered())
        self.checker.check_settled()


@asynccontextmanager
async def dial(url: str, *, token: str = "", **options: Any) -> AsyncIterator[Wire]:
    """Open a session, and settle it at the end."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with connect(
        url, additional_headers=headers, max_size=None, proxy=None, **options
    ) as connection:
        async with asyncio.timeout(PATIENCE_S):
            greeting = json.loads(await connection.recv())
        assert greeting["type"] == "auth_ok", greeting
        wire = Wire(connection, greeting)
        yield wire
        await wire.settle()
