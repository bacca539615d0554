"""A client of the daemon: what `voiced say` uses, and what you may use.

    async with connect() as client:
        async with client.speak("Good morning") as speech:
            async for audio in speech:  # bytes in the speech's format, pcm by default
                play(audio)

Without arguments it takes `VOICED_URL` and `VOICED_TOKEN`, else the daemon on this machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from voiced.errors import TextTooLong, Unauthorized, VoicedError
from voiced.protocol import messages

DEFAULT_URL = "ws://127.0.0.1:8765/v1/ws"
_ANSWER_S = 30
_WAITING = 4096  # frames of a speech, of 8 KiB at most, that wait for its consumer
_WHOLE = ("complete", "cancelled", "replaced")  # reasons that are no trouble


class ClientError(VoicedError):
    """The daemon cannot be reached, or broke the session off."""

    code = "connection_lost"
    retryable = True


class AnswerError(VoicedError):
    """The daemon refused a command, or a speech failed. Its code and retryable are the daemon's."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", "")), param=error.get("param"))
        self.code = str(error.get("code", self.code))
        self.retryable = error.get("retryable") is True


@dataclass(frozen=True, slots=True)
class Ended:
    """How a speech ended."""

    reason: str
    samples: int
    audio_ms: int
    first_audio_ms: int | None


