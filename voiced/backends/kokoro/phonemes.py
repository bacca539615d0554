"""Text to the phonemes that Kokoro was taught, by espeak-ng through phonemizer."""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from voiced.backends.espeak_library import EspeakFiles, speakable
from voiced.errors import BackendUnavailable, LanguageNotSupported

if TYPE_CHECKING:
    from phonemizer.backend import EspeakBackend

_KEPT = 1024  # texts, of a few hundred bytes each
_GIVEN = re.compile(r"\[([^\[\]]+)\]\(/([^/()]+)/\)")
"""`[word](/phonemes/)`: how a word is to be said, as Kokoro's own tools write it."""

_MARKS = re.compile(
    r"""((?<!\S)[¿¡"“«(\[{]+ | [;:,.!?…"”»)\]}]+(?!\S) | (?<!\S)[—–-]+(?!\S) | [—…] )""", re.VERBOSE
)
"""Punctuation, which Kokoro knows as phonemes; not that within a number, a time or an address."""

_NO_MARKS = re.compile("(?!)")  # phonemizer's own loses what follows "20.5"

_CODES = {"en": "en-us", "fr": "fr-fr", "zh": "cmn", "zh-cn": "cmn", "pt-pt": "pt"}
"""What espeak calls some languages that are asked for by their BCP-47 tags."""

_quiet = logging.getLogger("voiced.phonemizer")
_quiet.setLevel(logging.CRITICAL)  # it counts words, and tells the text that it read


class Phonemizer:
    """Keeps an espeak for each language, and the latest phonemes. For one thread."""

    def __init__(self) -> None:
        """Import phonemizer, which is slow, and find espeak by the same variables as ever.

        Raises:
            BackendUnavailable: they name nothing, or phonemizer is not installed.
        """
        try:
            from phonemizer.backend import EspeakBackend  # noqa: PLC0415  # only for Kokoro
            from phonemizer.backend.espeak.wrapper import EspeakWrapper  # noqa: PLC0415
        except ImportError:
            raise BackendUnavailable(
                "phonemizer is not installed; run `pip install 'voiced[kokoro]'`."
            ) from None
        files = EspeakFiles.find(os.environ)
        EspeakWrapper.set_library(str(files.library))
        EspeakWrapper.set_data_path(str(files.data))
        self._engine = EspeakBackend
        self._engines: dict[str, EspeakBackend] = {}
        self._known = lru_cache(_KEPT)(self._phonemes)

    def phonemes(self, text: str, language: str) -> str:
        """Return what a text sounds like, in IPA with stress marks and punctuation.

        `language` is a BCP-47 tag or a code of espeak.

        Raises:
            LanguageNotSupported: espeak does not know the language.
        """
        return self._known(text, language)

    def _phonemes(self, text: str, language: str) -> str:
        parts = _GIVEN.split(text)  # text, word, phonemes, text, ...
        said = [self._say(part, language) for part in parts[::3]]
        for index, given in enumerate(parts[2::3]):
            said[index] += f" {given}"
        # What stood right after the word, as a full stop, still does.
        glued = [part and not part[0].isspace() and not part[0].isalnum() for part in parts[3::3]]
        text = said[0]
        for is_glued, following in zip(glued, said[1:], strict=True):
            text += following if is_glued else f" {following}"
        return " ".join(text.split())

    def _say(self, text: str, language: str) -> str:
        """Return the phonemes of each part between punctuation, and the punctuation."""
        parts = _MARKS.split(" ".join(speakable(text).split()))
        said = self._espeak(language).phonemize(parts[::2], strip=True)
        for index, phonemes in enumerate(said):
            # White space stays where it was.
            part = parts[2 * index]
            lead, tail = part[:1].isspace() and bool(phonemes), part[-1:].isspace()
            parts[2 * index] = f"{' ' * lead}{phonemes}{' ' * tail}"
        return "".join(parts)

    def _espeak(self, language: str) -> EspeakBackend:
        if language not in self._engines:
            code = self._code(language)
            self._engines[language] = self._engine(
                code,
                punctuation_marks=_NO_MARKS,
                with_stress=True,
                language_switch="remove-flags",
                words_mismatch="ignore",
                logger=_quiet,
            )
        return self._engines[language]

    def _code(self, language: str) -> str:
        tag = language.lower()
        for code in (
            _CODES.get(tag, tag),
            _CODES.get(tag.partition("-")[0], tag.partition("-")[0]),
        ):
            if self._engine.is_supported_language(code):
                return code
        raise LanguageNotSupported(
            f"espeak-ng has no phonemes for {language[:64]!r}.", param="language"
        )


def without_phonemes(text: str) -> str:
    """Blank out what is not a word of a text, and leave each word where it stands."""
    return _GIVEN.sub(lambda given: f" {given[1]}".ljust(len(given[0])), text)
