"""The seam of reading: text as it was written in, text as it is said out."""

from __future__ import annotations

from typing import Protocol

from voiced.reading.transcript import Reading, verbatim


class Reader(Protocol):
    """Reads a text that grows, once from its beginning to its end."""

    def push(self, text: str) -> Reading:
        """Append text and return what is decided by now."""
        ...

    def flush(self) -> Reading:
        """Decide all text so far as if it ended here; more may be pushed."""
        ...


class VerbatimReader:
    """Reads every code point."""

    def __init__(self) -> None:
        self._at = 0

    def push(self, text: str) -> Reading:
        """Append text and return it."""
        at, self._at = self._at, self._at + len(text)
        return verbatim(text, at)

    def flush(self) -> Reading:
        """Return nothing: there is nothing to decide."""
        return verbatim("", self._at)
