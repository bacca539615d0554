"""The speeches of one session: who waits for whom, what each has sent, how each ends.

    queued --> started --> finished --> gone        its speech-end is sent behind its audio
       |          |            |
       +----------+------------+------> gone        ended early: its speech-end overtakes its audio

Every speech that is opened gets exactly one `speech-end`. Without I/O, as all of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Literal

from voiced.errors import SpeechClosed, SpeechTimeout, TooManySpeeches, VoicedError
from voiced.protocol import messages
from voiced.protocol.actions import Start, Stop
from voiced.protocol.outbox import Outbox, Outgoing, Queue
from voiced.protocol.timeline import Timeline
from voiced.request import Plan
from voiced.speech import (
    AudioFrame,
    EndReason,
    Flushed,
    Notice,
    Priority,
    SegmentEnd,
    SegmentStart,
    SpeechEvent,
    SpeechStart,
    Words,
)

_ROOM_S = 0.4  # audio of one speech that may wait here to be sent,
_ROOM_ITEMS = 128  # and messages: events have no audio


@dataclass(frozen=True, slots=True)
class SpeechOrder:
    """What a session's command asks of a speech, beside the request."""

    mode: Literal["queue", "replace", "parallel"] = "queue"
    priority: Priority = Priority.NORMAL
    marks: Literal["none", "segment", "word"] = "none"
    window_ms: int | None = None


@dataclass(slots=True)
class Speech:
    """One speech of the session."""

    id: int
    plan: Plan
    order: SpeechOrder
    queue: Queue
    opened_at: float
    last_text_at: float
    timeline: Timeline
    is_started: bool = False
    is_finished: bool = False  # all of it is in the outbox
    samples: int = 0  # delivered
    played: int = 0  # samples that the client says it has played
    blocked_at: float | None = None  # since when the window holds back what waits
    first_audio_ms: int | None = None

    @property
    def is_sent(self) -> bool:
        """Whether all of it was sent."""
        return self.is_finished and not self.queue.waiting

    def samples_at(self, played_ms: float) -> int:
        """Return how many samples were played; more than was sent counts as all that was."""
        return int(min(played_ms * self.plan.sample_rate / 1000, self.queue.sent))

    def split(self, played_ms: float) -> dict[str, Any]:
        """Split its text so far at what was heard."""
        return self.timeline.split(self.samples_at(played_ms))


