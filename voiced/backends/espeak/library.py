"""espeak-ng as a library: loaded, spoken with. Only the worker process loads it.

espeak keeps its state in global variables, and some of it (flutter, roughness) survives everything
but unloading; on some texts it ends the process. So whoever speaks with it is a fork of a process
that never did: `worker`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any

_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000  # without it espeak ends the process when its data is missing
_BUFFER_MS = 60
_CHARS_UTF8 = 1
_SSML = 0x10
_IPA = 0x02
_POSITION_CHARACTER = 1
_RATE, _PITCH, _WORD_GAP = 1, 3, 7  # espeak_PARAMETER
_EVENT_END_OF_LIST, _EVENT_WORD = 0, 1


class EspeakFailure(Exception):  # noqa: N818  # it goes by its name over the pipe
    """What espeak refuses; the message is for a person."""


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _VoiceRecord(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),  # (priority byte, name, NUL)... NUL
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_UriCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
# Asked whether to play the file of an SSML <audio>. Left to itself espeak copies the name into a
# buffer that is too small; 1 says to speak the text inside instead.
_play_no_files = _UriCallback(lambda *_: 1)
_libc = ctypes.CDLL(None)

OnAudio = Callable[[bytes, list[int]], bool]
"""Takes 16-bit samples, and of each word in them its character from 0 and its sample; False to
stop."""


class EspeakLibrary:
    """The loaded library. `set_voice` and `speak` may each be called once."""

    def __init__(self, library: str, data: str) -> None:
        """Load it.

        Raises:
            EspeakFailure: the library or its data do not load.
        """
        try:
            self._library = ctypes.CDLL(library)
        except OSError:
            raise EspeakFailure(
                "The espeak-ng library does not load; unset PHONEMIZER_ESPEAK_LIBRARY or run "
                "`pip install --force-reinstall espeakng-loader`."
            ) from None
        self._data = data
        self._library.espeak_ListVoices.restype = ctypes.c_void_p
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.sample_rate: int = self._library.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, _BUFFER_MS, _short_path(data), _DONT_EXIT
        )
        if self.sample_rate <= 0:  # 0 where the data is missing, -1 otherwise
            raise EspeakFailure(
                "espeak-ng does not accept its data; unset ESPEAK_DATA_PATH or run "
                "`pip install --force-reinstall espeakng-loader`."
            )
        self._library.espeak_SetUriCallback(_play_no_files)

    def list_voices(self) -> dict[str, Any]:
        """Return the voices that can speak, and the variants that any of them may have.

        A voice is its identifier, "gmw/en-US", its name, and its languages, the most fitting first.
        """
        voices = [
            (record.identifier.decode(), record.name.decode().strip(), languages)
            for record, languages in _records(self._library.espeak_ListVoices(None))
        ]
        known = {name.removesuffix("_dict") for name in os.listdir(self._data)}
        voices = [voice for voice in voices if known & set(self._dictionaries(voice[0], voice[2]))]
        languages = ctypes.create_string_buffer(b"variant")
        wanted = _VoiceRecord(languages=ctypes.cast(languages, ctypes.c_void_p))
        variants = [
            record.identifier.decode().removeprefix("!v/")
            for record, _ in _records(self._library.espeak_ListVoices(ctypes.byref(wanted)))
        ]
        return {"voices": voices, "variants": variants}

    def _dictionaries(self, identifier: str, languages: list[str]) -> list[str]:
        """Return the names that a voice's dictionary may have; a few voices come without it."""
        try:
            with open(
                f"{self._data}/lang/{identifier}", encoding="utf-8", errors="replace"
            ) as file:
                named = [line.split()[1] for line in file if line.startswith("dictionary ")]
        except FileNotFoundError:  # an mbrola voice, which wants a library that is not here
            return []
        short = identifier.rpartition("/")[2].lower()
        return named or [name.partition("-")[0] for name in (*languages[:1], short)]

    def set_voice(self, voice: str) -> None:
        """Speak with a voice: an identifier, with `+variant` where one is wanted.

        Raises:
            EspeakFailure: there is no such file.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise EspeakFailure(f"espeak-ng has no voice file {voice!r}.")

    def speak(
        self, text: str, *, rate: int, pitch: int, word_gap: int, ssml: bool, on_audio: OnAudio
    ) -> None:
        """Speak `text` in one go, calling `on_audio` as samples are made.

        Raises:
            EspeakFailure: it could not.
        """

        def callback(samples: ctypes._Pointer[ctypes.c_short], count: int, events: object) -> int:
            if not samples:
                return 0
            made = ctypes.string_at(samples, count * 2)
            return 0 if on_audio(made, list(_words(events))) else 1

        held = _Callback(callback)  # espeak keeps a bare pointer to it
        library = self._library
        library.espeak_SetSynthCallback(held)
        # Breath and whisper are made of random numbers, espeak's own and, in Klatt voices, libc's.
        library.espeak_ng_SetRandSeed(1)
        _libc.srand(1)
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_WORD_GAP, word_gap)):
            library.espeak_SetParameter(parameter, value, 0)
        plain = text.encode()
        flags = _CHARS_UTF8 | (_SSML if ssml else 0)
        if library.espeak_Synth(
            plain, len(plain) + 1, 0, _POSITION_CHARACTER, 0, flags, None, None
        ):
            raise EspeakFailure("espeak-ng could not speak the text.")

    def phonemes(self, text: str) -> str:
        """Return what a text sounds like, in IPA with stress marks."""
        said = []
        left = ctypes.c_char_p(text.encode())
        while left.value is not None:  # a clause at a time
            said.append(
                self._library.espeak_TextToPhonemes(ctypes.byref(left), _CHARS_UTF8, _IPA) or b""
            )
        return " ".join(clause.decode() for clause in said if clause)


def _short_path(folder: str) -> bytes:
    """Return a path to the data that fits into espeak's buffer of 160 bytes.

    It appends names of its own; 145 bytes were seen to work, and 165 to fail.
    """
    path = os.fsencode(folder)
    if len(path) <= 140:
        return path
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # as long as the process lives
    return f"/proc/self/fd/{descriptor}".encode()


def _records(array: int | None) -> Iterator[tuple[_VoiceRecord, list[str]]]:
    if not array:
        return
    pointers = ctypes.cast(array, ctypes.POINTER(ctypes.POINTER(_VoiceRecord)))
    index = 0
    while pointers[index]:
        record = pointers[index].contents
        yield record, list(_languages(record.languages))
        index += 1


def _languages(address: int) -> Iterator[str]:
    ranked = []
    while priority := ctypes.c_ubyte.from_address(address).value:
        name = ctypes.string_at(address + 1)
        ranked.append((priority, name.decode()))
        address += len(name) + 2
    yield from (name for _, name in sorted(ranked, key=lambda pair: pair[0]))


def _words(events: object) -> Iterator[int]:
    index = 0
    while (event := events[index]).type != _EVENT_END_OF_LIST:  # type: ignore[index]
        if event.type == _EVENT_WORD:
            yield event.text_position - 1
            yield event.sample
        index += 1
