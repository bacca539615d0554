"""`Timeline`: which text of a speech is heard when."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import Any

from voiced.speech import SegmentEnd, SegmentStart, Word, Words
from voiced.text import SpeechText

_CHARACTERS_PER_S = 15  # of English at normal speed


class Timeline:
    """What was said at which sample, for a cancel and for marks.

    It keeps 17 bytes a word of all that was sent: nobody knows how much of it a client has played.
    """

    def __init__(self, text: SpeechText, *, sample_rate: int, speed: float) -> None:
        self._text = text
        self._rate = sample_rate
        self._samples_per_character = sample_rate / _CHARACTERS_PER_S / speed
        # Bounds: by the time of this sample, all text before that position has been heard.
        self._samples = array("q", [0])
        self._positions = array("q", [0])
        self._is_known = bytearray([False])
        self._segment: SegmentStart | None = None  # the last one, until it ends
        self._words: list[Word] = []  # of it
        self._is_estimated = True

    def begin(self, segment: SegmentStart) -> None:
        """A segment begins."""
        self._segment = segment
        self._words = []
        self._is_estimated = True
        self._bound(segment.position + segment.pause, segment.text_start, is_known=True)

    def add(self, words: Words) -> None:
        """Words of the segment are known, or estimated."""
        self._words += words.words
        self._is_estimated = words.is_estimated
        for word in words.words:
            self._bound(word.position, word.text_start, is_known=not words.is_estimated)

    def end(self, segment: SegmentEnd, *, by_word: bool) -> dict[str, Any]:
        """The segment ends; return the data of its `marks`."""
        begun, self._segment = self._segment, None
        assert begun is not None
        spans = [(word.text_start, word.text_end, word.position) for word in self._words]
        if not by_word:
            spans = [(begun.text_start, begun.text_end, begun.position + begun.pause)]
        self._bound(segment.position, begun.text_end, is_known=not self._is_estimated)
        ends = [*(start for _, _, start in spans[1:]), segment.position]
        return {
            "segment": segment.index,
            "estimated": by_word and self._is_estimated,
            "marks": [
                [text_start, text_end, self._ms(start), self._ms(end)]
                for (text_start, text_end, start), end in zip(spans, ends, strict=False)
            ],
        }

    def split(self, played: float) -> dict[str, Any]:
        """Split all text so far at what was heard by a sample; a word half heard is not."""
        index = bisect_right(self._samples, played) - 1
        cut, is_known = self._positions[index], bool(self._is_known[index])
        is_last = index == len(self._samples) - 1
        if is_last and self._segment is not None and self._is_estimated:
            cut, is_known = self._guess(self._segment, played), False
        length = len(self._text)
        return {
            "text_spoken": self._text.read(0, cut),
            "text_remaining": self._text.read(cut, length),
            "exact": is_known,
        }

    def _guess(self, segment: SegmentStart, played: float) -> int:
        """Return the start of the word that is probably heard, in a segment without words yet."""
        heard = (played - segment.position - segment.pause) / self._samples_per_character
        text = self._text.read(segment.text_start, segment.text_end)
        words = text[: max(0, int(heard))].rfind(" ") + 1
        return segment.text_start + words

    def _bound(self, sample: int, position: int, *, is_known: bool) -> None:
        self._samples.append(max(sample, self._samples[-1]))
        self._positions.append(max(position, self._positions[-1]))
        self._is_known.append(is_known)

    def _ms(self, sample: int) -> int:
        return round(sample * 1000 / self._rate)