class Speech:
    """A speech as it arrives: iterate it for its audio, once.

    What is not consumed waits here, up to 11 minutes of pcm; beyond, the session waits.
    """

    def __init__(self, client: Client, speech_id: int) -> None:
        self.id = speech_id
        self.start: dict[str, Any] = {}  # the data of `speech-start`, known from the first audio
        self.segments: list[dict[str, Any]] = []
        self.notices: list[dict[str, Any]] = []
        self.end: Ended | None = None
        self._client = client
        self._arrived: asyncio.Queue[bytes | VoicedError | None] = asyncio.Queue(_WAITING)
        self._is_wanted = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield audio until the speech ends.

        Raises:
            AnswerError: the speech failed.
            ClientError: the connection was lost, or the daemon ended the speech early.
        """
        while (item := await self._arrived.get()) is not None:
            if isinstance(item, VoicedError):
                raise item
            if item:
                yield item

    async def cancel(self, *, played_ms: float | None = None) -> dict[str, Any]:
        """Stop the speech; after this nothing of it arrives. Ending twice does no harm."""
        self._is_wanted = False
        while not self._arrived.empty():  # the receiver may wait for room
            self._arrived.get_nowait()
        fields = {"speech": self.id} | ({} if played_ms is None else {"played_ms": played_ms})
        try:
            answer: dict[str, Any] = await self._client.command("speech/cancel", **fields)
        finally:
            self._arrived.put_nowait(None)  # whoever iterates comes to an end
        return answer

    async def take_audio(self, payload: bytes) -> None:
        """Take a frame's payload (for the client's receiver)."""
        if self._is_wanted and payload:
            await self._arrived.put(payload)

    async def take_event(self, kind: str, data: dict[str, Any]) -> None:
        """Take an event (for the client's receiver)."""
        if kind == "speech-start":
            self.start = data
        elif kind == "segment":
            self.segments.append(data)
        elif kind == "notice":
            self.notices.append(data)
        elif kind == "speech-end":
            self.end = Ended(
                data["reason"], data["samples"], data["audio_ms"], data["first_audio_ms"]
            )
            await self.close(_trouble(data))

    async def close(self, error: VoicedError | None) -> None:
        """Let the consumer come to an end (for the client's receiver)."""
        if self._is_wanted:
            await self._arrived.put(error)


class Client:
    """An open session. Made by `connect`; for one event loop."""

    def __init__(self, connection: ClientConnection, greeting: dict[str, Any]) -> None:
        self.greeting = greeting  # the data of `auth_ok`
        self._connection = connection
        self._last_id = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._speeches: dict[int, Speech] = {}
        self._receiver = asyncio.create_task(self._receive(), name="voiced client")

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

    @asynccontextmanager
    async def speak(self, text: str, **fields: Any) -> AsyncGenerator[Speech, None]:
        """Open a speech; leaving the block before its end cancels it.

        `fields` are those of the request: model, voice, response_format, speed, ...

        Raises:
            AnswerError: the daemon refused it.
        """
        speech = Speech(self, self._last_id + 1)
        self._speeches[speech.id] = speech
        try:
            await self.command("speak", input=text, **fields)
            yield speech
        finally:
            if speech.end is None:
                with suppress(ClientError):  # nothing is left to cancel
                    await speech.cancel()
            del self._speeches[speech.id]

    async def clear(self) -> list[int]:
        """Cancel every speech of this session; return their ids."""
        answer = await self.command("clear")
        return list(answer["cancelled"])

    async def command(self, kind: str, **fields: Any) -> Any:
        """Send a command and return its result.

        Raises:
            AnswerError: the daemon refused it.
            TextTooLong: it is more than the daemon takes in a message.
            ClientError: the connection was lost, or no answer came.
        """
        self._last_id += 1
        command_id = self._last_id
        message = messages.encode({"id": command_id, "type": kind, **fields})
        size, limit = len(message.encode()), self.greeting["limits"]["max_message_bytes"]
        if size > limit:
            raise TextTooLong(
                f"The {kind} message has {size} bytes, the daemon takes {limit}; send it in parts."
            )
        answer = self._answers[command_id] = asyncio.get_running_loop().create_future()
        try:
            await self._connection.send(message)
            return await asyncio.wait_for(answer, _ANSWER_S)
        except ConnectionClosed:
            raise _lost(self._connection) from None
        except TimeoutError:
            raise ClientError("The daemon did not answer in time.") from None
        finally:
            del self._answers[command_id]

    async def close(self) -> None:
        """Close the session."""
        await self._connection.close()
        self._receiver.cancel()
        await asyncio.gather(self._receiver, return_exceptions=True)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session."""
        await self.close()

    async def _receive(self) -> None:
        try:
            async for message in self._connection:
                if isinstance(message, bytes):
                    await self._take_frame(message)
                    continue
                content = messages.decode(message)
                for item in content if isinstance(content, list) else [content]:
                    await self._take(item)
        except ConnectionClosed:
            pass
        finally:
            lost = _lost(self._connection)
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(lost)
            for speech in self._speeches.values():
                if speech.end is None:
                    await speech.close(lost)

    async def _take_frame(self, message: bytes) -> None:
        kind, _, _, speech_id, _, payload = messages.parse_frame(message)
        if kind == messages.AUDIO and (speech := self._speeches.get(speech_id)):
            await speech.take_audio(payload)

    async def _take(self, item: dict[str, Any]) -> None:
        command_id = item.get("id")
        kind = item.get("type")
        if kind == "event" and (speech := self._speeches.get(command_id or 0)):
            await speech.take_event(item["event"]["type"], item["event"]["data"])
        elif (answer := self._answers.get(command_id or 0)) and not answer.done():
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
    url = url or os.environ.get("VOICED_URL") or DEFAULT_URL
    token = token or os.environ.get("VOICED_TOKEN") or ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection = await open_websocket(
            url,
            additional_headers=headers,
            subprotocols=[messages.SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
            compression=None,
            max_size=None,
            proxy=None,
        )
    except InvalidStatus as error:
        raise _refused(error) from None
    except (OSError, InvalidHandshake, InvalidURI, TimeoutError, ValueError) as error:
        raise ClientError(
            f"No voiced daemon at {url} ({type(error).__name__}); start it with `voiced serve`, "
            "or name it by VOICED_URL."
        ) from None
    try:
        greeting = await _greet(connection, token)
    except BaseException:
        await connection.close()
        raise
    async with Client(connection, greeting) as client:
        yield client


async def _greet(connection: ClientConnection, token: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_ANSWER_S):
            greeting = messages.decode(str(await connection.recv()))
            if greeting.get("type") == "auth_required" and token:
                await connection.send(messages.encode({"type": "auth", "access_token": token}))
                greeting = messages.decode(str(await connection.recv()))
    except (ConnectionClosed, TimeoutError, ValueError):
        raise ClientError("The server closed the session, or is no voiced daemon.") from None
    if greeting.get("type") != "auth_ok":
        raise Unauthorized("The daemon wants a token; give it by VOICED_TOKEN or --token-file.")
    return dict(greeting)


def _trouble(end: dict[str, Any]) -> VoicedError | None:
    """Return what a consumer must hear of a speech's end: its audio is not whole."""
    if end.get("error"):
        return AnswerError(end["error"])
    if end["reason"] in _WHOLE:
        return None
    return ClientError(f"The daemon ended the speech early ({end['reason']}).")


def _refused(error: InvalidStatus) -> VoicedError:
    status = error.response.status_code
    body = error.response.body.decode(errors="replace").strip() if error.response.body else ""
    if status == 401:
        return Unauthorized("The daemon refuses this token; check VOICED_TOKEN or --token-file.")
    return ClientError(f"The server refused the session with status {status}. {body}".strip())


def _lost(connection: ClientConnection) -> ClientError:
    reason = connection.close_reason or "the connection was lost"
    return ClientError(f"The session ended: {reason}.")
