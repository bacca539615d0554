"""Where a daemon can be reached, and how its doors are opened."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from typing import Protocol

from voiced.errors import VoicedError
from voiced.transports.listener import PATH

log = logging.getLogger(__name__)


class DoorTakenError(VoicedError):
    """A door cannot be opened, as a rule because another process listens there."""


class Door(Protocol):
    """What listens."""

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port, which is the system's choice for port 0.

        Raises:
            OSError: the address cannot be bound.
        """
        ...


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the daemon can be reached."""

    websocket: tuple[str, int]
    http: tuple[str, int]
    wyoming: tuple[str, int] | None  # None: it is not wanted

    def lines(self) -> list[str]:
        """Return a line for each door."""
        lines = [
            f"websocket  ws://{netloc(*self.websocket)}{PATH}",
            f"http       http://{netloc(*self.http)}/v1",
        ]
        if self.wyoming is not None:
            lines.append(f"wyoming    tcp://{netloc(*self.wyoming)}")
        return lines

    def as_json(self) -> str:
        """Return what `--ready-file` holds."""
        named = {"websocket": self.websocket, "http": self.http, "wyoming": self.wyoming}
        doors = {
            name: {"host": place[0], "port": place[1]} for name, place in named.items() if place
        }
        return json.dumps({"pid": os.getpid(), **doors})


async def listen(door: Door, name: str, host: str, port: int) -> tuple[str, int]:
    """Open a door; return where it is then.

    Raises:
        DoorTakenError: the address is not free, or not there.
    """
    try:
        bound = await door.start(host, port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "unknown host"
        raise DoorTakenError(
            f"Cannot listen on {netloc(host, port)}: {reason.lower()}; stop what uses it, "
            f"or set {name}.port or {name}.host."
        ) from None
    log.info("%s listens on %s", name, netloc(host, bound))
    return host, bound


def netloc(host: str, port: int) -> str:
    """Write an address as a URL has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
