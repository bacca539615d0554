"""Where the tests of the wire contract find a daemon. Only this module of theirs knows voiced."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from support import running_parts
from websockets.asyncio.client import ClientConnection, connect
from wire import PATIENCE_S, Wire, dial

from voiced.protocol.access import AccessPolicy
from voiced.protocol.greeting import SessionLimits

ADDRESS = os.environ.get("VOICED_CONFORMANCE_URL", "")
TOKEN = os.environ.get("VOICED_TOKEN", "")


@dataclass(frozen=True)
class Door:
    """Where the daemon listens, and the token that opens it."""

    url: str
    token: str = ""

    @property
    def netloc(self) -> str:
        return urlsplit(self.url).netloc

    def dial(self, **options: Any) -> AbstractAsyncContextManager[Wire]:
        return dial(self.url, token=self.token, **options)

    def knock(self, path: str = "", **options: Any) -> connect:
        """Connect without a word of the protocol, and without the token."""
        return connect(self.url + path, proxy=None, **options)


@asynccontextmanager
async def own_daemon(
    *, token: str = "", max_sessions: int = 256, **limits: Any
) -> AsyncIterator[Door]:
    """Start a daemon's parts with limits of the test's own."""
    if ADDRESS:
        pytest.skip("needs a daemon with limits of its own")
    async with running_parts(
        policy=AccessPolicy(token=token), limits=SessionLimits(**limits), max_sessions=max_sessions
    ) as parts:
        yield Door(parts.url, token)


@asynccontextmanager
async def any_daemon() -> AsyncIterator[Door]:
    """Return the daemon at VOICED_CONFORMANCE_URL, or start the parts of one."""
    if ADDRESS:
        yield Door(ADDRESS, TOKEN)
        return
    async with own_daemon() as door:
        yield door


async def first_message(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        message: dict[str, Any] = json.loads(await connection.recv())
    return message


async def close_code(connection: ClientConnection) -> int | None:
    async with asyncio.timeout(PATIENCE_S):
        await connection.wait_closed()
    return connection.close_code
