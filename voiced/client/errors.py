"""What can go wrong for a client, beside what it refuses to send itself."""

from __future__ import annotations

from typing import Any

from voiced.errors import VoicedError


class ClientError(VoicedError):
    """The daemon cannot be reached, or broke the session off."""

    code = "connection_lost"
    retryable = True


class AnswerError(VoicedError):
    """The daemon refused a command, or a speech failed. Its code and retryable are the daemon's."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", "")), param=error.get("param"))
        self.code = str(error.get("code", self.code))
        self.retryable = error.get("retryable") is True
