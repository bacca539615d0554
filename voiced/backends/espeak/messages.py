"""What goes over the socket between the daemon and the espeak worker.

A request is a JSON object: `do` is `voices`, `phonemes` (with `voice` and `texts`) or `speak` (with
`voice`, `text`, `rate`, `pitch`, `word_gap`, `ssml`); `then` is the voice that is likely to be
wanted next. An empty message asks to stop speaking. To each request there are any number of
`AUDIO`, at most one `TOLD` or `FAILED`, and `ENDED` at last.
"""

from __future__ import annotations

import os
import select
import struct

_COUNT = struct.Struct("<H")
_LENGTH = struct.Struct("<I")


class Channel:
    """Sends and receives messages over the descriptor of a socket; its calls block.

    Not `multiprocessing.connection`: that takes 4 MB of a process that has 9 without it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def send(self, message: bytes) -> None:
        """Send a message.

        Raises:
            OSError: the other end is closed.
        """
        left = memoryview(_LENGTH.pack(len(message)) + message)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def receive(self, *, within_s: float | None = None) -> bytes:
        """Return the next message.

        Raises:
            EOFError: the other end is closed, or there was no message in time.
            OSError: it broke.
        """
        if within_s is not None and not self._poll.poll(within_s * 1000):
            raise EOFError
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return self._read(length)

    def has_more(self) -> bool:
        """Tell whether the other end has sent something, or has closed."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        """Close this end."""
        os.close(self._descriptor)

    def _read(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self._descriptor, count)
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Reply:
    """The first byte of a message to the daemon."""

    AUDIO = b"a"  # samples, and the words in them
    TOLD = b"t"  # JSON: the answer; without any, at the start: it is loaded
    FAILED = b"f"  # a sentence for a person
    ENDED = b"e"  # how the process ended that did it: 0, or minus the number of a signal


def audio(samples: bytes, words: list[int]) -> bytes:
    """Write 16-bit samples; of each word in them its character and its sample."""
    told = _COUNT.pack(len(words)) + struct.pack(f"<{len(words)}i", *words)
    return b"".join((Reply.AUDIO, told, samples))


def read_audio(message: bytes) -> tuple[bytes, list[int]]:
    """Read what `audio` has written."""
    (count,) = _COUNT.unpack_from(message, 1)
    words = list(struct.unpack_from(f"<{count}i", message, 1 + _COUNT.size))
    return message[1 + _COUNT.size + 4 * count :], words
