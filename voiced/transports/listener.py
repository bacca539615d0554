"""`WebSocketListener`: the server's settings and the checks before a session begins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Protocol

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import MultipleValuesError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from voiced.protocol.access import AccessPolicy
from voiced.protocol.messages import SUBPROTOCOL
from voiced.transports.sockets import STALLED_S, dual_stack, keep_unsent_low

_library_log = logging.getLogger(f"{__name__}.library")
_library_log.setLevel(logging.CRITICAL)  # it logs every port scan with a traceback

PATH = "/v1/ws"
_CHECKED = ("Host", "Origin", "Authorization")
_AUTH_BYTES = 4096  # read at most until a token has come
_CLOSE_S = 0.25  # for connections to end that never said a word
_PING_S = 30  # between pings, and for their answer
_WRITE_LIMIT_BYTES = 16384  # in asyncio's buffer; TCP back-pressure begins here


class Handle(Protocol):
    """Serves a connection until it is over."""

    async def __call__(self, connection: ServerConnection, /, *, is_authorized: bool) -> None:
        """`is_authorized` says whether the right token came with the upgrade, or none is needed."""
        ...


class WebSocketListener:
    """Listens, checks upgrades, and hands connections over to `handle`."""

    def __init__(
        self, handle: Handle, *, policy: AccessPolicy, max_sessions: int, max_message_bytes: int
    ) -> None:
        self.policy = policy
        self.is_full = False  # refuse everybody
        self._handle = handle
        self._max_sessions = max_sessions
        self._max_message_bytes = max_message_bytes
        self._sessions = 0
        self._server: Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is the system's choice for port 0.

        Raises:
            OSError: the address cannot be bound.
        """
        sock = dual_stack(host, port)
        place = {"sock": sock} if sock else {"host": host, "port": port}
        self._server = await serve(
            self._serve,
            **place,
            process_request=self._check_upgrade,
            select_subprotocol=_select_subprotocol,
            compression=None,  # audio does not compress, and each context costs memory
            max_size=_AUTH_BYTES,
            max_queue=4,  # frames read ahead of us: commands are small and handled at once
            write_limit=_WRITE_LIMIT_BYTES,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=STALLED_S,
            server_header=None,
            logger=_library_log,
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self, code: int) -> None:
        """Close every connection that is left with `code`, and listen no more."""
        if self._server is not None:
            self._server.close(code=code)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._server.wait_closed()

    def _check_upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        try:
            headers = {name: request.headers.get(name) for name in _CHECKED}
        except MultipleValuesError:
            return connection.respond(HTTPStatus.BAD_REQUEST, "A header stands twice.\n")
        refusal = self.policy.check(
            request.path,
            host=headers["Host"],
            origin=headers["Origin"],
            authorization=headers["Authorization"],
        )
        if refusal is not None:
            return connection.respond(refusal.status, f"{refusal.message}\n")
        if request.path.partition("?")[0] != PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, f"The sessions are at {PATH}.\n")
        if self.is_full or self._sessions >= self._max_sessions:
            response = connection.respond(
                HTTPStatus.SERVICE_UNAVAILABLE, "Too many sessions; try again in a moment.\n"
            )
            response.headers["Retry-After"] = "1"
            return response
        if self.policy.is_authorized(headers["Authorization"]):
            self.admit(connection)  # here, for its first message may come with the request
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        is_authorized = self.policy.is_authorized(connection.request.headers.get("Authorization"))
        keep_unsent_low(connection.transport)
        self._sessions += 1
        try:
            await self._handle(connection, is_authorized=is_authorized)
        finally:
            self._sessions -= 1

    def admit(self, connection: ServerConnection) -> None:
        """Let messages have their full size: the client may come in."""
        connection.protocol.max_message_size = self._max_message_bytes


def _select_subprotocol(
    _connection: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None
