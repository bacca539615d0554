"""What every TCP door does to its sockets."""

from __future__ import annotations

import asyncio
import socket

STALLED_S = 10  # a socket that accepts no byte for so long is given up
_UNSENT_BYTES = 32768  # by default the kernel swallows 80 s of speech before anybody waits


def keep_unsent_low(transport: asyncio.BaseTransport) -> None:
    """Let back-pressure reach us early, and a peer that is gone be noticed."""
    connected: socket.socket = transport.get_extra_info("socket")
    for name, value in (
        ("TCP_NOTSENT_LOWAT", _UNSENT_BYTES),
        ("TCP_USER_TIMEOUT", STALLED_S * 1000),
    ):
        if option := getattr(socket, name, None):  # Linux has both
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
