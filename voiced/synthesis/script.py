"""`Script`: what is to be spoken of a text, passage by passage, while the text still grows."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from voiced.reading.aloud import Change, apply_changes
from voiced.reading.reader import Reader
from voiced.reading.transcript import Reading
from voiced.synthesis.segmenter import Piece
from voiced.text import SpeechText

_STEP = 1024  # code points looked at in one go: a book costs no more at once than a page


@dataclass(frozen=True, slots=True)
class Passage:
    """Text for one segment as it is said, and where all of it stands in the text of the speech."""

    text: str
    starts: array[int]  # for each code point, in code points of the text of the speech
    ends: array[int]

    @property
    def start(self) -> int:
        """Where it begins in the text of the speech."""
        return self.starts[0]

    @property
    def end(self) -> int:
        """Where it ends there."""
        return self.ends[-1]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Say where a part of it stands."""
        return self.starts[start], self.ends[end - 1]

    def part(self, start: int, end: int) -> Passage:
        """Return a part of it."""
        return Passage(self.text[start:end], self.starts[start:end], self.ends[start:end])

    def changed(self, changes: Sequence[Change]) -> Passage:
        """Return it as it is said; what is said for a part of it stands where that does."""
        starts, ends, at = array("q"), array("q"), 0
        for change in changes:
            starts += self.starts[at : change.start]
            ends += self.ends[at : change.start]
            start, end = self.span(change.start, change.end)
            starts.extend([start] * len(change.text))
            ends.extend([end] * len(change.text))
            at = change.end
        starts += self.starts[at:]
        ends += self.ends[at:]
        return Passage(apply_changes(self.text, changes), starts, ends)


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

    While no delay expires, the passages depend on the text and its flushes alone, never on when or
    in what parts the text came.
    """

    def __init__(self, text: SpeechText, *, reader: Reader, cutter: Cutter, begin: int = 0) -> None:
        """Begin with what stands at `begin` or after it; the reader sees all before it, too."""
        self._text = text
        self._begin = begin
        self._reader = reader
        self._cutter = cutter
        self._read = 0  # code points of the text that the reader has
        self._flushed: int | None = None  # up to where they may all be spoken
        # Of what was read and is in no passage yet: where each code point stands.
        self._given = 0  # code points, as they are said, before it
        self._starts = array("q")
        self._ends = array("q")
        self._decided = 0  # code points of the text before what the reader still thinks about
        self._changed = asyncio.Event()
        text.on_change = self._changed.set

    @property
    def is_ended(self) -> bool:
        """Whether all of the text has come."""
        return self._text.is_ended

    async def next(self) -> Passage | int | None:
        """Return the next passage; or the number of a flush, all text before which was returned.

        Waits for text, and for none longer than its delay; returns None at its end.
        """
        has_read = False
        while True:
            if piece := self._cutter.next_piece():
                return self._passage(piece)
            if self._flushed == self._read:
                if self._text.next_flush == self._read:
                    return self._text.take_flush()
                if self._text.is_ended and self._read == len(self._text):
                    return None
            if has_read:
                await asyncio.sleep(0)  # a book of asterisks has no passage
            has_read = self._go_on()
            if not has_read:
                await self._wait()

    def _go_on(self) -> bool:
        """Read on; tell whether there was anything to read."""
        flush = self._text.next_flush
        limit = len(self._text) if flush is None else flush
        if self._read < limit:
            end = min(limit, self._read + _STEP)
            self._take(self._reader.push(self._text.read(self._read, end)))
            self._read = end
        elif flush is not None or self._text.is_ended:
            self._flush()
        else:
            return False
        return True

    def _flush(self) -> None:
        self._take(self._reader.flush())
        self._cutter.flush()
        self._flushed = self._read

    def _take(self, reading: Reading) -> None:
        skipped = bisect_right(reading.ends, self._begin) if self._decided < self._begin else 0
        self._starts += reading.starts[skipped:]
        self._ends += reading.ends[skipped:]
        self._decided = reading.ends[-1] if reading.ends else self._decided
        self._cutter.push(reading.text[skipped:])

    def _passage(self, piece: Piece) -> Passage:
        start, end = piece.start - self._given, piece.end - self._given
        passage = Passage(piece.text, self._starts[start:end], self._ends[start:end])
        del self._starts[:end], self._ends[:end]
        self._given = piece.end
        return passage

    async def _wait(self) -> None:
        """Wait for a change; flush what has waited too long."""
        self._changed.clear()
        waiting_from = self._waiting_from()
        overdue_at = None if waiting_from is None else self._text.overdue_at(waiting_from)
        try:
            async with asyncio.timeout_at(overdue_at):
                await self._changed.wait()
        except TimeoutError:
            self._flush()

    def _waiting_from(self) -> int | None:
        """Return where the text begins that was read and is in no passage, None where is none."""
        if self._flushed == self._read:
            return None
        waiting_from = self._cutter.waiting_from()
        if waiting_from is not None:
            return self._starts[waiting_from - self._given]
        return self._decided if self._decided < self._read else None
