"""The speeches of one session: who waits for whom, what each has sent, how each ends.

    queued --> started --> finished --> gone        its speech-end is sent behind its audio
       |          |            |
       +----------+------------+------> gone        ended early: its speech-end overtakes its audio

Every speech that is opened gets exactly one `speech-end`. Without I/O, as all of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from voiced.errors import SpeechClosed, TooManySpeeches, VoicedError
from voiced.protocol import messages
from voiced.protocol.outbox import Outbox, Outgoing
from voiced.request import Plan
from voiced.speech import (
    AudioFrame,
    EndReason,
    Flushed,
    Notice,
    Priority,
    SegmentStart,
    SpeechEvent,
    SpeechStart,
)

_CHARACTERS_PER_S = 15  # of English at normal speed
_ROOM_S = 0.4  # audio of one speech that may wait here to be sent


@dataclass(frozen=True, slots=True)
class Start:
    """Action: begin to speak; feed `deliver`, then `finish` once."""

    speech: int
    plan: Plan
    priority: Priority


@dataclass(frozen=True, slots=True)
class Stop:
    """Action: stop the engine of a speech that was started; its `finish` is not wanted."""

    speech: int


@dataclass(slots=True)
class Speech:
    """One speech of the session."""

    id: int
    plan: Plan
    is_parallel: bool
    priority: Priority
    opened_at: float
    last_text_at: float
    is_started: bool = False
    is_finished: bool = False  # all of it is in the outbox
    samples: int = 0  # delivered
    sent: int = 0  # samples
    first_audio_ms: int | None = None
    segments: list[SegmentStart] = field(default_factory=list)

    def heard(self, played_ms: float) -> dict[str, Any]:
        """Split the text at what was heard, by the segments' positions: an estimate."""
        text = self.plan.text.read(0, len(self.plan.text))
        played = min(played_ms * self.plan.sample_rate / 1000, self.sent)
        cut = 0
        following = [*(segment.position for segment in self.segments[1:]), self._last_end()]
        for segment, end in zip(self.segments, following, strict=False):
            if played >= end:
                cut = segment.text_end
            elif played > segment.position:
                share = (played - segment.position) / (end - segment.position)
                cut = segment.text_start + int(share * (segment.text_end - segment.text_start))
        return {"text_spoken": text[:cut], "text_remaining": text[cut:], "exact": False}

    def _last_end(self) -> float:
        """Return where the last segment ends, or will end as far as its text tells."""
        if self.is_finished or not self.segments:
            return self.samples
        last = self.segments[-1]
        seconds = (last.text_end - last.text_start) / _CHARACTERS_PER_S / self.plan.request.speed
        return max(self.samples, last.position + seconds * self.plan.sample_rate)


