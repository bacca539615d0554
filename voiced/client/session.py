"""`Client`: a session with the daemon, and the commands of `voiced.v1`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from voiced.client.dial import ANSWER_S, dial
from voiced.client.errors import AnswerError, ClientError
from voiced.client.speech import OpenSpeech, Speech
from voiced.errors import TextTooLong
from voiced.protocol import messages

DEFAULT_URL = "ws://127.0.0.1:8765/v1/ws"
_STATUSES = 16  # that wait for who watches; older ones are worth nothing


class Client:
    """A session, made by `connect`; for one event loop.

    A connection that was lost while nothing was spoken is opened again for the next command; a
    speech that was under way fails.
    """

    def __init__(self, url: str, token: str) -> None:
        self.greeting: dict[str, Any] = {}  # the data of `auth_ok`
        self._url = url
        self._token = token
        self._connection: ClientConnection | None = None
        self._dialling = asyncio.Lock()
        self._last_id = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._speeches: dict[int, Speech] = {}
        self._watchers: dict[int, asyncio.Queue[dict[str, Any] | ClientError]] = {}
        self._receiver: asyncio.Task[None] | None = None

    # ----------------------------------------------------------------------------- speaking

    @asynccontextmanager
    async def speak(self, text: str, **fields: Any) -> AsyncGenerator[Speech, None]:
        """Open a speech; leaving the block before its end cancels it.

        `fields` are those of the request: model, voice, response_format, speed, marks, ...

        Raises:
            AnswerError: the daemon refused it.
        """
        connection = await self.open()
        speech = Speech(self._next_id(), self.command)
        async with self._speaking(connection, speech, "speak", input=text, **fields):
            yield speech

    @asynccontextmanager
    async def open_speech(self, **fields: Any) -> AsyncGenerator[OpenSpeech, None]:
        """Open a speech whose text comes piece by piece; leaving before its end cancels it.

        `fields` are those of `speak`, and `max_delay_ms`.

        Raises:
            AnswerError: the daemon refused it.
        """
        connection = await self.open()
        limits = self.greeting["limits"]
        speech = OpenSpeech(self._next_id(), self.command, limits=limits)
        async with self._speaking(connection, speech, "speech/open", **fields):
            yield speech

    @asynccontextmanager
    async def _speaking(
        self, connection: ClientConnection, speech: Speech, kind: str, **fields: Any
    ) -> AsyncGenerator[None, None]:
        self._speeches[speech.id] = speech
        try:
            await self._ask(connection, speech.id, kind, fields)
            yield
        finally:
            if speech.ended is None:
                with suppress(ClientError):  # nothing is left to cancel
                    await speech.cancel()
            del self._speeches[speech.id]

    async def clear(self) -> list[int]:
        """Cancel every speech of this session; return their ids."""
        answer = await self.command("clear")
        return list(answer["cancelled"])

    # -------------------------------------------------------------------------------- asking

    async def ping(self) -> None:
        """Wait for the daemon to answer."""
        await self.command("ping")

    async def models(self) -> list[dict[str, Any]]:
        """List the models."""
        answer = await self.command("models/list")
        return list(answer["models"])

    async def voices(
        self, *, model: str | None = None, language: str | None = None
    ) -> list[dict[str, Any]]:
        """List the voices, of one model or language if given."""
        wanted = {"model": model, "language": language}
        answer = await self.command("voices/list", **{k: v for k, v in wanted.items() if v})
        return list(answer["voices"])

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what the daemon does: now, and whenever it has changed.

        Raises:
            ClientError: the connection was lost.
        """
        connection = await self.open()
        subscription = self._next_id()
        told: asyncio.Queue[dict[str, Any] | ClientError] = asyncio.Queue(_STATUSES)
        self._watchers[subscription] = told
        try:
            await self._ask(connection, subscription, "subscribe_status", {})
            while not isinstance(status := await told.get(), ClientError):
                yield status
            raise status
        finally:
            del self._watchers[subscription]
            if connection.state is State.OPEN:
                await self.command("unsubscribe_events", subscription=subscription)

    async def command(self, kind: str, **fields: Any) -> Any:
        """Send a command and return its result.

        Raises:
            AnswerError: the daemon refused it.
            TextTooLong: it is more than the daemon takes in a message.
            ClientError: the connection was lost, or no answer came.
        """
        connection = await self.open()
        return await self._ask(connection, self._next_id(), kind, fields)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def _ask(
        self, connection: ClientConnection, command_id: int, kind: str, fields: dict[str, Any]
    ) -> Any:
        message = messages.encode({"id": command_id, "type": kind, **fields})
        size, limit = len(message.encode()), self.greeting["limits"]["max_message_bytes"]
        if size > limit:
            raise TextTooLong(
                f"The {kind} message has {size} bytes, the daemon takes {limit}; send it in parts."
            )
        answer = self._answers[command_id] = asyncio.get_running_loop().create_future()
        try:
            await connection.send(message)
            async with asyncio.timeout(ANSWER_S):  # wait_for of Python 3.11 loses cancellations
                return await answer
        except ConnectionClosed:
            raise _lost(connection) from None
        except TimeoutError:
            raise ClientError("The daemon did not answer in time.") from None
        finally:
            del self._answers[command_id]

    # ------------------------------------------------------------------------ the connection

    async def open(self) -> ClientConnection:
        """Connect where there is no connection, and return it.

        Raises:
            ClientError: nobody listens there, or a speech has lost its connection.
            Unauthorized: the token is missing or wrong.
        """
        async with self._dialling:
            connection = self._connection
            if connection is not None and connection.state is State.OPEN:
                return connection
            if connection is not None and self._speeches:
                raise _lost(connection)
            await self.close()
            self._connection, self.greeting = await dial(self._url, self._token)
            self._last_id = 0
            self._receiver = asyncio.create_task(
                self._receive(self._connection), name="voiced client"
            )
            return self._connection

    async def close(self) -> None:
        """Close the session; a later command opens another one."""
        if self._connection is not None:
            await self._connection.close()
        if self._receiver is not None:
            self._receiver.cancel()
            await asyncio.gather(self._receiver, return_exceptions=True)

    async def _receive(self, connection: ClientConnection) -> None:
        try:
            async for message in connection:
                if isinstance(message, bytes):
                    await self._take_frame(message)
                    continue
                content = messages.decode(message)
                for item in content if isinstance(content, list) else [content]:
                    await self._take(item)
        except ConnectionClosed:
            pass
        finally:
            lost = _lost(connection)
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(lost)
            for told in self._watchers.values():
                _put_newest(told, lost)
            for speech in self._speeches.values():
                if speech.ended is None:
                    await speech.close(lost)

    async def _take_frame(self, message: bytes) -> None:
        kind, _, _, speech_id, _, payload = messages.parse_frame(message)
        if kind == messages.AUDIO and (speech := self._speeches.get(speech_id)):
            await speech.take_audio(payload)

    async def _take(self, item: dict[str, Any]) -> None:
        command_id = item.get("id") or 0
        kind = item.get("type")
        if kind == "event":
            event = item["event"]
            if speech := self._speeches.get(command_id):
                await speech.take_event(event["type"], event["data"])
            elif event["type"] == "status" and (told := self._watchers.get(command_id)):
                _put_newest(told, event["data"])
        elif (answer := self._answers.get(command_id)) and not answer.done():
            if kind == "pong" or item.get("success"):
                answer.set_result(item.get("result"))
            elif kind == "result":
                answer.set_exception(AnswerError(item["error"]))


@asynccontextmanager
async def connect(
    url: str | None = None, *, token: str | None = None
) -> AsyncGenerator[Client, None]:
    """Open a session with the daemon at `url`.

    Raises:
        ClientError: nobody listens there, or it is not voiced.
        Unauthorized: the token is missing or wrong.
    """
    client = Client(
        url or os.environ.get("VOICED_URL") or DEFAULT_URL,
        token or os.environ.get("VOICED_TOKEN") or "",
    )
    try:
        await client.open()
        yield client
    finally:
        await client.close()


def _put_newest(
    told: asyncio.Queue[dict[str, Any] | ClientError], item: dict[str, Any] | ClientError
) -> None:
    if told.full():
        told.get_nowait()
    told.put_nowait(item)


def _lost(connection: ClientConnection) -> ClientError:
    reason = connection.close_reason or "the connection was lost"
    return ClientError(f"The session ended: {reason}.")
