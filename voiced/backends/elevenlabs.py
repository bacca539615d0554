"""ElevenLabs: its streaming route, or the one with times for each character."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import Field

from voiced.backends.base import SharedOptions
from voiced.backends.remote.backend import RemoteBackend
from voiced.backends.remote.fault import Fault, codes_of, wrong_request
from voiced.backends.remote.provider import Call
from voiced.backends.remote.settings import BaseUrl, RemoteSettings
from voiced.errors import BackendError, BackendUnavailable, UpstreamAuth, VoiceNotFound
from voiced.reading.words import words
from voiced.speech import OPENAI_RATE, MarkKind, PcmChunk, Segment, Voice, WordMark

_OWN_HOST = "elevenlabs.io"
_ID = re.compile(r"[A-Za-z0-9]{20}")
_PAGE = 100  # voices
_MOST_PAGES = 20
_LONGEST_LINE_BYTES = 1 << 24
_LIMITS = {  # characters in a request
    "eleven_v3": 5000,
    "eleven_flash_v2_5": 40000,
    "eleven_turbo_v2_5": 40000,
    "eleven_flash_v2": 30000,
    "eleven_turbo_v2": 30000,
}
_OTHERS_LIMIT = 10000
_TAKES_LANGUAGE = ("_v2_5", "_v3")  # endings of the models that heed a language
_LANGUAGES = (
    "en de fr es it pt nl pl sv da fi no cs sk hu ro bg hr el uk ru tr ar hi ta id ms fil vi ja ko "
    "zh"
).split()


class ElevenLabsSettings(RemoteSettings):
    """`[backends.ID]` with `type = "elevenlabs"`."""

    base_url: BaseUrl = Field("https://api.elevenlabs.io", description="Without the /v1.")
    model_id: str = Field("eleven_multilingual_v2", description="One of ElevenLabs' models.")
    output_format: str = Field(
        "pcm_24000",
        pattern=r"^(pcm_(8000|16000|22050|24000|32000|44100|48000)"
        r"|mp3_(22050|24000|44100)_\d{2,3}|opus_48000_\d{2,3})$",
        description="As ElevenLabs calls it: pcm_24000, mp3_44100_128, ...",
    )
    max_concurrent: int = Field(2, ge=1, le=256, description="As the subscription allows.")

    @property
    def is_elevenlabs(self) -> bool:
        """Whether it is a host of ElevenLabs."""
        return f".{self.host}".endswith(f".{_OWN_HOST}")


class ElevenLabsOptions(SharedOptions):
    """ElevenLabs' voice settings; what is not given is as it is set for the voice there."""

    stability: float | None = Field(None, ge=0, le=1, description="Low is lively, high monotonous.")
    similarity_boost: float | None = Field(None, ge=0, le=1, description="Nearness to the voice.")
    style: float | None = Field(None, ge=0, le=1, description="Exaggeration; costs time.")
    use_speaker_boost: bool | None = Field(None, description="Nearer still; costs time.")
    seed: int | None = Field(None, ge=0, le=4294967295, description="The same sounds alike.")
    language_code: str | None = Field(
        None, pattern=r"^[a-z]{2,3}$", description="ISO 639; newer models heed it."
    )


_VOICE_SETTINGS = ("stability", "similarity_boost", "style", "use_speaker_boost")