class Speeches:
    """All speeches that have not ended, by id, and the outbox that they share."""

    def __init__(self, *, limit: int, now: Callable[[], float]) -> None:
        """Allow `limit` speeches at a time; `now` is a clock in seconds."""
        self._limit = limit
        self._now = now
        self._open: dict[int, Speech] = {}  # in the order of their ids
        self.outbox = Outbox()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, speech_id: int) -> Speech | None:
        """Return a speech that has not ended."""
        return self._open.get(speech_id)

    def ids(self) -> list[int]:
        """Return the ids of all that have not ended."""
        return list(self._open)

    def open(self, speech_id: int, plan: Plan, *, is_parallel: bool, priority: Priority) -> None:
        """Admit a speech; `start_next` says whether it may begin.

        Raises:
            TooManySpeeches: the limit is reached.
        """
        if len(self._open) >= self._limit:
            raise TooManySpeeches(
                f"A session has at most {self._limit} speeches; cancel one or wait for its end."
            )
        now = self._now()
        self._open[speech_id] = Speech(speech_id, plan, is_parallel, priority, now, now)

    def growing(self, speech_id: int) -> Speech:
        """Return a speech whose text may still grow.

        Raises:
            SpeechClosed: there is none, or its text has ended.
        """
        speech = self._open.get(speech_id)
        if speech is None or speech.plan.text.is_ended:
            raise SpeechClosed(
                f"The speech {speech_id} takes no text: it has ended, or never was open.",
                param="speech",
            )
        return speech

    def append(self, speech: Speech, text: str) -> None:
        """Let the text of a speech grow."""
        speech.last_text_at = self._now()
        speech.plan.text.append(text, at=speech.last_text_at)

    def text_due_at(self, idle_s: float) -> dict[int, float]:
        """Return when text must come at last, for each speech whose text has not ended."""
        return {
            speech.id: speech.last_text_at + idle_s
            for speech in self._open.values()
            if not speech.plan.text.is_ended
        }

    def start_next(self) -> list[Start]:
        """Start what need not wait: a parallel speech, or one with all earlier ones finished."""
        started = []
        is_free = True
        for speech in self._open.values():
            if not speech.is_started and (is_free or speech.is_parallel):
                speech.is_started = True
                started.append(Start(speech.id, speech.plan, speech.priority))
            is_free = is_free and speech.is_finished
        return started

    def end_early(
        self, speech_ids: list[int], reason: EndReason, error: VoicedError | None = None
    ) -> list[Stop]:
        """End speeches now. After its end nothing of a speech is sent: a cancel is a fence."""
        stopped = []
        for speech_id in speech_ids:
            speech = self._open.pop(speech_id)
            self.outbox.drop(speech_id)
            end = _end(speech, reason, speech.sent, error)
            message = messages.event(speech_id, "speech-end", end)
            self.outbox.put_control(messages.encode(message))
            if speech.is_started and not speech.is_finished:
                stopped.append(Stop(speech_id))
        return stopped

    def deliver(self, speech_id: int, event: SpeechEvent) -> None:
        """Take what a started speech gives; what comes after its end is ignored."""
        speech = self._open.get(speech_id)
        if speech is None:
            return
        match event:
            case AudioFrame():
                self._deliver_audio(speech, event)
            case SpeechStart():
                self._put_event(speech, "speech-start", asdict(event) | {"channels": 1})
            case SegmentStart(index, text_start, text_end, position):
                speech.segments.append(event)
                data = {
                    "segment": index,
                    "text_start": text_start,
                    "text_end": text_end,
                    "position": position,
                }
                self._put_event(speech, "segment", data)
            case Notice():
                self._put_event(speech, "notice", asdict(event))
            case Flushed(number, position):
                self._put_event(speech, "flushed", {"flush": number, "position": position})

    def finish(self, speech_id: int, error: VoicedError | None) -> list[Start]:
        """Take the end of a started speech: complete, or failed with `error`."""
        speech = self._open.get(speech_id)
        if speech is None or speech.is_finished:
            return []
        speech.is_finished = True
        reason = EndReason.FAILED if error else EndReason.COMPLETE
        # The end waits behind the audio, so by then all that was delivered is sent.
        data = _end(speech, reason, speech.samples, error)
        self._put_event(speech, "speech-end", data, is_end=True)
        return self.start_next()

    def pop(self) -> str | bytes | None:
        """Return the next message to send, in order, or None."""
        message = self.outbox.pop()
        if message is None:
            return None
        if message.speech is not None and (speech := self._open.get(message.speech)):
            speech.sent += message.samples
            if message.is_end:
                del self._open[message.speech]
        return message.data

    def has_room(self, speech_id: int) -> bool:
        """Tell whether a speech may deliver more, or should wait for `pop`."""
        speech = self._open.get(speech_id)
        if speech is None:
            return True
        return self.outbox.waiting_samples(speech_id) < _ROOM_S * speech.plan.sample_rate

    def _deliver_audio(self, speech: Speech, frame: AudioFrame) -> None:
        if not frame.samples and not speech.samples:
            return  # nothing speakable: no frame, not even the header of a format
        if speech.first_audio_ms is None:
            speech.first_audio_ms = round((self._now() - speech.opened_at) * 1000)
        speech.samples += frame.samples
        for data, samples in messages.audio_frames(speech.id, frame, speech.plan.response_format):
            self.outbox.put_audio(Outgoing(data, speech.id, samples))

    def _put_event(
        self, speech: Speech, kind: str, data: dict[str, Any], *, is_end: bool = False
    ) -> None:
        text = messages.encode(messages.event(speech.id, kind, data))
        self.outbox.put_audio(Outgoing(text, speech.id, is_end=is_end))


def _end(
    speech: Speech, reason: EndReason, samples: int, error: VoicedError | None
) -> dict[str, Any]:
    data = {
        "reason": reason,
        "audio_ms": round(samples * 1000 / speech.plan.sample_rate),
        "samples": samples,
        "first_audio_ms": speech.first_audio_ms,
    }
    return data if error is None else data | {"error": error.as_dict()}
