"""`Lexicon`: how names and words are said in this home.

[[word]]
write = "Siobhán"
say = "shi vawn"
ipa = "ʃɪvˈɔːn"      # for engines that take phonemes
language = "en"      # only there; as all of the following, it may be left out
backend = "kokoro"   # only by that backend or type
case = true          # only in this case
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from voiced.errors import ConfigError
from voiced.reading.aloud import Change
from voiced.reading.phonemes import GIVEN

_LONGEST = 64  # code points of what is written, as of what phonemes may be given for


class Entry(BaseModel):
    """A word or a phrase, and how it is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    write: str = Field(min_length=1, max_length=_LONGEST)
    say: str = Field("", max_length=256)
    ipa: str = Field("", max_length=128)
    language: str = ""
    backend: str = ""
    case: bool = False

    @model_validator(mode="after")
    def _is_said(self) -> Entry:
        if not self.write.strip():
            raise ValueError("write is blank")
        if not (self.say or self.ipa):
            raise ValueError("it has neither say nor ipa")
        if self.ipa and not GIVEN.fullmatch(self.given):
            raise ValueError("ipa is no IPA, or write has brackets")
        return self

    @property
    def given(self) -> str:
        """What an engine reads that takes phonemes."""
        return f"[{self.write}](/{self.ipa}/)"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    word: list[Entry] = []


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who is to say a text."""

    language: str = ""  # BCP-47 in lower case
    names: frozenset[str] = frozenset()  # of the backend: its id and its type
    takes_phonemes: bool = False


class Lexicon:
    """Entries; a later one goes before an earlier one of the same words."""

    def __init__(self, entries: Collection[Entry] = ()) -> None:
        """Know them."""
        self._entries = tuple(entries)
        self._for = lru_cache(32)(self._select)

    @classmethod
    def read(cls, path: Path) -> Lexicon:
        """Read a file; blocks.

        Raises:
            ConfigError: it cannot be read or has faults; all of them at once.
        """
        try:
            return cls(_File.model_validate(tomllib.loads(path.read_text("utf-8"))).word)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False)
            problems = [f"{path.name}: {'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults]
            raise ConfigError(problems) from None
        except (OSError, ValueError) as error:
            raise ConfigError([f"{path.name}: {error}"]) from None

    def find(self, text: str, speaker: Speaker) -> list[Change]:
        """Return what is said differently in a text, in order."""
        pattern, said = self._for(speaker)
        if pattern is None:
            return []
        found = []
        for match in pattern.finditer(text):
            entry = said.get(_key(match[0], case=True)) or said.get(_key(match[0], case=False))
            if entry is not None:
                found.append(Change(match.start(), match.end(), _spelled(entry, speaker)))
        return found

    def _select(self, speaker: Speaker) -> tuple[re.Pattern[str] | None, dict[str, Entry]]:
        said = {
            _key(entry.write, case=entry.case): entry
            for entry in self._entries
            if _is_for(entry, speaker)
        }
        words = sorted({entry.write for entry in said.values()}, key=len, reverse=True)
        if not words:
            return None, said
        spelled = "|".join(r"\s+".join(map(re.escape, word.split())) for word in words)
        return re.compile(rf"(?<!\w)(?:{spelled})(?!\w)", re.IGNORECASE), said


def _key(written: str, *, case: bool) -> str:
    plain = " ".join(written.split())
    return plain if case else f"\0{plain.casefold()}"


def _is_for(entry: Entry, speaker: Speaker) -> bool:
    language, spoken = entry.language.lower(), speaker.language
    is_spoken = not language or spoken == language or spoken.startswith(f"{language}-")
    is_said = bool(entry.say) or speaker.takes_phonemes
    return is_spoken and is_said and (not entry.backend or entry.backend in speaker.names)


def _spelled(entry: Entry, speaker: Speaker) -> str:
    return entry.given if entry.ipa and speaker.takes_phonemes else entry.say
