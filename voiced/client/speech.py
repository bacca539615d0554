"""A speech as a client sees it: audio to be iterated, and what was told about it."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from voiced.client.errors import AnswerError, ClientError
from voiced.errors import VoicedError

_WAITING = 4096  # frames of a speech, of 8 KiB at most, that wait for its consumer
_WHOLE = ("complete", "cancelled", "replaced")  # reasons that are no trouble
_BYTES_A_CHARACTER = 6  # of JSON at most: `\ud800`
_ENVELOPE_BYTES = 200

Command = Callable[..., Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a speech ended."""

    reason: str
    samples: int
    audio_ms: int
    first_audio_ms: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """A word, or a segment, and when it is heard."""

    text_start: int  # code points, into all the text of the speech
    text_end: int
    start_ms: int  # from the first sample of the speech
    end_ms: int
    is_estimated: bool = field(kw_only=True)


class Speech:
    """A speech as it arrives: iterate it for its audio, once.

    What is not consumed waits here, up to 11 minutes of pcm; beyond, the session waits.
    """

    def __init__(self, speech_id: int, command: Command) -> None:
        self.id = speech_id
        self.start: dict[str, Any] = {}  # the data of `speech-start`, known from the first audio
        self.segments: list[dict[str, Any]] = []
        self.marks: list[Mark] = []
        self.notices: list[dict[str, Any]] = []
        self.flushed: dict[int, int] = {}  # by the number of the flush, up to which sample
        self.ended: Ended | None = None
        self._command = command
        self._arrived: asyncio.Queue[bytes | VoicedError | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_WAITING)
        self._is_wanted = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield audio until the speech ends.

        Raises:
            AnswerError: the speech failed, or timed out.
            ClientError: the connection was lost, or the daemon ended the speech early.
        """
        while (item := await self._arrived.get()) is not None:
            if isinstance(item, VoicedError):
                raise item
            self._room.release()
            yield item

    async def cancel(self, *, played_ms: float | None = None) -> dict[str, Any]:
        """Stop the speech; after this nothing of it arrives. Ending twice does no harm.

        With `played_ms`, what was heard of it, the answer splits the text there.
        """
        self.drop()
        fields = {} if played_ms is None else {"played_ms": played_ms}
        try:
            answer: dict[str, Any] = await self._command("speech/cancel", speech=self.id, **fields)
        finally:
            self._arrived.put_nowait(None)  # whoever iterates comes to an end
        return answer

    async def played(self, played_ms: float) -> None:
        """Say what was played so far, to move the window of a speech with `window_ms`."""
        await self._command("speech/progress", speech=self.id, played_ms=played_ms)

    def mark_at(self, played_ms: float) -> Mark | None:
        """Return what is heard at a time, as far as marks were asked for and have come."""
        index = bisect_right(self.marks, played_ms, key=lambda mark: mark.start_ms) - 1
        if index < 0 or played_ms >= self.marks[index].end_ms:
            return None
        return self.marks[index]

    # --------------------------------------------------------------- for the link that it is on

    def drop(self) -> None:
        """Want no more of it, also not what waits."""
        self._is_wanted = False
        while not self._arrived.empty():
            self._arrived.get_nowait()
        self._room.release()  # for who waits in `take_audio`

    async def take_audio(self, payload: bytes) -> None:
        """Take a frame's payload, when there is room."""
        if self._is_wanted and payload:
            await self._room.acquire()
            if self._is_wanted:
                self._arrived.put_nowait(payload)

    def take_event(self, kind: str, data: dict[str, Any]) -> None:
        """Take an event; one that is not known is left alone."""
        if kind == "speech-start":
            self.start = data
        elif kind == "segment":
            self.segments.append(data)
        elif kind == "marks":
            self.marks += (Mark(*mark, is_estimated=data["estimated"]) for mark in data["marks"])
        elif kind == "notice":
            self.notices.append(data)
        elif kind == "flushed":
            self.flushed[data["flush"]] = data["position"]
        elif kind == "speech-end":
            self.ended = Ended(
                data["reason"], data["samples"], data["audio_ms"], data["first_audio_ms"]
            )
            self.close(_trouble(data))

    def close(self, error: VoicedError | None) -> None:
        """Let the consumer come to an end."""
        self._arrived.put_nowait(error)


class OpenSpeech(Speech):
    """A speech whose text comes piece by piece: `say` it, and `end` it, while you iterate."""

    def __init__(self, speech_id: int, command: Command, *, limits: dict[str, Any]) -> None:
        super().__init__(speech_id, command)
        longest = (limits["max_message_bytes"] - _ENVELOPE_BYTES) // _BYTES_A_CHARACTER
        self._longest = min(longest, limits["max_input_chars"])

    async def say(self, text: str) -> None:
        """Add to the text, of any length; white space counts. Empty text keeps the speech open.

        Raises:
            AnswerError: the speech has ended, or has as much text as the daemon takes.
        """
        for at in range(0, max(1, len(text)), self._longest):
            part = text[at : at + self._longest]
            await self._command("speech/text", speech=self.id, text=part)

    async def flush(self) -> int:
        """Let all text so far be spoken as it stands; return the number to find in `flushed`."""
        answer = await self._command("speech/flush", speech=self.id)
        return int(answer["flush"])

    async def end(self) -> None:
        """Say that no more text comes; the speech ends when all of it was spoken."""
        await self._command("speech/end", speech=self.id)


def _trouble(end: dict[str, Any]) -> VoicedError | None:
    """Return what a consumer must hear of a speech's end: its audio is not whole."""
    if end.get("error"):
        return AnswerError(end["error"])
    if end["reason"] in _WHOLE:
        return None
    return ClientError(f"The daemon ended the speech early ({end['reason']}).")
