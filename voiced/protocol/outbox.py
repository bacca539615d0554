"""What a session still has to send, in a queue for control and one for each speech.

Control goes first, then the queue of the higher priority, then what came first. Within a queue
nothing overtakes. A speech's queue may have a window: no frame goes that would make the sent
samples more than `limit`. Removing a queue makes a cancel a fence: what was not sent never will be.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count
from math import inf

_CONTROL = -1  # goes before every priority of a speech
_BATCH_CHARACTERS = 32768  # of texts joined to one message; a longer one goes alone


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A WebSocket message, and what it means for its speech once it is sent."""

    data: str | bytes
    samples: int = 0
    speech: int | None = None
    is_end: bool = False  # of the speech


@dataclass(eq=False, slots=True)
class Queue:
    """Messages that keep their order."""

    priority: int
    limit: float = inf  # samples that may be sent in all
    sent: int = 0  # samples
    waiting: int = 0  # samples
    items: deque[tuple[int, Outgoing]] = field(default_factory=deque)

    @property
    def is_blocked(self) -> bool:
        """Whether something waits that does not fit into the window."""
        return bool(self.items) and self.sent + self.items[0][1].samples > self.limit

    @property
    def fits(self) -> bool:
        """Whether all that waits fits into the window."""
        return self.sent + self.waiting <= self.limit


class Outbox:
    """All queues of a session. `may_batch` lets texts be joined to an array."""

    def __init__(self) -> None:
        self.may_batch = False
        self._order = count()
        self._control = Queue(_CONTROL)
        self._queues = [self._control]

    @property
    def control_backlog(self) -> int:
        """How many control messages wait: a client that sends and never reads makes them grow."""
        return len(self._control.items)

    def open(self, priority: int, *, limit: float = inf) -> Queue:
        """Make a queue."""
        queue = Queue(priority, limit)
        self._queues.append(queue)
        return queue

    def remove(self, queue: Queue) -> None:
        """Drop a queue with all that waits in it."""
        self._queues.remove(queue)

    def put_control(self, text: str) -> None:
        """Queue an answer, or an end that overtakes audio."""
        self.put(self._control, Outgoing(text))

    def put(self, queue: Queue, message: Outgoing) -> None:
        """Queue a frame, or an event that keeps its place among frames."""
        queue.items.append((next(self._order), message))
        queue.waiting += message.samples

    def pop(self) -> list[Outgoing]:
        """Take the next message to send, or several texts that may go as one, or nothing."""
        taken: list[Outgoing] = []
        size = 0
        while queue := self._next():
            _, message = queue.items[0]
            size += len(message.data)
            if taken and (isinstance(message.data, bytes) or size > _BATCH_CHARACTERS):
                break
            taken.append(self._take(queue))
            if isinstance(message.data, bytes) or not self.may_batch:
                break
        return taken

    def _next(self) -> Queue | None:
        """Return the queue whose turn it is."""
        ready = [queue for queue in self._queues if queue.items and not queue.is_blocked]
        return min(ready, key=lambda queue: (queue.priority, queue.items[0][0]), default=None)

    def _take(self, queue: Queue) -> Outgoing:
        _, message = queue.items.popleft()
        queue.waiting -= message.samples
        queue.sent += message.samples
        return message
