"""`Segmenter`: a growing text in, segments out, as soon as each is decided.

A boundary depends on the text before it and a few characters after, never on how the text was cut
into pushes; positions are code points into all that was pushed. It is lazy: `next_piece` looks no
further than the segment that it returns, so a book costs no more at once than a sentence.

What ends a sentence: `.`, `!`, `?`, an ellipsis, with what closes after it (quotes, brackets),
before white space; their forms in other scripts; an empty line. What does not: decimals, times,
addresses (nothing white follows), titles and initials ("Dr. J. Smith"), the number of a list item,
and an abbreviation that a small letter follows ("7 a.m. on Tuesday").
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from voiced.backends.base import FirstSegment, SegmentSizes
from voiced.reading.breath import last_breath
from voiced.reading.phonemes import GIVEN, count_phonemes, reach_phonemes

_SHORTEST_CLAUSE = 12  # code points; "Well," alone would sound cut off
_EAGER = 24  # code points, about 2 s of speech: a first segment ends at the next word
_LOOKAHEAD = 32  # code points after a mark within which its meaning is decided
_KEPT_BEHIND = 4096  # spoken text that is dropped from the front at once

_MARK = re.compile(r"[.!?…,;:。！？｡．，、；：؟۔،؛।॥—–\n]")
_BLANK = re.compile(r"[ \t\r]*")
_SPACE = re.compile(r"\s")
_NO_SPACE = re.compile(r"\S")
_CLOSING = re.compile(r"""[.!?…。！？؟"'”’»)\]}*_」』）】]*""")
_SPEAKABLE = re.compile(r"[^\W_]|[%&@#§°$€£¥¢₹₽₩]")
_WORD_BEFORE = re.compile(r"[^\s(\[{\"“„«]*$")