class ElevenLabsBackend(RemoteBackend):
    """One model of ElevenLabs."""

    settings_model = ElevenLabsSettings
    settings: ElevenLabsSettings
    options_model = ElevenLabsOptions
    speeds: ClassVar[tuple[float, float]] = (0.7, 1.2)  # type: ignore[misc]  # of all of them

    @classmethod
    def usual_key_name(cls, settings: Any) -> str:
        """Return ElevenLabs', for ElevenLabs."""
        return "ELEVENLABS_API_KEY" if settings.is_elevenlabs else ""

    async def prepare(self) -> None:
        """List the voices of the account."""
        self.largest = _LIMITS.get(self.settings.model_id, _OTHERS_LIMIT)
        try:
            found = await self._listed()
        except UpstreamAuth as refusal:
            # A key may be good for speaking and for nothing else.
            if "missing_permissions" not in refusal.message:
                raise
            found = []
        if not found and not _ID.fullmatch(self.settings.voice):
            raise BackendUnavailable(
                f"{self.settings.host} lists no voices; set voice to the id of one, or give the "
                "key the right to read voices."
            )
        self._voices = found or [self._voice({"voice_id": self.settings.voice})]
        self._by_name = {v.name.lower(): v for v in reversed(self._voices)}

    async def _listed(self) -> list[Voice]:
        voices: list[Voice] = []
        query = {"page_size": str(_PAGE), "include_total_count": "false"}
        for _ in range(_MOST_PAGES):
            page = await self.provider.json("/v2/voices", query)
            entries = page.get("voices") if isinstance(page, dict) else None
            if not isinstance(entries, list):
                break
            voices += [self._voice(e) for e in entries if _ID.fullmatch(str(e.get("voice_id")))]
            token = page.get("next_page_token")
            if not (page.get("has_more") and isinstance(token, str)):
                break
            query["next_page_token"] = token
        return list({voice.id: voice for voice in voices}.values())

    def _voice(self, entry: Mapping[str, Any]) -> Voice:
        labels = entry.get("labels")
        own = labels.get("language") if isinstance(labels, dict) else None
        languages = [own.lower()] if isinstance(own, str) and own else []
        tags = dict.fromkeys([*languages, *_LANGUAGES])
        name = str(entry.get("name") or entry["voice_id"])
        return Voice(str(entry["voice_id"]), name, tuple(tags), OPENAI_RATE, MarkKind.WORD)

    def voices(self) -> Sequence[Voice]:
        """Return the voices of the account, as it had them lately."""
        return self._voices

    def find_voice(self, name: str) -> Voice | None:
        """Know ids and names; of a library, ids that are in no list."""
        if voice := super().find_voice(name) or self._by_name.get(name.lower()):
            return voice
        return self._voice({"voice_id": name}) if _ID.fullmatch(name) else None

    def key_headers(self, key: str) -> Mapping[str, str]:
        """Return ElevenLabs' own header."""
        return {"xi-api-key": key}

    def explain(self, status: int, body: bytes) -> Fault | None:
        """Know a voice that is not there."""
        if status == 404 and "voice_not_found" in codes_of(body):
            return wrong_request(
                VoiceNotFound(
                    "ElevenLabs does not know this voice; ask for another.", param="voice"
                )
            )
        return None

    def audio_format(self) -> tuple[str, int]:
        """Return what `output_format` means."""
        kind, rate = self.settings.output_format.split("_")[:2]
        return kind, int(rate)

    def call(self, segment: Segment) -> Call:
        """Return a request, with what was given of the voice's settings."""
        options: ElevenLabsOptions = segment.options
        voice: dict[str, Any] = {
            name: value for name in _VOICE_SETTINGS if (value := getattr(options, name)) is not None
        }
        if segment.speed != 1.0:
            voice["speed"] = segment.speed
        body: dict[str, Any] = {"text": segment.text, "model_id": self.settings.model_id}
        if voice:
            body["voice_settings"] = voice
        if options.seed is not None:
            body["seed"] = options.seed
        if language := options.language_code or self._language(segment):
            body["language_code"] = language
        path = f"/v1/text-to-speech/{quote(segment.voice.id, safe='')}/stream"
        query = {"output_format": self.settings.output_format}
        if segment.wants_words:
            types = ("application/json", "application/x-ndjson", "text/event-stream")
            return Call(f"{path}/with-timestamps", body=body, query=query, types=types)
        return Call(path, body=body, query=query)

    def _language(self, segment: Segment) -> str | None:
        """Return the language that was asked for, if the model heeds one."""
        if segment.language is None or not self.settings.model_id.endswith(_TAKES_LANGUAGE):
            return None
        return segment.language.lower().partition("-")[0]

    async def chunks(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        """Decode audio, or lines of audio with times."""
        if not segment.wants_words:
            async with aclosing(super().chunks(segment)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        decoder = self.decoder(segment)
        timed = _Timed(segment)
        async with (
            aclosing(self.provider.audio(self.call(segment), segment)) as parts,
            aclosing(_lines(parts)) as lines,
        ):
            async for line in lines:
                audio, marks = timed.read(line)
                yield PcmChunk(decoder.push(audio), marks)
        yield PcmChunk(decoder.flush())


async def _lines(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    held = b""
    async for part in parts:
        *lines, held = (held + part).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(held) > _LONGEST_LINE_BYTES:
            raise Fault(BackendError("ElevenLabs sends a line without an end."))
    if held.strip():
        yield held


class _Timed:
    """The words of a segment, and the lines that tell when their characters are heard."""

    def __init__(self, segment: Segment) -> None:
        self._text = segment.text
        self._rate = segment.voice.sample_rate
        self._words = words(segment.text)
        self._at = 0  # in the text, up to where characters have come

    def read(self, line: bytes) -> tuple[bytes, tuple[WordMark, ...]]:
        """Return the audio of a line, and the words that begin in it.

        Raises:
            Fault: it is no such line.
        """
        try:
            told = json.loads(line)
            audio = base64.b64decode(told.get("audio_base64") or "", validate=True)
            alignment = told.get("alignment") or {}
            characters = alignment.get("characters") or []
            starts = alignment.get("character_start_times_seconds") or []
            return audio, tuple(self._marks(characters, starts))
        except (ValueError, AttributeError, TypeError, binascii.Error):
            message = "ElevenLabs sends times in a shape that is not known."
            raise Fault(BackendError(message)) from None

    def _marks(self, characters: list[str], starts: list[float]) -> list[WordMark]:
        marks = []
        for character, start in zip(characters, starts, strict=True):
            at = self._text.find(character, self._at, self._at + 64) if character else -1
            if at < 0:
                continue
            self._at = at + len(character)
            while self._words and self._words[0][1] <= at:
                self._words.pop(0)
            if self._words and self._words[0][0] <= at:
                begin, end = self._words.pop(0)
                marks.append(WordMark(begin, end, max(0, round(start * self._rate))))
        return marks
