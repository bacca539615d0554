"""`Transcript`: what is spoken so far, and the gap after it that the next words will close.

White space and line breaks after a word wait for what follows, which may ask for a full stop before
them or leave no space at all. After punctuation nothing can come between, so there they go out at
once, and the sentence before them need not wait.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

_PUNCTUATION = ".!?…:;,。！？｡．，、；：؟،؛۔।॥"
_CLOSING = "\"'”’»)]}」』）】"
_OPENING = frozenset("\"'“„«([{¿¡「『（【")
_CLINGING = frozenset(_PUNCTUATION + "”»)]}」』）】")  # no space stands before them
_STRAY = re.compile(rf"\A[\s{_PUNCTUATION}]+")
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")

WIDEST_SPACE = 16
"""Code points of white space that are kept between two words."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Text as it is spoken; each code point with what it stands for in the text as given."""

    text: str
    starts: array[int]  # where, in code points of all that was pushed, what it stands for begins
    ends: array[int]  # and ends; equal to where it begins for a code point that was inserted


def verbatim(text: str, at: int) -> Reading:
    """Read text as it stands at `at`."""
    starts, ends = _places(text, at)
    return Reading(text, array("q", starts), array("q", ends))


class Transcript:
    """Takes text with its place, marks between texts, and breaks; gives readings."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._starts = array("q")
        self._ends = array("q")
        self._reach = 0  # where that ends which the last code point stands for
        # A text begins as if a block had just ended.
        self._last = "\n"
        self._sign = "."  # the last code point that is neither white space nor closing
        self._breaks = 2  # line breaks since the last words
        self._space = ""  # white space that waits for what follows, and where it stands
        self._space_at = 0
        self._newline: int | None = None  # a line break that waits, likewise
        self._is_cut = False  # something without words was left out in this gap
        self._is_paused = False  # it asks for a comma

    def keep(self, text: str, at: int) -> None:
        """Speak text that stands at `at`."""
        if self._is_cut and self._last.isspace() and self._breaks == 0:
            # "Done! 🎉!": the sentence has ended already.
            kept = _STRAY.sub("", text)
            at += len(text) - len(kept)
            text = kept
        if text:
            self._say(text, *_places(text, at))

    def replace(self, text: str, start: int, end: int) -> None:
        """Speak text in the place of what was given there."""
        if text:
            self._say(text, [start] * len(text), [end] * len(text))

    def space(self, text: str, at: int) -> None:
        """Take white space within a line; what was left out leaves no second one."""
        is_after_space = bool(self._space) or self._last.isspace()
        if is_after_space and at != self._gap_end():
            return
        if self._is_open():
            self._space_at = self._space_at if self._space else at
            self._space = (self._space + text)[:WIDEST_SPACE]
        else:
            self._put(text, *_places(text, at))

    def cut(self) -> None:
        """Leave something out that has no words, and stood between words."""
        self._is_cut = True

    def pause(self) -> None:
        """Leave something out that is heard as a comma."""
        self._is_cut = self._is_paused = True
        self._space = self._space[:1]  # cells are often padded

    def newline(self, at: int) -> None:
        """Take the end of a line; what comes next tells what it means."""
        if self._breaks == 0:
            self._newline = at
            if not self._is_open():
                self.go_on()

    def break_line(self, start: int, end: int) -> None:
        """Put a line break in the place of what was given there."""
        if self._breaks == 0:
            self._put("\n", [start], [end])
            self._close_line()

    def go_on(self) -> None:
        """Let the next line continue the sentence."""
        if self._newline is not None:
            if not self._is_cut:
                self._put_space()
            self._put("\n", *_places("\n", self._newline))
            self._close_line()

    def end(self, breaks: int) -> None:
        """End the sentence; with 2 breaks the block."""
        self._stop()
        if self._newline is not None:
            self._put("\n", *_places("\n", self._newline))
            self._close_line()
        while self._breaks < breaks:
            self._insert("\n")
            self._close_line()

    def flush(self, *, ends_sentence: bool) -> None:
        """Let out what waits."""
        if ends_sentence:
            self._stop()
        self._put_space()
        self.go_on()

    def take(self) -> Reading:
        """Return what was decided since the last time."""
        reading = Reading("".join(self._parts), self._starts, self._ends)
        self._parts, self._starts, self._ends = [], array("q"), array("q")
        return reading

    def _is_open(self) -> bool:
        """Tell whether a word stands last, so that punctuation may be inserted."""
        return not self._last.isspace() and self._sign not in _PUNCTUATION

    def _gap_end(self) -> int:
        return self._space_at + len(self._space) if self._space else self._reach

    def _say(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
        self._close_gap(text[0])
        self._put(text, starts, ends)
        self._breaks = 0
        signs = (sign for sign in reversed(text) if sign not in _CLOSING and not sign.isspace())
        self._sign = next(signs, self._sign)

    def _close_gap(self, following: str) -> None:
        is_clinging = following in _CLINGING
        if self._is_paused and self._is_open() and following not in _PUNCTUATION:
            self._insert(",")
        if not (self._is_cut and is_clinging):
            self._put_space()
            if self._is_cut and not self._last.isspace() and self._last not in _OPENING:
                self._insert(" ")
        self._space = ""
        self._is_cut = self._is_paused = False

    def _stop(self) -> None:
        if self._is_open():
            self._space = ""
            self._insert("。" if _CJK.match(self._sign) else ".")

    def _close_line(self) -> None:
        self._breaks += 1
        self._newline = None
        self._space = ""
        self._is_cut = self._is_paused = False

    def _put_space(self) -> None:
        if self._space:
            self._put(self._space, *_places(self._space, self._space_at))
            self._space = ""

    def _insert(self, sign: str) -> None:
        self._put(sign, [self._reach], [self._reach])
        if not sign.isspace():
            self._sign = sign

    def _put(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
        self._parts.append(text)
        self._starts.extend(starts)
        self._ends.extend(ends)
        self._reach = ends[-1]
        self._last = text[-1]


def _places(text: str, at: int) -> tuple[range, range]:
    """Return where each code point of text as given starts and ends."""
    return range(at, at + len(text)), range(at + 1, at + len(text) + 1)
