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


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Notice within minutes that a peer lost its power which had nothing to say."""
    connected: socket.socket = transport.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if option := getattr(socket, name, None):
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def dual_stack(host: str, port: int) -> socket.socket | None:
    """Return a socket for IPv4 too, where `host` is that of all addresses of IPv6; else None.

    asyncio itself listens to IPv6 alone there.

    Raises:
        OSError: the address cannot be bound.
    """
    if host != "::":
        return None
    return socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
