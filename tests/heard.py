"""What comes of one speech, checked against the wire contract as it comes.

Written from the contract alone, without a line of voiced. What breaks a promise raises
AssertionError; what a client does not know, it ignores.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEADER = struct.Struct(">BBHIQ")
AUDIO = 1
FIRST, LAST, FIRST_OF_SEGMENT = 1, 2, 4
LARGEST_PAYLOAD = 8192
LARGEST_ID = 2**32 - 1
REASONS = frozenset("complete cancelled replaced failed timeout stalled shutdown".split())
CODES = frozenset(
    "invalid_format id_reuse unknown_command unauthorized not_supported invalid_request "
    "model_not_found voice_not_found invalid_option text_too_long format_not_supported "
    "language_not_supported too_many_speeches speech_closed rate_limited overloaded "
    "backend_unavailable backend_error upstream_auth upstream_quota timeout shutting_down "
    "internal_error".split()
)


@dataclass(frozen=True, slots=True)
class Frame:
    """A binary frame."""

    kind: int
    flags: int
    segment: int
    speech: int
    position: int
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> Frame:
        assert len(data) >= HEADER.size, f"a frame of {len(data)} bytes"
        kind, flags, segment, speech, position = HEADER.unpack_from(data)
        return cls(kind, flags, segment, speech, position, data[HEADER.size :])


Message = dict[str, Any] | Frame


def code_units(text: str) -> bytes:
    """Return text so that two halves of a surrogate pair equal their character, as in JSON."""
    return text.encode("utf-16-le", "surrogatepass")


def integer(data: Mapping[str, Any], name: str) -> int:
    value = data[name]
    assert type(value) is int, f"{name} is no integer: {data}"
    assert value >= 0, f"{name} is negative: {data}"
    return value


def is_number(value: object) -> bool:
    return type(value) in (int, float)


def check_error(error: object) -> None:
    assert isinstance(error, dict), error
    assert error["code"] in CODES, error
    assert isinstance(error["message"], str), error
    assert type(error["retryable"]) is bool, error
    assert isinstance(error.get("param"), str | None), error


@dataclass(slots=True)
class Speech:
    """One speech: what was asked for, and all that came of it, in the order in which it came."""

    id: int
    asked: Mapping[str, Any]
    default_rate: int
    given: dict[int, str]  # its text, by the id of the command that gave it
    is_accepted: bool = False
    is_refused: bool = False
    played_ms: float = 0  # the most that was ever told
    order: list[str] = field(default_factory=list)
    start: dict[str, Any] | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)
    flushed: list[dict[str, Any]] = field(default_factory=list)
    flushes: list[int] = field(default_factory=list)  # the numbers that results told
    end: dict[str, Any] | None = None
    samples: int = 0  # that came, where the format is pcm

    @property
    def text(self) -> str:
        return "".join(self.given.values())

    @property
    def audio(self) -> bytes:
        return b"".join(frame.payload for frame in self.frames)

    @property
    def reason(self) -> str | None:
        return None if self.end is None else str(self.end["reason"])

    @property
    def response_format(self) -> str:
        return str(self.asked.get("response_format", "pcm"))

    @property
    def is_pcm(self) -> bool:
        return self.response_format == "pcm"

    @property
    def rate(self) -> int:
        assert self.start is not None
        rate: int = self.start["sample_rate"]
        return rate

    @property
    def has_marks(self) -> bool:
        return str(self.asked.get("marks", "none")) != "none"

    @property
    def is_queued(self) -> bool:
        return str(self.asked.get("mode", "queue")) == "queue"

    @property
    def ranges(self) -> list[tuple[int, int, int]]:
        """Text range and position of each segment."""
        return [(s["text_start"], s["text_end"], s["position"]) for s in self.segments]

    @property
    def spoken(self) -> list[str]:
        """The text of each segment."""
        text = self.text
        return [text[segment["text_start"] : segment["text_end"]] for segment in self.segments]

    @property
    def covered(self) -> set[int]:
        """The places of the text that lie in a segment."""
        return {place for start, end, _ in self.ranges for place in range(start, end)}

    def text_before(self, command: int) -> str:
        """Return the text that was given when a command came."""
        return "".join(text for by, text in self.given.items() if by < command)

    # ---------------------------------------------------------------------------- what comes

    def take_event(self, kind: str, data: dict[str, Any]) -> None:
        assert self.end is None, f"a {kind} after the end of speech {self.id}"
        match kind:
            case "speech-start":
                self._take_start(data)
            case "segment":
                self._take_segment(data)
            case "marks":
                self._take_marks(data)
            case "notice":
                assert isinstance(data["code"], str), data
                self.notices.append(data)
                kind = f"notice {data['code']}"
            case "flushed":
                self._take_flushed(data)
            case "speech-end":
                self._take_end(data)
            case _:
                return
        self.order.append(kind)

    def take_frame(self, frame: Frame) -> None:
        assert self.end is None, f"a frame after the end of speech {self.id}"
        assert self.segments, "a frame before its segment"
        previous = self.frames[-1] if self.frames else None
        assert frame.kind == AUDIO
        assert frame.segment == len(self.segments) - 1, f"a frame of segment {frame.segment}"
        assert bool(frame.flags & FIRST) == (previous is None), "the first flag"
        assert previous is None or not previous.flags & LAST, "a frame after the last one"
        is_new = previous is None or previous.segment != frame.segment
        assert bool(frame.flags & FIRST_OF_SEGMENT) == is_new, "the flag of a segment's first"
        assert len(frame.payload) <= LARGEST_PAYLOAD
        assert frame.payload or frame.flags & LAST, "an empty frame which is not the last"
        if self.marks and self.marks[-1]["segment"] == frame.segment:
            # An open speech learns only later which segment was its last.
            assert frame.flags & LAST, "audio after its segment's marks"
            assert not (self.is_pcm and frame.payload), "audio after its segment's marks"
        if self.is_pcm:
            assert len(frame.payload) % 2 == 0, "half a sample"
            assert frame.position == self.samples, "a gap or an overlap"
            self.samples += len(frame.payload) // 2
            self._check_window(self.samples)
        else:
            assert frame.position >= (previous.position if previous else 0)
            self._check_window(frame.position)
        self.frames.append(frame)
        self.order.append(f"frame {frame.segment}")

    def _check_window(self, sent: int) -> None:
        if (window_ms := self.asked.get("window_ms")) is not None:
            # A hair for the float of played_ms, far below one sample's 1000.
            allowed = (self.played_ms + window_ms) * self.rate + 1
            assert sent * 1000 <= allowed, f"{sent} samples were sent, {allowed / 1000} allowed"

    def _take_start(self, data: dict[str, Any]) -> None:
        assert self.start is None, "a second speech-start"
        for name in ("model", "backend", "voice"):
            assert isinstance(data[name], str), data
        assert data["response_format"] == self.response_format, data
        assert data["channels"] == 1, data
        assert integer(data, "sample_rate") > 0
        if self.is_pcm:
            assert data["sample_rate"] == self.asked.get("sample_rate", self.default_rate), data
        self.start = data

    def _take_segment(self, data: dict[str, Any]) -> None:
        assert self.start is not None, "a segment before speech-start"
        assert not (self.frames and self.frames[-1].flags & LAST), "a segment after the last frame"
        assert integer(data, "segment") == len(self.segments), data
        start, end = integer(data, "text_start"), integer(data, "text_end")
        position = integer(data, "position")
        previous = self.segments[-1] if self.segments else {"text_end": 0, "position": 0}
        text = self.text
        assert previous["text_end"] <= start < end <= len(text), (data, len(text))
        assert not text[start].isspace(), f"white space at the start: {data}"
        assert not text[end - 1].isspace(), f"white space at the end: {data}"
        assert previous["position"] <= position, data
        if self.is_pcm:  # a pause belongs to the segment after it, so there is nothing between
            assert position == self.samples, (data, self.samples)
        if self.has_marks and self.segments:
            assert len(self.marks) == len(self.segments), f"no marks before {data}"
        self.segments.append(data)

    def _take_marks(self, data: dict[str, Any]) -> None:
        assert self.has_marks, "marks that were not asked for"
        segment = integer(data, "segment")
        assert segment == len(self.segments) - 1, "marks of another segment than the current one"
        assert len(self.marks) == segment, "marks twice, or a segment without"
        assert type(data["estimated"]) is bool, data
        within = self.segments[segment]
        before = [mark for marks in self.marks for mark in marks["marks"]][-1:]
        previous = before[0] if before else [0, 0, 0, 0]
        for mark in data["marks"]:
            text_start, text_end, start_ms, end_ms = mark
            assert type(text_start) is type(text_end) is int, data
            assert is_number(start_ms), data
            assert is_number(end_ms), data
            assert within["text_start"] <= text_start < text_end <= within["text_end"], data
            assert 0 <= start_ms <= end_ms, data
            assert all(a <= b for a, b in zip(previous, mark, strict=True)), (previous, data)
            if self.is_pcm:
                assert end_ms <= self.samples * 1000 / self.rate + 1, data
            previous = mark
        self.marks.append(data)

    def _take_flushed(self, data: dict[str, Any]) -> None:
        flush, position = integer(data, "flush"), integer(data, "position")
        previous = self.flushed[-1] if self.flushed else {"flush": -1, "position": 0}
        assert previous["flush"] < flush, data
        assert previous["position"] <= position, data
        if self.is_pcm:
            assert position <= self.samples, "flushed before its last sample"
        self.flushed.append(data)

    def _take_end(self, data: dict[str, Any]) -> None:
        assert data["reason"] in REASONS, data
        samples = integer(data, "samples")
        assert is_number(data["audio_ms"]), data
        first = data["first_audio_ms"]
        assert first is None or (is_number(first) and first >= 0), data
        if data.get("error") is not None:
            check_error(data["error"])
        if self.start is None:
            assert (samples, data["audio_ms"]) == (0, 0), data
        else:
            assert abs(data["audio_ms"] - samples * 1000 / self.rate) <= 1, data
        if self.is_pcm:
            assert samples == self.samples, (data, self.samples)
            assert first is not None or not samples, data
        self.end = data
        if data["reason"] == "complete":
            self._check_complete(samples, data["audio_ms"])

    def _check_complete(self, samples: int, audio_ms: float) -> None:
        assert self.start is not None, "complete before it began"
        assert not self.frames or self.frames[-1].flags & LAST, "no last flag"
        if not self.segments:
            assert not samples
            assert "notice no_speakable_text" in self.order, self.order
            assert self.order.index("speech-start") < self.order.index("notice no_speakable_text")
        if self.has_marks:
            assert len(self.marks) == len(self.segments), "a segment without marks"
            ends = [mark[3] for marks in self.marks for mark in marks["marks"]]
            assert max(ends, default=0) <= audio_ms + 1
        if self.frames:
            assert self.frames[-1].position <= samples
        assert set(self.flushes) <= {data["flush"] for data in self.flushed}, "a flush got lost"
