"""What a session still has to send, in order: a lane for control, one for audio.

Control goes first. The audio lane holds frames and the events between them, in the order in which
they came; the few speeches that a session has share it. Ending a speech early takes its items
out, which makes a cancel a fence: what was not sent never will be.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A WebSocket message, and what it means for its speech once it is sent."""

    data: str | bytes
    speech: int | None = None
    samples: int = 0
    is_end: bool = False


class Outbox:
    """Two queues, and how many samples wait in them for each speech."""

    def __init__(self) -> None:
        self._control: deque[Outgoing] = deque()
        self._audio: deque[Outgoing] = deque()
        self._waiting: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._control) + len(self._audio)

    @property
    def control_backlog(self) -> int:
        """How many control messages wait: a client that sends and never reads makes them grow."""
        return len(self._control)

    def put_control(self, text: str) -> None:
        """Queue an answer, or an end that overtakes audio."""
        self._control.append(Outgoing(text))

    def put_audio(self, message: Outgoing) -> None:
        """Queue a frame, or an event that keeps its place among frames."""
        assert message.speech is not None
        self._audio.append(message)
        self._waiting[message.speech] = self._waiting.get(message.speech, 0) + message.samples

    def waiting_samples(self, speech: int) -> int:
        """Return how much audio of a speech waits."""
        return self._waiting.get(speech, 0)

    def drop(self, speech: int) -> None:
        """Take out all that waits in the audio lane for a speech."""
        self._audio = deque(item for item in self._audio if item.speech != speech)
        self._waiting.pop(speech, None)

    def pop(self) -> Outgoing | None:
        """Take the next message to send."""
        if self._control:
            return self._control.popleft()
        if not self._audio:
            return None
        message = self._audio.popleft()
        assert message.speech is not None
        if message.is_end:
            del self._waiting[message.speech]
        else:
            self._waiting[message.speech] -= message.samples
        return message
