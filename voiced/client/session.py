"""`Client`: a session with the daemon, and the commands of `voiced.v1`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from voiced.client.dial import dial
from voiced.client.errors import ClientError
from voiced.client.link import Link
from voiced.client.speech import OpenSpeech, Speech

DEFAULT_URL = "ws://127.0.0.1:8765/v1/ws"


class Client:
    """A session, made by `connect`; for one event loop.

    A connection that was lost is opened again for the next command; a speech that was under way
    fails.
    """

    def __init__(self, url: str, token: str) -> None:
        self.greeting: dict[str, Any] = {}  # the data of `auth_ok`
        self._url = url
        self._token = token
        self._link: Link | None = None
        self._dialling = asyncio.Lock()

    # ----------------------------------------------------------------------------- speaking

    @asynccontextmanager
    async def speak(self, text: str, **fields: Any) -> AsyncGenerator[Speech, None]:
        """Open a speech; leaving the block before its end cancels it.

        `fields` are those of the request: model, voice, response_format, speed, marks, ...

        Raises:
            AnswerError: the daemon refused it.
        """
        link = await self.open()
        speech = Speech(link.next_id(), link.command)
        async with _speaking(link, speech, "speak", input=text, **fields):
            yield speech

    @asynccontextmanager
    async def open_speech(self, **fields: Any) -> AsyncGenerator[OpenSpeech, None]:
        """Open a speech whose text comes piece by piece; leaving before its end cancels it.

        `fields` are those of `speak`, and `max_delay_ms`.

        Raises:
            AnswerError: the daemon refused it.
        """
        link = await self.open()
        speech = OpenSpeech(link.next_id(), link.command, limits=link.limits)
        async with _speaking(link, speech, "speech/open", **fields):
            yield speech

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
        link = await self.open()
        subscription = link.next_id()
        statuses = link.watch(subscription)
        try:
            await link.ask(subscription, "subscribe_status", {})
            while not isinstance(status := await statuses.get(), ClientError):
                yield status
            raise status
        finally:
            del link.watchers[subscription]
            if link.is_open:
                await link.command("unsubscribe_events", subscription=subscription)

    async def command(self, kind: str, **fields: Any) -> Any:
        """Send a command and return its result.

        Raises:
            AnswerError: the daemon refused it.
            TextTooLong: it is more than the daemon takes in a message.
            ClientError: the connection was lost, or no answer came.
        """
        link = await self.open()
        return await link.command(kind, **fields)

    # ------------------------------------------------------------------------ the connection

    async def open(self) -> Link:
        """Connect where there is no connection, and return it.

        Raises:
            ClientError: nobody listens there.
            Unauthorized: the token is missing or wrong.
        """
        async with self._dialling:
            if self._link is None or not self._link.is_open:
                await self.close()
                connection, self.greeting = await dial(self._url, self._token)
                self._link = Link(connection, self.greeting)
            return self._link

    async def close(self) -> None:
        """Close the session; a later command opens another one."""
        if self._link is not None:
            await self._link.close()


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


@asynccontextmanager
async def _speaking(
    link: Link, speech: Speech, kind: str, **fields: Any
) -> AsyncGenerator[None, None]:
    link.speeches[speech.id] = speech
    try:
        await link.ask(speech.id, kind, fields)
        yield
    finally:
        try:
            if speech.ended is None:
                with suppress(ClientError):  # nothing is left to cancel
                    await speech.cancel()
        finally:
            del link.speeches[speech.id]