class Speeches:
    """All speeches that have not ended, by id, and the outbox that they share."""

    def __init__(
        self, *, limit: int, idle_text_s: float, stalled_s: float, now: Callable[[], float]
    ) -> None:
        """Allow `limit` speeches at a time; `now` is a clock in seconds.

        A speech may be open without text for `idle_text_s`, and have its window closed without
        progress for `stalled_s`; then it is due to end.
        """
        self._limit = limit
        self._idle_text_s = idle_text_s
        self._stalled_s = stalled_s
        self._now = now
        self._open: dict[int, Speech] = {}  # in the order of their ids
        self.outbox = Outbox()
        self.underruns = 0
        """How often a client had played all that it was sent, and more was to come."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def queued(self) -> int:
        """How many have not been started."""
        return sum(not speech.is_started for speech in self._open.values())

    def get(self, speech_id: int) -> Speech | None:
        """Return a speech that has not ended."""
        return self._open.get(speech_id)

    def ids(self) -> list[int]:
        """Return the ids of all that have not ended."""
        return list(self._open)

    def open(self, speech_id: int, plan: Plan, order: SpeechOrder) -> None:
        """Admit a speech; `start_next` says whether it may begin.

        Raises:
            TooManySpeeches: the limit is reached.
        """
        if len(self._open) >= self._limit:
            raise TooManySpeeches(
                f"A session has at most {self._limit} speeches; cancel one or wait for its end."
            )
        now = self._now()
        window = inf if order.window_ms is None else order.window_ms * plan.sample_rate // 1000
        self._open[speech_id] = Speech(
            speech_id,
            plan,
            order,
            queue=self.outbox.open(order.priority, limit=window),
            opened_at=now,
            last_text_at=now,
            timeline=Timeline(plan.text, sample_rate=plan.sample_rate, speed=plan.request.speed),
        )

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

    def progress(self, speech: Speech, played_ms: float) -> None:
        """Move the window of a speech to what its client has played, never back."""
        played = speech.samples_at(played_ms)
        if played <= speech.played:
            return
        if played == speech.queue.sent and speech.plan.text.is_ended and not speech.is_sent:
            self.underruns += 1
        speech.queue.limit += played - speech.played
        speech.played = played
        speech.blocked_at = None
        self._watch(speech)

    def due_at(self) -> float | None:
        """Return when `end_late` must be called next, unless something else happens before."""
        dues = [at for speech in self._open.values() for at, _ in self._dues(speech)]
        return min(dues, default=None)

    def end_late(self) -> list[Stop | Start]:
        """End the speeches that got no text, or no progress, for too long."""
        now = self._now()
        actions: list[Stop | Start] = []
        for speech in list(self._open.values()):
            late = [reason for at, reason in self._dues(speech) if now >= at]
            if late:
                actions += self.end_early([speech.id], late[0], self._late(late[0]))
        return [*actions, *self.start_next()]

    def _dues(self, speech: Speech) -> Iterator[tuple[float, EndReason]]:
        """Yield when a speech is to end early, unless its client does something."""
        if not speech.plan.text.is_ended:
            yield speech.last_text_at + self._idle_text_s, EndReason.TIMEOUT
        if speech.blocked_at is not None:
            yield speech.blocked_at + self._stalled_s, EndReason.STALLED

    def _late(self, reason: EndReason) -> SpeechTimeout:
        if reason is EndReason.STALLED:
            return SpeechTimeout(
                f"Its window was closed for {self._stalled_s:g} s; send speech/progress."
            )
        return SpeechTimeout(
            f"No text came for {self._idle_text_s:g} s; end a speech, or send empty text to keep "
            "it open."
        )

    def start_next(self) -> list[Start]:
        """Start what need not wait: for earlier ones, and normal ones for all of high priority."""
        started = []
        is_free = True
        for speech in sorted(self._open.values(), key=lambda speech: speech.order.priority):
            if not speech.is_started and (is_free or speech.order.mode == "parallel"):
                speech.is_started = True
                started.append(Start(speech.id, speech.plan, speech.order.priority))
            is_free = is_free and speech.is_finished and speech.queue.fits
        return started

    def end_early(
        self, speech_ids: list[int], reason: EndReason, error: VoicedError | None = None
    ) -> list[Stop]:
        """End speeches now. After its end nothing of a speech is sent: a cancel is a fence."""
        stopped = []
        for speech_id in speech_ids:
            speech = self._open.pop(speech_id)
            self.outbox.remove(speech.queue)
            end = _end(speech, reason, speech.queue.sent, error)
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
            case SegmentStart():
                speech.timeline.begin(event)
                self._put_event(speech, "segment", _segment(event))
            case Words():
                speech.timeline.add(event)
            case SegmentEnd():
                marks = speech.timeline.end(event, by_word=speech.order.marks == "word")
                if speech.order.marks != "none":
                    self._put_event(speech, "marks", marks)
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
        speech.plan.text.end()  # nobody reads any more of it
        reason = EndReason.FAILED if error else EndReason.COMPLETE
        # The end waits behind the audio, so by then all that was delivered is sent.
        data = _end(speech, reason, speech.samples, error)
        self._put_event(speech, "speech-end", data, is_end=True)
        return self.start_next()

    def pop(self) -> str | bytes | None:
        """Return the next message to send, in order, or None."""
        batch = self.outbox.pop()
        for message in batch:
            if message.speech is None or (speech := self._open.get(message.speech)) is None:
                continue
            if message.is_end:
                self.outbox.remove(speech.queue)
                del self._open[speech.id]
            else:
                self._watch(speech)
        return _joined([message.data for message in batch])

    def has_room(self, speech_id: int) -> bool:
        """Tell whether a speech may deliver more, or should wait for `pop`."""
        speech = self._open.get(speech_id)
        if speech is None:
            return True
        queue, rate = speech.queue, speech.plan.sample_rate
        return queue.waiting < _ROOM_S * rate and len(queue.items) < _ROOM_ITEMS

    def _deliver_audio(self, speech: Speech, frame: AudioFrame) -> None:
        if not frame.samples and not speech.samples:
            return  # nothing speakable: no frame, not even the header of a format
        if speech.first_audio_ms is None:
            speech.first_audio_ms = round((self._now() - speech.opened_at) * 1000)
        speech.samples += frame.samples
        for data, samples in messages.audio_frames(speech.id, frame, speech.plan.response_format):
            self._put(speech, Outgoing(data, samples, speech.id))

    def _put_event(
        self, speech: Speech, kind: str, data: dict[str, Any], *, is_end: bool = False
    ) -> None:
        text = messages.encode(messages.event(speech.id, kind, data))
        self._put(speech, Outgoing(text, 0, speech.id, is_end=is_end))

    def _put(self, speech: Speech, message: Outgoing) -> None:
        self.outbox.put(speech.queue, message)
        self._watch(speech)

    def _watch(self, speech: Speech) -> None:
        """Take down since when the window is closed."""
        if not speech.queue.is_blocked:
            speech.blocked_at = None
        elif speech.blocked_at is None:
            speech.blocked_at = self._now()


def _joined(texts: list[str | bytes]) -> str | bytes | None:
    """Join the texts of a batch to an array; one stays alone, and so do bytes."""
    if len(texts) <= 1:
        return texts[0] if texts else None
    return f"[{','.join(map(str, texts))}]"


def _segment(segment: SegmentStart) -> dict[str, Any]:
    return {
        "segment": segment.index,
        "text_start": segment.text_start,
        "text_end": segment.text_end,
        "position": segment.position,
    }


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
