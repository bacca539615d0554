"""OpenAI's speech API, of OpenAI or of any server that has the same route."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from voiced.backends.remote.backend import RemoteBackend
from voiced.backends.remote.provider import Call
from voiced.backends.remote.settings import BaseUrl, RemoteSettings
from voiced.config import Names
from voiced.speech import OPENAI_RATE, Segment, Voice

_OWN_HOST = "openai.com"
_VOICES = "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar".split()
_OLDER_VOICES = "alloy ash coral echo fable onyx nova sage shimmer".split()  # of tts-1, tts-1-hd
_LANGUAGES = (
    "en af ar hy az be bs bg ca zh hr cs da nl et fi fr gl de el he hi hu is id it ja kn kk ko lv "
    "lt mk ms mr mi ne no fa pl pt ro ru sr sk sl es sw sv tl ta th tr uk ur vi cy".split()
)
_NAME = re.compile(r"[\w.()+-]{1,128}")


class OpenAISettings(RemoteSettings):
    """`[backends.ID]` with `type = "openai"`."""

    base_url: BaseUrl = Field("https://api.openai.com/v1", description="Up to and with /v1.")
    model: str = Field("tts-1", description="What the server calls the model.")
    voices: Names = Field([], description="Its voices; empty: OpenAI's, or what the server lists.")
    instructions: str = Field("", description="How to speak, where a request does not say.")
    response_format: Literal["pcm", "wav", "mp3", "opus", "aac"] = Field(
        "pcm", description="What is asked for; pcm is soonest here."
    )
    sample_rate: int = Field(
        OPENAI_RATE, ge=8000, le=48000, description="Of the server's pcm, in Hz."
    )
    takes_speed: bool = Field(True, description="False: the speed is made here, by time-stretch.")

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own server."""
        return f".{self.host}".endswith(f".{_OWN_HOST}")


class OpenAIBackend(RemoteBackend):
    """One model of one server."""

    settings_model = OpenAISettings
    settings: OpenAISettings
    largest = 4096

    @classmethod
    def usual_key_name(cls, settings: Any) -> str:
        """Return OpenAI's, for OpenAI."""
        return "OPENAI_API_KEY" if settings.is_openai else ""

    async def prepare(self) -> None:
        """Find out which voices there are; of OpenAI that is known, other servers are asked."""
        self.learns_voices = not self.settings.is_openai
        self.speeds = (0.25, 4.0) if self.settings.takes_speed else (1.0, 1.0)
        names = self.settings.voices
        if not names and self.settings.is_openai:
            names = _OLDER_VOICES if self.settings.model.startswith("tts-1") else _VOICES
        names = names or _names(await self.provider.json("/audio/voices"))
        # Without a list the server says itself what it does not know.
        self._takes_any_voice = not names
        self._voices = tuple(map(_voice, names or [self.settings.voice or "alloy"]))

    def voices(self) -> Sequence[Voice]:
        """Return those that are known."""
        return self._voices

    def find_voice(self, name: str) -> Voice | None:
        """Know those that are listed; of a server without a list, whatever may be a name."""
        if voice := super().find_voice(name):
            return voice
        return _voice(name) if self._takes_any_voice and _NAME.fullmatch(name) else None

    def key_headers(self, key: str) -> Mapping[str, str]:
        """Return the usual header."""
        return {"Authorization": f"Bearer {key}"}

    def audio_format(self) -> tuple[str, int]:
        """Return what was asked for."""
        return self.settings.response_format, self.settings.sample_rate

    def call(self, segment: Segment) -> Call:
        """Return a request as OpenAI's clients send it."""
        body: dict[str, Any] = {
            "model": self.settings.model,
            "input": segment.text,
            "voice": segment.voice.id,
            "response_format": self.settings.response_format,
        }
        if segment.speed != 1.0:
            body["speed"] = segment.speed
        if instructions := segment.instructions or self.settings.instructions:
            body["instructions"] = instructions
        return Call("/audio/speech", body=body)


def _voice(name: str) -> Voice:
    return Voice(name, name, tuple(_LANGUAGES), OPENAI_RATE)


def _names(answer: object) -> list[str]:
    """Read a list of voices, which servers write in several shapes."""
    if isinstance(answer, dict):
        answer = answer.get("voices", answer.get("data"))
    entries = answer if isinstance(answer, list) else []
    # LocalAI groups them by model.
    entries = [
        voice
        for entry in entries
        for voice in (entry["voices"] if isinstance(_get(entry, "voices"), list) else [entry])
    ]
    names = [
        entry if isinstance(entry, str) else _get(entry, "id") or _get(entry, "name")
        for entry in entries
    ]
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]


def _get(holder: object, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else None
