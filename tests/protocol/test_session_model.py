"""Random sequences of commands and deliveries, against the session and a model of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from bare_session import RATE, Client, frame, start
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from voiced.errors import BackendError
from voiced.protocol.actions import Action, Start, Stop
from voiced.protocol.messages import FrameFlag, parse_frame
from voiced.speech import SegmentEnd, SegmentStart, Word, Words

LIMIT = 4  # speeches at a time
IDLE_S = 60
STALLED_S = 30

MODES = st.sampled_from(["queue", "queue", "parallel", "replace"])
PRIORITIES = st.sampled_from(["normal", "normal", "high"])
WINDOWS = st.sampled_from([None, None, 200, 1000])
MARKS = st.sampled_from(["none", "segment", "word"])


@dataclass
class Modelled:
    """What must be true of one speech."""

    id: int
    mode: str
    priority: int
    window: int | None  # samples
    marks: str
    text: str
    is_growing: bool
    text_at: float
    is_started: bool = False
    is_finished: bool = False
    delivered: int = 0
    segments: int = 0
    played: int = 0
    sent: int = 0
    flushes: int = 0
    heard: list[str] = field(default_factory=list)  # kinds of events that came

    @property
    def is_blocked_for_good(self) -> bool:
        """Whether some of it cannot be sent before there is progress."""
        return self.window is not None and self.delivered > self.played + self.window


class SessionMachine(RuleBasedStateMachine):
    """Drives one session; the model is `self.open` and what each rule expects."""

    speeches = Bundle("speeches")

    def __init__(self) -> None:
        super().__init__()
        self.client = Client(max_speeches=LIMIT, idle_text_ms=IDLE_S * 1000, stalled_s=STALLED_S)
        self.last_id = 0
        self.open: dict[int, Modelled] = {}
        self.ended: dict[int, str] = {}
        self.pending: dict[int, str] = {}  # ends that are to come: early ones come at once
        self.results: dict[int, dict[str, Any]] = {}

    # ------------------------------------------------------------------------------ commands

    def command(self, kind: str, **fields: Any) -> tuple[int, list[Action]]:
        self.last_id += 1
        return self.last_id, self.client.send({"id": self.last_id, "type": kind, **fields})

    def listen(self) -> None:
        """Read everything that the session has to send."""
        for message in self.client.received():
            if isinstance(message, bytes):
                self.take_frame(message)
            else:
                self.take_text(json.loads(message))

    def take_frame(self, message: bytes) -> None:
        _, flags, _, speech_id, position, payload = parse_frame(message)
        speech = self.open[speech_id]
        assert position == speech.sent
        assert bool(flags & FrameFlag.FIRST) == (position == 0)
        speech.sent += len(payload) // 2
        speech.heard.append("frame")
        if speech.window is not None:
            assert speech.sent <= speech.played + speech.window
        assert speech.sent <= speech.delivered

    def take_text(self, message: dict[str, Any]) -> None:
        command = message["id"]
        if message["type"] == "result":
            assert command not in self.results, "a second result"
            self.results[command] = message
            return
        kind, data = message["event"]["type"], message["event"]["data"]
        speech = self.open[command]
        assert command in self.results, "an event before the result"
        assert not speech.heard or speech.heard[-1] != "speech-end"
        speech.heard.append(kind)
        if kind == "speech-end":
            assert data["samples"] == speech.sent
            assert data["reason"] == self.pending.pop(command, "complete")
            self.ended[command] = data["reason"]
            del self.open[command]

    def check_starts(self, actions: list[Action]) -> None:
        """Exactly those begin that need not wait for another one."""
        expected = []
        is_free = True
        for speech in sorted(self.open.values(), key=lambda speech: speech.priority):
            if not speech.is_started and (is_free or speech.mode == "parallel"):
                speech.is_started = True
                expected.append(speech.id)
            is_free = is_free and speech.is_finished and not speech.is_blocked_for_good
        assert [action.speech for action in actions if isinstance(action, Start)] == expected

    def end_early(self, speeches: list[Modelled], reason: str, actions: list[Action]) -> None:
        """The ends have come by now, and the engines are stopped."""
        running = [speech.id for speech in speeches if speech.is_started and not speech.is_finished]
        assert [action.speech for action in actions if isinstance(action, Stop)] == running
        self.pending |= {speech.id: reason for speech in speeches}
        self.listen()
        for speech in speeches:
            assert self.ended[speech.id] == reason

    # --------------------------------------------------------------------------------- rules

    @rule(
        target=speeches,
        is_whole=st.booleans(),
        mode=MODES,
        priority=PRIORITIES,
        window_ms=WINDOWS,
        marks=MARKS,
    )
    def speak(
        self, *, is_whole: bool, mode: str, priority: str, window_ms: int | None, marks: str
    ) -> int:
        self.listen()
        text = {"input": "One. Two."} if is_whole else {}
        command, actions = self.command(
            "speak" if is_whole else "speech/open",
            mode=mode,
            priority=priority,
            window_ms=window_ms,
            marks=marks,
            **text,
        )
        others = list(self.open.values())
        if mode != "replace" and len(others) >= LIMIT:
            self.listen()
            assert self.results[command]["error"]["code"] == "too_many_speeches"
            assert actions == []
            return command
        if mode == "replace":
            self.end_early(others, "replaced", actions)
        self.open[command] = Modelled(
            command,
            mode,
            0 if priority == "high" else 1,
            None if window_ms is None else window_ms * RATE // 1000,
            marks,
            text.get("input", ""),
            is_growing=not is_whole,
            text_at=self.client.time,
        )
        self.check_starts(actions)
        self.listen()
        assert self.results[command]["result"] == {"speech": command}
        return command

    @rule(speech=speeches, text=st.sampled_from(["", "a", "Hello, ", "👋🏽 ", "\ud83d", "x" * 100]))
    def push(self, speech: int, text: str) -> None:
        command, actions = self.command("speech/text", speech=speech, text=text)
        assert actions == []
        self.listen()
        modelled = self.open.get(speech)
        if modelled is None or not modelled.is_growing:
            assert self.results[command]["error"]["code"] == "speech_closed"
            return
        modelled.text += text
        modelled.text_at = self.client.time
        assert self.results[command]["result"] is None

    @rule(speech=speeches, kind=st.sampled_from(["speech/flush", "speech/end"]))
    def flush_or_end(self, speech: int, kind: str) -> None:
        command, _ = self.command(kind, speech=speech)
        self.listen()
        modelled = self.open.get(speech)
        if modelled is None or not modelled.is_growing:
            assert self.results[command]["error"]["code"] == "speech_closed"
        elif kind == "speech/flush":
            modelled.flushes += 1
            assert self.results[command]["result"] == {"flush": modelled.flushes}
        else:
            modelled.is_growing = False
            assert self.results[command]["result"] is None

    @rule(speech=speeches, played_ms=st.none() | st.integers(0, 4000))
    def cancel(self, speech: int, played_ms: int | None) -> None:
        fields = {} if played_ms is None else {"played_ms": played_ms}
        modelled = self.open.get(speech)
        command, actions = self.command("speech/cancel", speech=speech, **fields)
        if modelled is not None:  # even if its end waits to be read
            self.end_early([modelled], "cancelled", actions)
        self.listen()
        result = self.results[command]["result"]
        assert result["speech"] == speech
        assert result["state"] == ("inactive" if modelled is None else "cancelled")
        if modelled is not None and played_ms is not None:
            assert result["text_spoken"] + result["text_remaining"] == modelled.text
        self.check_starts(actions)

    @rule()
    def clear(self) -> None:
        self.listen()
        others = list(self.open.values())
        command, actions = self.command("clear")
        self.end_early(others, "cancelled", actions)
        assert self.results[command]["result"] == {"cancelled": [speech.id for speech in others]}

    @rule(speech=speeches, played_ms=st.integers(0, 4000))
    def progress(self, speech: int, played_ms: int) -> None:
        self.listen()
        modelled = self.open.get(speech)
        command, actions = self.command("speech/progress", speech=speech, played_ms=played_ms)
        if modelled is not None:
            played = min(played_ms * RATE // 1000, modelled.sent)
            modelled.played = max(modelled.played, played)
        self.check_starts(actions)
        self.listen()
        assert self.results[command]["result"] is None

    @rule(speech=speeches, frames=st.integers(1, 4))
    def deliver(self, speech: int, frames: int) -> None:
        """The engine gives a segment; of a speech that is over nobody wants it."""
        modelled = self.open.get(speech)
        if modelled is not None and (not modelled.is_started or modelled.is_finished):
            return
        if modelled is None:
            self.client.session.deliver(speech, frame(2400))
            return
        session, at = self.client.session, modelled.delivered
        if at == 0:
            session.deliver(speech, start())
        end = min(len(modelled.text), modelled.segments + 1)
        session.deliver(speech, SegmentStart(modelled.segments, end - 1, end, at))
        session.deliver(speech, Words((Word(end - 1, end, at),), is_estimated=False))
        for _ in range(frames):
            flags = {"first": modelled.delivered == 0}
            session.deliver(speech, frame(2400, modelled.delivered, **flags))
            modelled.delivered += 2400
        session.deliver(speech, SegmentEnd(modelled.segments, modelled.delivered))
        modelled.segments += 1

    @rule(speech=speeches, fails=st.booleans())
    def finish(self, speech: int, *, fails: bool) -> None:
        modelled = self.open.get(speech)
        if modelled is not None and not modelled.is_started:
            return
        actions = self.client.session.finish(speech, BackendError("It broke.") if fails else None)
        if modelled is None or modelled.is_finished:
            assert actions == []
            return
        modelled.is_finished = True
        modelled.is_growing = False
        if fails:
            self.pending[speech] = "failed"
        self.check_starts(actions)

    @rule(seconds=st.sampled_from([0.1, 5.0, 20.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.listen()
        self.client.time += seconds
        due = self.client.session.due_at()
        late = [
            speech
            for speech in self.open.values()
            if speech.is_growing and self.client.time >= speech.text_at + IDLE_S
        ]
        assert not late or (due is not None and due <= self.client.time)
        actions = self.client.session.wake()
        ends = {action.speech for action in actions if isinstance(action, Stop)}
        for speech in late:
            self.pending[speech.id] = "timeout"
        for speech in self.open.values():
            if speech.is_blocked_for_good and speech.id not in self.pending:
                self.pending[speech.id] = "stalled"  # if it ends now, then so
        before = set(self.open)
        self.listen()
        gone = before - set(self.open)
        assert {speech.id for speech in late} <= gone
        assert ends <= gone
        for speech in self.open.values():
            if self.pending.get(speech.id) == "stalled":
                del self.pending[speech.id]
        self.check_starts(actions)

    @rule(message=st.sampled_from(['{"id":null}', '{"id":1,"type":"ping"}', "[]", "[[]]", "5"]))
    def nonsense(self, message: str) -> None:
        if self.last_id < 1:
            return
        self.listen()
        assert self.client.receive(message) == []
        for text in self.client.texts():
            assert text["success"] is False

    # ---------------------------------------------------------------------------- invariants

    @invariant()
    def counts_agree(self) -> None:
        assert self.client.session.speaking == len(self.open)
        assert len(self.open) <= LIMIT

    def teardown(self) -> None:
        """In the end every command has its result, and every speech its one end."""
        actions = self.client.session.shut_down()
        self.pending |= {speech: "shutdown" for speech in self.open if speech not in self.pending}
        assert {a.speech for a in actions if isinstance(a, Stop)} <= set(self.open)
        for speech in self.open.values():
            if speech.is_finished:
                self.pending[speech.id] = "shutdown"
        self.listen()
        assert self.open == {}
        assert set(self.results) == set(range(1, self.last_id + 1))


TestSession = SessionMachine.TestCase
TestSession.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
