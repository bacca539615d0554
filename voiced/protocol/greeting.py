"""What a session says of itself at its start: who speaks, what it can do, and the limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from voiced.protocol.messages import PROTOCOL_VERSION

_FEATURES = ("marks", "window", "incremental")


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may ask for."""

    max_message_bytes: int = 65536
    max_input_chars: int = 32768  # of a text, or a part of one
    max_speech_chars: int = 1_000_000  # of all parts together
    max_speeches: int = 8
    idle_text_ms: int = 60000  # without text, for a speech that is open for it
    auth_s: float = 10  # for the token
    stalled_s: float = 30  # without progress, for a speech whose window is closed


_TOLD = ("max_message_bytes", "max_input_chars", "max_speech_chars", "max_speeches", "idle_text_ms")


@dataclass(frozen=True, slots=True)
class Greeting:
    """What `auth_ok` tells."""

    version: str
    session: str
    server_id: str
    server_name: str
    defaults: dict[str, Any]
    limits: SessionLimits

    def auth_ok(self) -> dict[str, Any]:
        """Return the message that opens a session."""
        return {
            "type": "auth_ok",
            **self._versions(),
            "session": self.session,
            "server": {"id": self.server_id, "name": self.server_name},
            "features": _FEATURES,
            "defaults": self.defaults,
            "limits": {name: getattr(self.limits, name) for name in _TOLD},
        }

    def auth_required(self) -> dict[str, Any]:
        """Return the message that asks for the token."""
        return {"type": "auth_required", **self._versions()}

    def _versions(self) -> dict[str, Any]:
        return {"voiced_version": self.version, "protocol": PROTOCOL_VERSION}
