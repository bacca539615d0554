from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from support import Parts
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from voiced.transports.sender import Sender
from voiced.transports.sockets import keep_unsent_low


@asynccontextmanager
async def sent(
    pop: Callable[[], str | bytes | None], *, stalled_s: float = 10
) -> AsyncIterator[tuple[ClientConnection, Sender, asyncio.Event]]:
    """A client, the sender at the other end of its socket, and whether that has closed."""
    is_over = asyncio.Event()
    senders: asyncio.Queue[Sender] = asyncio.Queue()

    async def handle(connection: ServerConnection) -> None:
        keep_unsent_low(connection.transport)
        sender = Sender(connection, pop, stalled_s=stalled_s)
        senders.put_nowait(sender)
        sending = asyncio.create_task(sender.run())
        await connection.wait_closed()
        is_over.set()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    async with serve(handle, "127.0.0.1", 0, compression=None, write_limit=16384) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(
            f"ws://127.0.0.1:{port}", compression=None, max_queue=1, close_timeout=0.1
        ) as client:
            yield client, await senders.get(), is_over


async def test_what_there_is_to_send_is_sent_in_order_and_then_the_close() -> None:
    waiting: deque[str | bytes] = deque(["a", b"b", "c"])
    async with sent(lambda: waiting.popleft() if waiting else None) as (client, sender, _):
        assert [await client.recv() for _ in range(3)] == ["a", b"b", "c"]
        waiting.append("d")
        sender.close(4400, "why")
        sender.close(1001, "too late")
        assert await client.recv() == "d"
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4400, "why")


async def test_a_socket_that_takes_nothing_is_aborted() -> None:
    async with sent(lambda: b"x" * 8192, stalled_s=0.1) as (_, _, is_over):
        await asyncio.wait_for(is_over.wait(), 5)


async def test_a_socket_that_takes_little_is_not() -> None:
    left = 400
    taken = 0

    def pop() -> bytes | None:
        nonlocal left
        left -= 1
        return b"x" * 8192 if left >= 0 else None

    async with sent(pop, stalled_s=0.1) as (client, _, _):
        for _ in range(400):
            taken += len(await client.recv())
            if taken % (8192 * 40) == 0:
                await asyncio.sleep(0.05)
    assert taken == 400 * 8192


async def test_a_session_that_cannot_be_sent_to_is_over(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(parts.url) as connection, connect(parts.url) as other:
        await connection.recv()
        await other.recv()
        first = next(
            client
            for client in parts.websocket._clients
            if client._connection.remote_address[1] == connection.local_address[1]
        )
        first._sender._pop = lambda: 1 / 0  # type: ignore[assignment,return-value]
        await connection.send('{"id":1,"type":"ping"}')
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), 5)
        await other.send('{"id":1,"type":"ping"}')
        assert await other.recv() == '{"id":1,"type":"pong"}'
    assert "ZeroDivisionError" in caplog.text
