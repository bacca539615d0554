"""AllTalk, version 2: its own streaming route, or else its route for OpenAI's clients."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from voiced.backends.remote.backend import RemoteBackend
from voiced.backends.remote.provider import Call
from voiced.backends.remote.settings import BaseUrl, RemoteSettings
from voiced.errors import BackendUnavailable
from voiced.speech import OPENAI_RATE, Segment, Voice

_USUAL_URL = "http://localhost:7851"
_MAPPED = "alloy echo fable nova onyx shimmer".split()  # of the route for OpenAI's clients
_LANGUAGES = "en ar zh-cn zh cs nl fr de hu hi it ja ko pl pt ru es tr".split()
_LOOK_S = 0.2  # for a connection to this machine


class AllTalkSettings(RemoteSettings):
    """`[backends.ID]` with `type = "alltalk"`."""

    base_url: BaseUrl = Field(
        default_factory=lambda: os.environ.get("ALLTALK_API_URL") or _USUAL_URL,
        validate_default=True,
        description="Where AllTalk is; the default is what ALLTALK_API_URL says, or this machine.",
    )
    route: Literal["auto", "streaming", "openai"] = Field(
        "auto", description="Which of its routes; auto: streaming, if its engine can."
    )
    first_audio_timeout_s: float = Field(
        30, ge=0, description="Without audio for so long, the fallback speaks; 0: never."
    )
    max_concurrent: int = Field(1, ge=1, le=256, description="AllTalk speaks one after the other.")


class AllTalkBackend(RemoteBackend):
    """One AllTalk."""

    settings_model = AllTalkSettings
    settings: AllTalkSettings
    largest = 2000

    @classmethod
    def missing(cls, settings: Any) -> str | None:
        """Say that nobody answers on this machine; of others that takes too long to ask."""
        if settings.base_url != _USUAL_URL:
            return super().missing(settings)
        parts = urlsplit(_USUAL_URL)
        try:
            socket.create_connection((parts.hostname, parts.port), _LOOK_S).close()
        except OSError:
            return (
                f"AllTalk does not answer at {parts.netloc}; start it there, or set "
                "ALLTALK_API_URL or base_url."
            )
        return None

    async def prepare(self) -> None:
        """Ask whether it is ready, what its engine can do, and which voices it has."""
        if await self.provider.fetch("/api/ready", types=("text/", "application/json")) is None:
            raise BackendUnavailable(f"{self.settings.host} is no AllTalk; correct base_url.")
        told = await self.provider.json("/api/currentsettings")
        can_stream = isinstance(told, dict) and told.get("streaming_capable") is True
        route = self.settings.route
        self._is_streaming = route == "streaming" or (route == "auto" and can_stream)
        self.speeds = (1.0, 1.0) if self._is_streaming else (0.25, 4.0)
        names = await self._listed() if self._is_streaming else _MAPPED
        if not names:
            raise BackendUnavailable(
                "AllTalk has no voices; add some to its folder of voices, or choose another engine."
            )
        self._voices = tuple(Voice(name, name, tuple(_LANGUAGES), OPENAI_RATE) for name in names)

    async def _listed(self) -> list[str]:
        told = await self.provider.json("/api/voices")
        names = told.get("voices") if isinstance(told, dict) else None
        if not isinstance(names, list):
            return []
        return [name for name in names if isinstance(name, str) and name != "No Voices Found"]

    def voices(self) -> Sequence[Voice]:
        """Return its voices, as it had them lately."""
        return self._voices

    def find_voice(self, name: str) -> Voice | None:
        """Know a voice with and without the ending of its file."""
        return super().find_voice(name) or super().find_voice(f"{name}.wav")

    def key_headers(self, key: str) -> Mapping[str, str]:
        """Return a header for what may stand before AllTalk, which has no keys itself."""
        return {"Authorization": f"Bearer {key}"}

    def audio_format(self) -> tuple[str, int]:
        """Return what both routes give."""
        return "wav", OPENAI_RATE

    def call(self, segment: Segment) -> Call:
        """Return a request to the route that was chosen."""
        if not self._is_streaming:
            body: dict[str, Any] = {
                "model": "any",
                "input": segment.text,
                "voice": segment.voice.id,
                "response_format": "wav",
            }
            if segment.speed != 1.0:
                body["speed"] = segment.speed
            return Call("/v1/audio/speech", body=body)
        query = {
            "text": segment.text,
            "voice": segment.voice.id,
            "language": _language(segment.language),
            "output_file": "voiced.wav",  # asked for, and not written
        }
        return Call("/api/tts-generate-streaming", "GET", query=query)


def _language(asked: str | None) -> str:
    """Return the language as AllTalk knows it; without one it finds out itself."""
    tag = (asked or "auto").lower()
    return tag if tag in _LANGUAGES else tag.partition("-")[0]
