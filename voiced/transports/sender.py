"""`Sender`: the only one that sends on a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from voiced.transports.sockets import STALLED_S


class Sender:
    """Sends what `pop` returns, one message after the other, whenever there is something.

    A send is never cancelled for being slow, which would break the message; but a socket that
    takes no byte for `stalled_s` is aborted, and everybody who waits here goes on.
    """

    def __init__(
        self,
        connection: ServerConnection,
        pop: Callable[[], str | bytes | None],
        *,
        stalled_s: float = STALLED_S,
    ) -> None:
        self.is_over = False  # nothing will be sent any more
        self._connection = connection
        self._pop = pop
        self._stalled_s = stalled_s
        self._loop = asyncio.get_running_loop()
        self._has_news = asyncio.Event()
        self._has_sent = asyncio.Event()
        self._closing: tuple[int, str] | None = None

    def wake(self) -> None:
        """There may be something to send."""
        self._has_news.set()

    def close(self, code: int, reason: str) -> None:
        """Close the connection when all has been sent; the first code counts."""
        self._closing = self._closing or (code, reason)
        self.wake()

    async def sent_something(self) -> None:
        """Wait until something was sent, or somebody else's wait may be over."""
        self._has_sent.clear()
        await self._has_sent.wait()

    def let_go(self) -> None:
        """Wake all who wait for something to be sent."""
        self._has_sent.set()

    async def run(self) -> None:
        """Send until the connection is closed."""
        try:
            with suppress(ConnectionClosed):
                await self._run()
        finally:
            self.is_over = True
            self.let_go()

    async def _run(self) -> None:
        while True:
            while (message := self._pop()) is not None:
                await self._send(message)
                self.let_go()
            if self._closing is not None:
                await self._connection.close(*self._closing)
                return
            self._has_news.clear()
            await self._has_news.wait()

    async def _send(self, message: str | bytes) -> None:
        self._timer = self._loop.call_later(self._stalled_s, self._check_progress, None)
        try:
            await self._connection.send(message)
        finally:
            self._timer.cancel()

    def _check_progress(self, previous: int | None) -> None:
        waiting = self._connection.transport.get_write_buffer_size()
        if previous is not None and waiting >= previous:
            self._connection.transport.abort()
            return
        self._timer = self._loop.call_later(self._stalled_s, self._check_progress, waiting)
