"""`Script`: what is to be spoken of a text, piece by piece, while the text still grows."""

from __future__ import annotations

import asyncio
from typing import Protocol

from voiced.synthesis.segmenter import Piece
from voiced.text import SpeechText

_STEP = 1024  # code points looked at in one go: a book costs no more at once than a page


class Cutter(Protocol):
    """What cuts a growing text into pieces: a `Segmenter`, or `Uncut`."""

    def push(self, text: str) -> None:
        """Take more text."""
        ...

    def flush(self) -> None:
        """Let all text so far be spoken as it stands."""
        ...

    def next_piece(self) -> Piece | None:
        """Return the next piece that is decided."""
        ...

    def waiting_from(self) -> int | None:
        """Return where the text begins that is in no piece yet; None where there is none."""
        ...


class Script:
    """Reads a `SpeechText` for one speaker, at the pace at which it is spoken.

    While no delay expires, the pieces depend on the text and its flushes alone, never on when or
    in what parts the text came.
    """

    def __init__(self, text: SpeechText, cutter: Cutter) -> None:
        self._text = text
        self._cutter = cutter
        self._read = 0  # code points that the cutter has
        self._flushed: int | None = None  # up to where it may speak them all
        self._changed = asyncio.Event()
        text.on_change = self._changed.set

    @property
    def is_ended(self) -> bool:
        """Whether all of the text has come."""
        return self._text.is_ended

    async def next(self) -> Piece | int | None:
        """Return the next piece; or the number of a flush, all text before which was returned.

        Waits for text, and for none longer than its delay; returns None at its end.
        """
        while True:
            if piece := self._cutter.next_piece():
                return piece
            if self._flushed == self._read:
                if self._text.next_flush == self._read:
                    return self._text.take_flush()
                if self._text.is_ended and self._read == len(self._text):
                    return None
            if not self._go_on():
                await self._wait()

    def _go_on(self) -> bool:
        """Give the cutter more; tell whether there was anything to give."""
        flush = self._text.next_flush
        limit = len(self._text) if flush is None else flush
        if self._read < limit:
            end = min(limit, self._read + _STEP)
            self._cutter.push(self._text.read(self._read, end))
            self._read = end
        elif flush is not None or self._text.is_ended:
            self._flush()
        else:
            return False
        return True

    def _flush(self) -> None:
        self._cutter.flush()
        self._flushed = self._read

    async def _wait(self) -> None:
        """Wait for a change; flush what has waited too long."""
        self._changed.clear()
        waiting_from = self._cutter.waiting_from()
        overdue_at = None if waiting_from is None else self._text.overdue_at(waiting_from)
        try:
            async with asyncio.timeout_at(overdue_at):
                await self._changed.wait()
        except TimeoutError:
            self._flush()
