"""What a word is, where an engine does not say: for marks, and for the cut of a cancel."""

from __future__ import annotations

import re

# Characters of scripts without spaces are words of their own; all else goes by spaces.
_IDEOGRAPH = r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff]"
_WORD = re.compile(rf"{_IDEOGRAPH}|(?:(?!{_IDEOGRAPH})[\w'’.,:%/@-])*(?!{_IDEOGRAPH})\w")


def words(text: str) -> list[tuple[int, int]]:
    """Return where each word of a text begins and ends, without the punctuation around it."""
    return [match.span() for match in _WORD.finditer(text)]
