"""`Link`: one connection to the daemon. Ids, answers and speeches live and end with it."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from voiced.client.dial import ANSWER_S
from voiced.client.errors import AnswerError, ClientError
from voiced.client.speech import Speech
from voiced.errors import TextTooLong
from voiced.protocol import messages

_STATUSES = 16  # that wait for who watches; older ones are worth nothing

Statuses = asyncio.Queue[dict[str, Any] | ClientError]


class Link:
    """Sends commands, and takes what comes to whom it belongs. One task reads, until `close`."""

    def __init__(self, connection: ClientConnection, greeting: dict[str, Any]) -> None:
        self.speeches: dict[int, Speech] = {}
        self.watchers: dict[int, Statuses] = {}
        self.limits: dict[str, Any] = greeting["limits"]
        self._connection = connection
        self._last_id = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._fault = ""  # of the daemon, for which we closed
        self._reading = asyncio.create_task(self._read(), name="voiced client")

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._connection.state is State.OPEN

    def next_id(self) -> int:
        """Return the id for a command."""
        self._last_id += 1
        return self._last_id

    def watch(self, subscription: int) -> Statuses:
        """Return where the statuses of a subscription will come, and the end of the link."""
        statuses = self.watchers[subscription] = asyncio.Queue(_STATUSES)
        return statuses

    async def command(self, kind: str, **fields: Any) -> Any:
        """Send a command and return its result. Errors are those of `ask`."""
        return await self.ask(self.next_id(), kind, fields)

    async def ask(self, command_id: int, kind: str, fields: dict[str, Any]) -> Any:
        """Send a command by an id of `next_id` and return its result.

        Raises:
            AnswerError: the daemon refused it.
            TextTooLong: it is more than the daemon takes in a message.
            ClientError: the connection was lost, or no answer came.
        """
        message = messages.encode({"id": command_id, "type": kind, **fields})
        size, limit = len(message.encode()), self.limits["max_message_bytes"]
        if size > limit:
            raise TextTooLong(
                f"The {kind} message has {size} bytes, the daemon takes {limit}; send it in parts."
            )
        answer = self._answers[command_id] = asyncio.get_running_loop().create_future()
        try:
            await self._connection.send(message)
            async with asyncio.timeout(ANSWER_S):  # wait_for of Python 3.11 loses cancellations
                return await answer
        except ConnectionClosed:
            raise self._lost() from None
        except TimeoutError:
            raise ClientError("The daemon did not answer in time.") from None
        finally:
            del self._answers[command_id]

    async def close(self) -> None:
        """Close the connection; what still waits for something gets a ClientError."""
        for speech in self.speeches.values():
            speech.drop()  # else a full one keeps us from reading the daemon's close
        await self._connection.close()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for message in self._connection:
                await self._take(message)
        except ConnectionClosed:
            pass
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._fault = f"the daemon sent what is not voiced.v1 ({type(error).__name__})"
        lost = self._lost()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(lost)
        for statuses in self.watchers.values():
            _put_newest(statuses, lost)
        for speech in self.speeches.values():
            if speech.ended is None:
                speech.close(lost)
        await self._connection.close()

    async def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            kind, _, _, speech_id, _, payload = messages.parse_frame(message)
            if kind == messages.AUDIO and (speech := self.speeches.get(speech_id)):
                await speech.take_audio(payload)
            return
        content = messages.decode(message)
        for item in content if isinstance(content, list) else [content]:
            self._take_item(item)

    def _take_item(self, item: dict[str, Any]) -> None:
        command_id = item.get("id") or 0
        kind = item.get("type")
        if kind == "event":
            event = item["event"]
            if speech := self.speeches.get(command_id):
                speech.take_event(event["type"], event["data"])
            elif event["type"] == "status" and (statuses := self.watchers.get(command_id)):
                _put_newest(statuses, event["data"])
        elif (answer := self._answers.get(command_id)) and not answer.done():
            if kind == "pong" or item.get("success"):
                answer.set_result(item.get("result"))
            elif kind == "result":
                answer.set_exception(AnswerError(item["error"]))

    def _lost(self) -> ClientError:
        reason = self._fault or self._connection.close_reason or "the connection was lost"
        return ClientError(f"The session ended: {reason}.")


def _put_newest(statuses: Statuses, item: dict[str, Any] | ClientError) -> None:
    if statuses.full():
        statuses.get_nowait()
    statuses.put_nowait(item)
