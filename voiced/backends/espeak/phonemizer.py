"""Text to phonemes by espeak-ng, as Kokoro and Piper were taught them.

Not by phonemizer: that copies the library for each language and never lets go of it, runs it within
the daemon, which some texts end, and loses the text after "20.5".
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

from voiced.backends.espeak.files import EspeakFiles
from voiced.backends.espeak.process import EspeakProcess
from voiced.errors import LanguageNotSupported
from voiced.reading.phonemes import GIVEN
from voiced.reading.speakable import speakable

_KEPT = 1024  # texts, of a few hundred bytes each
_MARKS = re.compile(
    r"""((?<!\S)[¿¡"“«(\[{]+ | [;:,.!?…"”»)\]}]+(?!\S) | (?<!\S)[—–-]+(?!\S) | [—…] )""", re.VERBOSE
)
"""Punctuation, which Kokoro knows as phonemes; not that within a number, a time or an address."""

_SWITCH = re.compile(r"\([a-z-]+\)")  # espeak says so where it takes another language's word

_CODES = {"en": "en-us", "fr": "fr-fr", "zh": "cmn", "zh-cn": "cmn", "pt-pt": "pt"}
"""What espeak calls some languages that are asked for by their BCP-47 tags."""


class Phonemizer:
    """Keeps the latest phonemes. For one thread; its calls block."""

    def __init__(self) -> None:
        """Find espeak, by the same variables as ever.

        Raises:
            BackendUnavailable: they name nothing.
        """
        self._process = EspeakProcess(EspeakFiles.find(os.environ))
        self._voices: dict[str, str] = {}  # by language tag
        self._known = lru_cache(_KEPT)(self._phonemes)

    def start(self) -> None:
        """Start espeak.

        Raises:
            BackendUnavailable: it does not start.
        """
        voices, _, _ = self._process.list_voices()
        self._voices = {tag.lower(): v.identifier for v in voices for tag in v.languages[1:]}
        self._voices |= {v.languages[0].lower(): v.identifier for v in voices}

    def phonemes(self, text: str, language: str) -> str:
        """Return what a text sounds like, in IPA with stress marks and punctuation.

        `language` is a BCP-47 tag or a code of espeak.

        Raises:
            LanguageNotSupported: espeak does not know the language.
            BackendError: espeak cannot read the text.
        """
        return self._known(text, self._voice(language))

    def close(self) -> None:
        """End espeak."""
        self._process.close()

    def _phonemes(self, text: str, voice: str) -> str:
        parts = GIVEN.split(text)  # text, word, phonemes, text, ...
        said = self._say(parts[::3], voice)
        for index, given in enumerate(parts[2::3]):
            said[index] += f" {given}"
        # What stood right after the word, as a full stop, still does.
        glued = [part and not part[0].isspace() and not part[0].isalnum() for part in parts[3::3]]
        text = said[0]
        for is_glued, following in zip(glued, said[1:], strict=True):
            text += following if is_glued else f" {following}"
        return " ".join(text.split())

    def _say(self, texts: list[str], voice: str) -> list[str]:
        """Return of each text the phonemes of what is between punctuation, and the punctuation."""
        split = [_MARKS.split(" ".join(speakable(text).split())) for text in texts]
        wanted = [part for parts in split for part in parts[::2] if part.strip()]
        said = iter(self._process.phonemes(wanted, voice) if wanted else [])
        for parts in split:
            for index in range(0, len(parts), 2):
                if (part := parts[index]).strip():
                    # White space stays where it was.
                    phonemes = " ".join(_SWITCH.sub("", next(said)).split())
                    lead, tail = part[0].isspace() and bool(phonemes), part[-1].isspace()
                    parts[index] = f"{' ' * lead}{phonemes}{' ' * tail}"
        return ["".join(parts) for parts in split]

    def _voice(self, language: str) -> str:
        tag = language.lower()
        wide = tag.partition("-")[0]
        for code in (_CODES.get(tag, tag), _CODES.get(wide, wide)):
            if voice := self._voices.get(code):
                return voice
        raise LanguageNotSupported(
            f"espeak-ng has no phonemes for {language[:64]!r}.", param="language"
        )
