"""Phonemes in a text: those that it brings for a word, and how many the others will be.

Asking an engine that knows takes a while and its thread; to cut a text into parts a guess will do.
"""

from __future__ import annotations

import re

_EXTRA = {  # phonemes beyond one, of a character of each kind
    "digit": 4,  # "seven" and a space
    "sign": 7,  # "percent"
    "ideograph": 4,  # a syllable and its tone
    "syllable": 2,  # of kana, hangul
}
_HEAVY = re.compile(
    r"(?P<digit>\d)|(?P<sign>[%&@#§°$€£¥¢₹₽₩+=])"
    "|(?P<ideograph>[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
    "|(?P<syllable>[\u3040-\u30ff\uac00-\ud7af])"
)


GIVEN = re.compile(
    r"\[ (?P<word>[^\[\]\n]{1,64}) \]"
    r"\( / (?P<phonemes> (?=[^/()\n]*[^\x00-\x7f]) [^/()\n]{1,128} ) / \)",
    re.VERBOSE,
)
"""`[word](/phonemes/)`: how a word is to be said, as Kokoro's own tools write it.

Some of it is not ASCII, as of IPA; "[the manual](/docs/)" is a link.
"""


def without_phonemes(text: str) -> str:
    """Blank out what is not a word of a text, and leave each word where it stands."""
    return GIVEN.sub(lambda given: f" {given['word']}".ljust(len(given[0])), text)


def count_phonemes(text: str, start: int, end: int) -> int:
    """Guess how many phonemes a part of a text has; spaces and punctuation count as one each."""
    return end - start + sum(_EXTRA[m.lastgroup or ""] for m in _HEAVY.finditer(text, start, end))


def reach_phonemes(text: str, start: int, count: int) -> int:
    """Return where a part of so many phonemes ends, which may be beyond the text."""
    end = start + count
    for heavy in _HEAVY.finditer(text, start, end):
        if heavy.start() >= end:
            break
        end -= _EXTRA[heavy.lastgroup or ""]
        if heavy.end() > end:
            return max(heavy.start(), start + 1)
    return end
