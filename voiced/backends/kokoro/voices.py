"""Kokoro's voices: what there are, blends of them, and the style for a piece of text.

A voice is a table of styles, one for each number of tokens. Its name says its language and gender:
`bf_emma` is British and female. Numpy alone is needed here, no engine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from voiced.backends.kokoro.blends import Blend, read_blend
from voiced.backends.kokoro.voice_array import STYLE
from voiced.backends.kokoro.voice_files import VoiceFiles, open_voice_files
from voiced.errors import VoiceNotFound
from voiced.speech import Float32, Voice

SAMPLE_RATE = 24000
"""Hz of all that Kokoro says."""

_IN_USE = 16  # voices kept in memory, 522 KB each; a blend has up to 8


@dataclass(frozen=True, slots=True)
class _Language:
    name: str
    espeak: str  # whose phonemes Kokoro was taught
    tags: tuple[str, ...]  # BCP-47 in lower case, the main one first


_LANGUAGES = {
    "a": _Language("American English", "en-us", ("en-us", "en")),
    "b": _Language("British English", "en-gb", ("en-gb", "en")),
    "e": _Language("Spanish", "es", ("es",)),
    "f": _Language("French", "fr-fr", ("fr-fr", "fr")),
    "h": _Language("Hindi", "hi", ("hi",)),
    "i": _Language("Italian", "it", ("it",)),
    "j": _Language("Japanese", "ja", ("ja",)),
    "p": _Language("Brazilian Portuguese", "pt-br", ("pt-br", "pt")),
    "z": _Language("Mandarin Chinese", "cmn", ("zh-cn", "cmn", "zh")),
}
_GENDERS = {"f": "female", "m": "male"}
_PREFIX = re.compile(r"([a-z])([fm])(?:_(.*))?", re.IGNORECASE)


class VoicePack:
    """All voices of a file or folder, read when they are asked for and kept while in use.

    Everything here blocks for a moment, to read: it belongs on one thread, the lane's. After
    `open`, `voices`, `find` and `explain` touch no file and may be called on the event loop.
    """

    def __init__(self, files: VoiceFiles) -> None:
        self._files = files
        self._known = {name.lower(): name for name in files.names}
        self._read = lru_cache(_IN_USE)(files.read)
        self._voices = tuple(self._voice(Blend(((name, 1),))) for name in sorted(files.names))

    @classmethod
    def open(cls, path: Path) -> VoicePack:
        """Open `voices-v1.0.bin`, `voices.json`, or a file or folder of `.npy` or `.pt`.

        Raises:
            BackendUnavailable: there is no such file, or it holds no voices; nothing stays open.
        """
        return cls(open_voice_files(path))

    def voices(self) -> tuple[Voice, ...]:
        """Return the voices by name; any blend of them may be spoken with too."""
        return self._voices

    def find(self, name: str) -> Voice | None:
        """Return the voice or blend of that name, whatever its case.

        Equal blends have equal ids, in whatever order and size their weights were given.
        """
        try:
            return self._voice(self._blend(name))
        except VoiceNotFound:
            return None

    def explain(self, name: str) -> str:
        """Say in a sentence why `find` knows no such name, with the nearest ones."""
        try:
            return f"There is a voice {self._blend(name).id!r}."
        except VoiceNotFound as error:
            return error.message

    def espeak_language(self, voice_id: str) -> str:
        """Return espeak's code for the language of a voice, `en-gb`; of a blend, of its first.

        Raises:
            VoiceNotFound: `find` knows no such voice.
        """
        return _language(self._blend(voice_id).weights[0][0]).espeak

    def style(self, voice_id: str, length: int) -> Float32:
        """Return the style of a voice for so many tokens: float32 [1, 256].

        Row `length - 1`, where the pads around the tokens do not count. Beyond the rows there are
        it is the last.

        Raises:
            VoiceNotFound: `find` knows no such voice.
            BackendUnavailable: its file is damaged there, or cannot be read any more.
        """
        style: Float32 = np.zeros((1, STYLE), np.float32)
        for name, share in self._blend(voice_id).shares:
            rows = self._read(name)
            style += np.float32(share) * rows[min(max(length, 1), len(rows)) - 1]
        return style

    def close(self) -> None:
        """Close the files and forget what was read; may be called twice."""
        self._read.cache_clear()
        self._files.close()

    def _blend(self, name: str) -> Blend:
        return read_blend(name, self._known, lambda voice: _language(voice).espeak)

    def _voice(self, blend: Blend) -> Voice:
        first = blend.weights[0][0]
        language = _language(first)
        about = [blend.write(_title, around=" "), language.name]
        if len(blend.weights) == 1 and (gender := _gender(first)):
            about.append(gender)
        return Voice(
            id=blend.id,
            name=", ".join(about),
            languages=language.tags,
            sample_rate=SAMPLE_RATE,
        )


def _language(voice: str) -> _Language:
    """Return what its first letter says; American English, the main one, where it says nothing."""
    found = _PREFIX.fullmatch(voice)
    return _LANGUAGES.get(found[1].lower() if found else "a", _LANGUAGES["a"])


def _gender(voice: str) -> str | None:
    found = _PREFIX.fullmatch(voice)
    return _GENDERS[found[2].lower()] if found else None


def _title(voice: str) -> str:
    found = _PREFIX.fullmatch(voice)
    title = (found[3] if found else None) or voice
    return title[:1].upper() + title[1:].replace("_", " ")
