"""Reading aloud: what an engine reads badly, written as a person says it.

Engines know numbers; what they do not know is what stands around them. So digits stay digits, and
"$12.50" becomes "12 dollars 50 cents".
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """A part of a text, and what is said for it."""

    start: int  # code points
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What it finds, and what is said for it; None leaves it as it stands."""

    pattern: re.Pattern[str]
    say: Callable[[re.Match[str]], str | None]


def rule(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> Callable[[_Say], Rule]:
    """Make a rule of a function."""
    compiled = re.compile(pattern, flags | re.VERBOSE)
    return lambda say: Rule(compiled, say)


_Say = Callable[[re.Match[str]], str | None]


def find_changes(
    text: str, rules: Iterable[Rule], *, before: Sequence[Change] = ()
) -> list[Change]:
    """Return what the rules change, in order; earlier rules go first, and `before` before all."""
    found = sorted(before, key=lambda change: change.start)
    for one in rules:
        for match in one.pattern.finditer(text):
            at = bisect_left(found, match.start(), key=lambda change: change.start)
            is_free = (at == 0 or found[at - 1].end <= match.start()) and (
                at == len(found) or match.end() <= found[at].start
            )
            if is_free and match.end() > match.start():
                said = one.say(match)
                if said is not None and said != match[0]:
                    found.insert(at, Change(match.start(), match.end(), said))
    return found


def apply_changes(text: str, changes: Sequence[Change]) -> str:
    """Return the text as it is said."""
    parts: list[str] = []
    at = 0
    for change in changes:
        parts += text[at : change.start], change.text
        at = change.end
    return "".join((*parts, text[at:]))
