"""`RemoteBackend`: what OpenAI, ElevenLabs and AllTalk have in common as backends."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from math import inf
from typing import Any, ClassVar

import numpy as np

from voiced.audio.decoder import StreamingAudioDecoder, UndecodableError
from voiced.backends.base import FirstSegment, SegmentSizes, TTSBackendBase
from voiced.backends.remote.fault import Fault
from voiced.backends.remote.provider import Call, Provider
from voiced.backends.remote.settings import RemoteSettings, find_key
from voiced.errors import BackendError, BackendUnavailable, VoicedError
from voiced.reading.phonemes import count_phonemes
from voiced.reading.speakable import speakable
from voiced.speech import OPENAI_RATE, PcmChunk, Segment

_ASK_AFTER_S = 30  # which voices there are
_AT_ONCE_BYTES = 2048  # decoded in a step of the event loop, some milliseconds
_SILENCE = 0.0018  # -55 dBFS, as what is trimmed
_LONGEST_S = 30.0  # of audio, for any text,
_SLOWEST = 2  # and beside it, phonemes a second


class RemoteBackend(TTSBackendBase):
    """Asks a provider for each segment, and decodes what comes.

    A text that came whole is one segment up to the provider's limit, for prosody and for cost; one
    that grows is asked for sentence by sentence, and more at a time as it goes on.
    """

    settings: RemoteSettings
    is_local = False
    reads_well = True
    first_segment: ClassVar[FirstSegment | None] = "sentence"
    learns_voices = True
    largest: int = 4000
    """Characters that the provider takes in a request."""

    @classmethod
    def usual_key_name(cls, settings: Any) -> str:  # noqa: ARG003  # some have none
        """Return the variable that holds the key where the section says nothing; empty: none.

        Only for the provider's own hosts: another server is not to see its key.
        """
        return ""

    @classmethod
    def missing(cls, settings: Any) -> str | None:
        """Say which key is missing."""
        name = cls.usual_key_name(settings)
        try:
            if (name or settings.api_key_name) and not find_key(settings, name, os.environ):
                return f"{settings.host} wants a key; set {settings.api_key_name or name}."
        except BackendUnavailable as problem:
            return problem.message
        return None

    async def initialize(self) -> None:
        """Read the key, and have a session; `prepare` may ask the provider."""
        name = self.usual_key_name(self.settings)
        key = find_key(self.settings, name, os.environ)
        if lack := self.missing(self.settings):
            raise BackendUnavailable(lack)
        self.provider = Provider(
            self.settings,
            headers=self.key_headers(key) if key else {},
            cure=f"correct {self.settings.api_key_name or name or 'api_key'}",
            explain=self.explain,
        )
        await self.provider.open()
        self._ask_again_at = -inf  # event loop time
        try:
            await self.refresh()
        except BaseException:
            await self.provider.close()
            raise

    async def refresh(self) -> None:
        """Ask the provider again which voices there are, unless it was asked a moment ago."""
        now = asyncio.get_running_loop().time()
        if now >= self._ask_again_at:
            self._ask_again_at = now + _ASK_AFTER_S
            await self.prepare()

    async def prepare(self) -> None:
        """Find out what has to be known of the provider before it can speak, and again later.

        Raises:
            VoicedError: it cannot speak.
        """

    @abstractmethod
    def key_headers(self, key: str) -> Mapping[str, str]:
        """Return the headers that carry the key."""

    @abstractmethod
    def call(self, segment: Segment) -> Call:
        """Return what is asked for a segment."""

    def explain(self, status: int, body: bytes) -> Fault | None:  # noqa: ARG002  # some know more
        """Say what an answer means, where this provider has a meaning of its own."""
        return None

    def audio_format(self) -> tuple[str, int]:
        """Return what the audio comes as, and the rate of pcm in Hz."""
        return "pcm", OPENAI_RATE

    def trouble(self) -> str | None:
        """Say why the provider is not asked now."""
        return self.provider.trouble

    def segment_sizes(self, options: Any, *, is_whole: bool) -> SegmentSizes:  # noqa: ARG002  # as the base has it
        """Return the provider's limit, up to which a growing text grows."""
        if is_whole:
            return SegmentSizes(preferred=self.largest, largest=self.largest, is_hasty=False)
        return SegmentSizes(preferred=self.largest, largest=self.largest, growth=3.0)

    async def generate_speech_stream(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        """Yield chunks as the provider sends them. Closing it ends the request."""
        segment = replace(segment, text=speakable(segment.text))
        if not segment.text.strip():
            return
        heard = _Heard(segment, self.settings.host)
        try:
            async with aclosing(self.chunks(segment)) as chunks:
                async for chunk in chunks:
                    heard.note(chunk)
                    if chunk.samples.size:
                        yield chunk
            heard.check()
        except UndecodableError as error:
            message = f"The audio of {self.settings.host} cannot be decoded: {error}."
            raise self._failed(Fault(BackendError(message))) from None
        except Fault as fault:
            raise self._failed(fault) from None
        self.provider.succeed()

    def _failed(self, fault: Fault) -> VoicedError:
        self.provider.note(fault)
        return fault.error

    async def chunks(self, segment: Segment) -> AsyncGenerator[PcmChunk, None]:
        """Ask for a segment, and decode it.

        Raises:
            Fault, UndecodableError: what comes is not what was asked for.
            VoicedError: the provider failed.
        """
        decoder = self.decoder(segment)
        async with aclosing(self.provider.audio(self.call(segment), segment)) as parts:
            async for part in parts:
                for at in range(0, len(part), _AT_ONCE_BYTES):
                    if at:
                        await asyncio.sleep(0)  # others, and what was decoded, go first
                    yield PcmChunk(decoder.push(part[at : at + _AT_ONCE_BYTES]))
        yield PcmChunk(decoder.flush())

    def decoder(self, segment: Segment) -> StreamingAudioDecoder:
        """Make a decoder for what comes."""
        audio_format, pcm_rate = self.audio_format()
        rate = segment.voice.sample_rate
        return StreamingAudioDecoder(audio_format, rate=rate, pcm_rate=pcm_rate)

    async def close(self) -> None:
        """Close every connection."""
        await self.provider.close()


class _Heard:
    """Whether what a provider sent can be the text: something, and not without an end."""

    def __init__(self, segment: Segment, host: str) -> None:
        self._host = host
        self._rate = segment.voice.sample_rate
        phonemes = count_phonemes(segment.text, 0, len(segment.text))
        self._longest_s = _LONGEST_S + phonemes / _SLOWEST / segment.speed
        self._samples = 0
        self._is_audible = False

    def note(self, chunk: PcmChunk) -> None:
        """Take a chunk.

        Raises:
            Fault: it is more than the text can have.
        """
        self._samples += chunk.samples.size
        if self._samples > self._longest_s * self._rate:
            raise Fault(BackendError(f"{self._host} sends more audio than the text can have."))
        if not self._is_audible and chunk.samples.size:
            self._is_audible = bool(np.abs(chunk.samples).max() > _SILENCE)

    def check(self) -> None:
        """Look at all of it.

        Raises:
            Fault: there was nothing to be heard.
        """
        if not self._is_audible:
            what = "nothing but silence" if self._samples else "no audio"
            raise Fault(BackendError(f"{self._host} sent {what}."))
