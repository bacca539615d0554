"""Opening a connection to the daemon, up to its greeting."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from voiced.client.errors import ClientError
from voiced.errors import Unauthorized, VoicedError
from voiced.protocol import messages

ANSWER_S = 30  # for the daemon to say anything


async def dial(url: str, token: str) -> tuple[ClientConnection, dict[str, Any]]:
    """Connect and authenticate; return the connection and the data of `auth_ok`.

    Raises:
        ClientError: nobody listens there, or it is not voiced.
        Unauthorized: the token is missing or wrong.
    """
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
        return connection, await _greet(connection, token)
    except BaseException:
        await connection.close()
        raise


async def _greet(connection: ClientConnection, token: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(ANSWER_S):
            greeting = messages.decode(str(await connection.recv()))
            if greeting.get("type") == "auth_required" and token:
                await connection.send(messages.encode({"type": "auth", "access_token": token}))
                greeting = messages.decode(str(await connection.recv()))
    except (ConnectionClosed, TimeoutError, ValueError):
        raise ClientError("The server closed the session, or is no voiced daemon.") from None
    if greeting.get("type") != "auth_ok":
        raise Unauthorized("The daemon wants a token; give it by VOICED_TOKEN or --token-file.")
    return dict(greeting)


def _refused(error: InvalidStatus) -> VoicedError:
    status = error.response.status_code
    body = error.response.body.decode(errors="replace").strip() if error.response.body else ""
    if status == 401:
        return Unauthorized("The daemon refuses this token; check VOICED_TOKEN or --token-file.")
    return ClientError(f"The server refused the session with status {status}. {body}".strip())
