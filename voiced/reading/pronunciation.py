"""`Pronunciation`: what one speaker says for a text: the lexicon, then the rules of reading."""

from __future__ import annotations

from dataclasses import dataclass

from voiced.reading import english
from voiced.reading.aloud import Change, Rule, find_changes
from voiced.reading.lexicon import Lexicon, Speaker
from voiced.reading.money import money
from voiced.reading.phonemes import GIVEN


@dataclass(frozen=True, slots=True)
class Pronunciation:
    """For one speaker."""

    lexicon: Lexicon
    speaker: Speaker
    reads_aloud: bool  # by the rules; False where the engine reads well itself, or nobody wants it

    def changes(self, text: str) -> list[Change]:
        """Return what is said otherwise than it is written, in order."""
        given = [Change(match.start(), match.end(), match[0]) for match in GIVEN.finditer(text)]
        own = [
            change
            for change in self.lexicon.find(text, self.speaker)
            if not any(one.start < change.end and change.start < one.end for one in given)
        ]
        rules = rules_of(self.speaker.language) if self.reads_aloud else ()
        found = find_changes(text, rules, before=[*given, *own])
        return [change for change in found if change not in given]


def rules_of(language: str) -> tuple[Rule, ...]:
    """Return the rules of a language, a BCP-47 tag in lower case."""
    primary = language.partition("-")[0]
    if primary == "en":
        return english.AMERICAN if language in ("en", "en-us") else english.BRITISH
    return (money(primary),)