_TITLES = frozenset(
    "mr mrs ms dr prof rev hon st mt ft gen col capt lt sgt sen rep gov pres supt "
    "hr fr frl dipl ing mme mlle sr sra srta dott sig".split()
)
_ABBREVIATIONS = frozenset(
    "etc approx inc ltd co corp jr vs cf ca bzw usw ggf evtl inkl nr tel vol fig ed pp est dept "
    "min max jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun".split()
)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text for one segment, without the white space around it."""

    text: str
    start: int
    end: int


class _Break(Enum):
    NONE = auto()
    UNDECIDED = auto()  # what follows has not been pushed yet
    CLAUSE = auto()
    SENTENCE = auto()


class Segmenter:
    """Push text, flush where it must be spoken as it stands, take pieces until there is none."""

    def __init__(self, sizes: SegmentSizes, *, first: FirstSegment = "clause") -> None:
        self._sizes = sizes
        # None once the first piece is out.
        self._first: FirstSegment | None = first if sizes.is_hasty else None
        self._grown = 0  # the size of the largest piece so far
        self._text = ""
        self._dropped = 0  # code points before _text
        self._start = 0  # of the piece that is growing, in _text
        self._scan = 0  # up to where marks were judged
        self._heard = 0  # up to where speakable characters were looked for
        self._is_speakable = False
        self._clause_end: int | None = None  # the last one in the growing piece
        self._sentence_end: int | None = None
        self._flushes: deque[int] = deque()  # code points, counted from the very first

    def push(self, text: str) -> None:
        """Append text."""
        if self._start > _KEPT_BEHIND:
            self._forget(self._start)
        self._text += text

    def flush(self) -> None:
        """Let all text so far be spoken as it stands."""
        self._flushes.append(self._dropped + len(self._text))

    def waiting_from(self) -> int | None:
        """Return where the text begins that is in no piece yet, None where there is none."""
        waiting = _NO_SPACE.search(self._text, self._start)
        return self._dropped + waiting.start() if waiting else None

    def next_piece(self) -> Piece | None:
        """Return the next piece that is decided, None where more text or a flush is needed."""
        while (end := self._find_end()) is not None:
            start, self._start = self._start, end
            is_speakable, self._is_speakable = self._is_speakable, False
            self._clause_end = self._sentence_end = None
            self._scan = self._heard = end
            if is_speakable:
                self._first = None
                self._grown = max(self._grown, self._size(start, end))
                return _piece(self._text[start:end], self._dropped + start)
        return None

    def _find_end(self) -> int | None:
        flushed = self._flushes[0] - self._dropped if self._flushes else None
        limit = len(self._text) if flushed is None else flushed
        hasty_end = self._hasty_end(limit)
        reach = self._reach()
        horizon = min(limit, hasty_end or reach)
        while mark := _MARK.search(self._text, self._scan, horizon):
            verdict, end = self._judge(mark, limit, is_flushed=flushed is not None)
            verdict = self._weigh(verdict, end, limit, is_flushed=flushed is not None)
            if verdict is _Break.UNDECIDED:
                break
            self._scan = end
            if verdict is not _Break.NONE and end <= horizon:
                self._listen(end)
                if self._is_speakable:
                    if self._ends_here(verdict, end):
                        return end
                    self._clause_end = end
                    if verdict is _Break.SENTENCE:
                        self._sentence_end = end
        else:
            self._scan = max(self._scan, horizon)  # so that no push is searched twice
        self._listen(horizon)
        if hasty_end is not None:
            return hasty_end
        if limit - reach > (0 if flushed is not None else _LOOKAHEAD):
            end = self._outside(self._cut(reach, limit), limit)
            # What is left may be too little to be spoken alone.
            is_too_little = 0 < self._size(end, limit) < self._sizes.shortest
            return limit if flushed is not None and is_too_little else end
        if flushed is not None:
            self._flushes.popleft()
            return limit
        return None

    def _largest(self) -> int:
        """Return how large the growing piece may be."""
        sizes = self._sizes
        if self._first is None and self._grown:
            return int(min(sizes.largest, max(sizes.shortest, sizes.growth * self._grown)))
        if self._first is None:
            return sizes.largest
        return sizes.largest if self._first == "sentence" else sizes.first or sizes.largest

    def _reach(self) -> int:
        """Return where it is as large as that, perhaps beyond the text."""
        if self._sizes.in_phonemes:
            return reach_phonemes(self._text, self._start, self._largest())
        return self._start + self._largest()

    def _size(self, start: int, end: int) -> int:
        return count_phonemes(self._text, start, end) if self._sizes.in_phonemes else end - start

    def _weigh(self, verdict: _Break, end: int, limit: int, *, is_flushed: bool) -> _Break:
        """Keep what is too short to be spoken alone with what stands beside it."""
        shortest = self._sizes.shortest
        if verdict in (_Break.NONE, _Break.UNDECIDED) or shortest == 1 or self._first == "eager":
            return verdict
        if self._size(self._start, end) < shortest:
            return _Break.NONE
        if self._size(end, limit) >= shortest:
            return verdict
        if not is_flushed:
            return _Break.UNDECIDED
        return _Break.NONE if _SPEAKABLE.search(self._text, end, limit) else verdict

    def _judge(self, mark: re.Match[str], limit: int, *, is_flushed: bool) -> tuple[_Break, int]:
        """Say what a mark ends, and where the text that belongs before it ends."""
        text, sign = self._text, mark[0]
        if sign == "\n":
            return self._judge_newline(mark.end(), limit, is_flushed=is_flushed), mark.end()
        if sign in "—–":
            return _Break.CLAUSE, mark.end()
        closing = _CLOSING.match(text, mark.end(), min(limit, mark.end() + _LOOKAHEAD))
        end = closing.end() if closing else mark.end()
        if sign in "，、；：":
            return _Break.CLAUSE, mark.end()
        if end >= limit:
            return (_Break.SENTENCE, end) if is_flushed else (_Break.UNDECIDED, end)
        if sign in "。！？｡．":
            return _Break.SENTENCE, end
        if not text[end].isspace():
            return _Break.NONE, end
        if sign in ",;:،؛":
            return _Break.CLAUSE, mark.end()
        if sign in "!?؟۔।॥":
            return _Break.SENTENCE, end
        return self._judge_period(mark.start(), end, limit, is_flushed=is_flushed), end

    def _judge_newline(self, end: int, limit: int, *, is_flushed: bool) -> _Break:
        blank = _BLANK.match(self._text, end, min(limit, end + _LOOKAHEAD))
        end = blank.end() if blank else end
        if end >= limit:
            return _Break.SENTENCE if is_flushed else _Break.UNDECIDED
        return _Break.SENTENCE if self._text[end] == "\n" else _Break.NONE

    def _judge_period(self, at: int, end: int, limit: int, *, is_flushed: bool) -> _Break:
        text = self._text
        before = _WORD_BEFORE.search(text, max(self._start, at - _LOOKAHEAD), at)
        word = before[0] if before else ""
        if word.lower() in _TITLES or (len(word) == 1 and word.isalpha() and word != "I"):
            return _Break.NONE
        if word.isdigit() and not text[self._start : at - len(word)].rpartition("\n")[2].strip():
            return _Break.NONE  # "1." at the start of a line
        is_ellipsis = text[at] == "…" or text.startswith("..", at)
        is_short = word.lower() in _ABBREVIATIONS or ("." in word.strip(".") and _is_dotted(word))
        if not (is_ellipsis or is_short or word.lower() == "no"):
            return _Break.SENTENCE
        follows = text[end : min(limit, end + _LOOKAHEAD)].lstrip()
        if not follows:
            is_decided = is_flushed or limit - end >= _LOOKAHEAD
            return _Break.SENTENCE if is_decided else _Break.UNDECIDED
        if word.lower() == "no":
            return _Break.NONE if follows[0].isdigit() else _Break.SENTENCE
        goes_on = follows[0].islower() or (is_short and follows[0].isdigit())
        return _Break.NONE if goes_on else _Break.SENTENCE

    def _ends_here(self, verdict: _Break, end: int) -> bool:
        size = self._size(self._start, end)
        if self._first is None:
            enough = self._sizes.preferred
            if self._sizes.is_hasty:
                enough = min(enough, self._largest() // 2)
            return verdict is _Break.SENTENCE and size >= enough
        if verdict is _Break.SENTENCE:
            return True
        return self._first != "sentence" and size >= _SHORTEST_CLAUSE

    def _hasty_end(self, limit: int) -> int | None:
        """Return where an eager first piece ends: before the first word after some two seconds."""
        if self._first != "eager" or limit - self._start < _EAGER:
            return None
        space = _SPACE.search(self._text, self._start + _EAGER, limit)
        return space.start() if space else None

    def _listen(self, end: int) -> None:
        """Find out whether the growing piece has anything to say up to `end`."""
        if not self._is_speakable and end > self._heard:
            self._is_speakable = bool(_SPEAKABLE.search(self._text, self._heard, end))
            self._heard = end

    def _cut(self, largest: int, limit: int) -> int:
        """Cut a piece that is too long: after a sentence, if that is half of it or more.

        Else after a clause, where a reader could breathe, a word, or a character.
        """
        half = self._start + (largest - self._start) // 2
        if self._sentence_end is not None and self._sentence_end >= half:
            return self._sentence_end
        if self._clause_end is not None:
            return self._clause_end
        begin = self._start + self._sizes.shortest
        if breath := last_breath(self._text, begin, largest, limit=limit):
            return breath
        space = max(self._text.rfind(blank, begin, largest) for blank in " \n\t")
        if space >= begin:
            return space + 1
        end = largest
        while end > self._start + 1 and _joins(self._text[end]):
            end -= 1
        return end if end > self._start + 1 else largest  # nothing but marks on one character

    def _outside(self, end: int, limit: int) -> int:
        """Move an end that would part a word from its phonemes: before both, or behind them."""
        for given in GIVEN.finditer(self._text, self._start, min(limit, end + 256)):
            if given.start() >= end:
                break
            if end < given.end():
                return given.start() if given.start() > self._start else given.end()
        return end

    def _forget(self, count: int) -> None:
        self._text = self._text[count:]
        self._dropped += count
        self._start -= count
        self._scan -= count
        self._heard -= count
        if self._clause_end is not None:
            self._clause_end -= count
        if self._sentence_end is not None:
            self._sentence_end -= count


class Uncut:
    """Gives all text up to a flush as one piece: for a document, which only makes sense whole."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._start = 0
        self._is_flushed = False

    def push(self, text: str) -> None:
        """Append text."""
        self._parts.append(text)

    def flush(self) -> None:
        """Let all text so far be a piece."""
        self._is_flushed = True

    def waiting_from(self) -> None:
        """Say that nothing waits: what is not whole is not to be spoken, however late."""
        return

    def next_piece(self) -> Piece | None:
        """Return the piece after a flush, None where there is nothing to say."""
        if not self._is_flushed:
            return None
        self._is_flushed = False
        text, start = "".join(self._parts), self._start
        self._parts, self._start = [], start + len(text)
        return _piece(text, start) if _SPEAKABLE.search(text) else None


def _piece(text: str, start: int) -> Piece:
    """Make a piece of a text that stands at `start`."""
    start += len(text) - len(text.lstrip())
    text = text.strip()
    return Piece(text, start, start + len(text))


def _is_dotted(word: str) -> bool:
    """Tell "a.m" and "U.S" from "example.com" and "3.5"."""
    return all(len(part) == 1 and part.isalpha() for part in word.strip(".").split("."))


def _joins(character: str) -> bool:
    """Tell whether a character belongs to the one before it: marks, joiners, variation, skin."""
    code = ord(character)
    return (
        0x300 <= code <= 0x36F
        or code in (0x200D, 0xFE0E, 0xFE0F)
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xDC00 <= code <= 0xDFFF
    )
