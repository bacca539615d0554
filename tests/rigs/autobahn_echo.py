"""An echo behind the daemon's own WebSocket listener and sender, for Autobahn's client.

    python autobahn_echo.py

Prints its URL, which has a free port of the loopback, and serves until SIGTERM or SIGINT. It says
nothing more unless it fails: what stands on standard error is a bug of ours.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections import deque
from contextlib import suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from voiced.config import LimitsSection
from voiced.protocol.access import AccessPolicy
from voiced.protocol.actions import CloseCode
from voiced.transports.listener import PATH, WebSocketListener
from voiced.transports.sender import Sender

log = logging.getLogger(__name__)  # to standard error, as nobody configures it

_BACKLOG = 8  # messages that may wait unsent before we stop reading


class _Echo:
    """One connection: the tasks of the door's client, with a queue in the session's place."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._messages: deque[str | bytes] = deque()
        self._sender = Sender(connection, self._pop)

    async def run(self) -> None:
        """Echo until the connection is gone."""
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._sender.run(), name="send")
            with suppress(ConnectionClosed):
                await self._read()
            sending.cancel()

    async def _read(self) -> None:
        async for message in self._connection:
            self._messages.append(message)
            self._sender.wake()
            while len(self._messages) > _BACKLOG:
                await self._sender.sent_something()

    def _pop(self) -> str | bytes | None:
        return self._messages.popleft() if self._messages else None


async def _handle(connection: ServerConnection, *, is_authorized: bool) -> None:
    assert is_authorized, "no token was set"
    try:
        await _Echo(connection).run()
    except Exception:
        log.exception("an echo failed")  # here, for the listener silences the library's log
        raise


async def _serve() -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    limits = LimitsSection()
    listener = WebSocketListener(
        _handle,
        policy=AccessPolicy(),
        max_sessions=limits.max_sessions,
        max_message_bytes=limits.max_message_bytes,
    )
    port = await listener.start("127.0.0.1", 0)
    sys.stdout.write(f"ws://127.0.0.1:{port}{PATH}\n")
    sys.stdout.flush()
    await stopped.wait()
    await listener.close(CloseCode.GOING_AWAY)


if __name__ == "__main__":
    asyncio.run(_serve())
