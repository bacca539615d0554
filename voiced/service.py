"""What a service manager is told: systemd's notification protocol, sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class ServiceManager:
    """Whoever started the daemon and looks after it. Without one, nothing is told to nobody."""

    def __init__(self, address: str = "", *, watchdog_s: float | None = None) -> None:
        """`address`: of a Unix datagram socket, `@` for one without a file; empty: nobody."""
        self.watchdog_s = watchdog_s
        """How long it waits for a sign of life before it kills us; None: for ever."""
        self._address = address.replace("@", "\0", 1) if address.startswith("@") else address
        self._status = ""
        self._is_deaf = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ServiceManager:
        """Find it as systemd says where it is."""
        microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
        is_ours = pid is None or pid == str(os.getpid())
        watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() and is_ours else None
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog_s=watchdog_s or None)

    @property
    def is_there(self) -> bool:
        """Whether somebody listens."""
        return bool(self._address)

    def ready(self) -> None:
        """Say that the daemon serves, or serves again after a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is read again; `ready` ends that."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the daemon is about to end."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Give a sign of life."""
        if self.watchdog_s is not None:
            self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say how it goes, for people, in a line."""
        if text != self._status and self._tell(f"STATUS={text}"):
            self._status = text

    def _tell(self, state: str) -> bool:
        if not self.is_there:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.connect(self._address)
                sender.send(state.encode(errors="backslashreplace"))
        except OSError as error:
            if not self._is_deaf:
                log.warning("the service manager was not told %s: %s", state[:16], error.strerror)
            self._is_deaf = True
            return False
        self._is_deaf = False
        return True
