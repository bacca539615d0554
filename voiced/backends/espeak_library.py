"""espeak-ng as a library: found, loaded afresh, spoken with. It knows nothing of speeches.

espeak keeps its state in global variables, so all of this belongs to one thread, and some of that
state (flutter, roughness) survives everything but unloading: the same text would sound a little
different each time. Therefore each utterance gets a library that has just been loaded. That
costs 0.8 ms, and a voice 0.1-3.5 ms; `EspeakLibrary.prepare` does both ahead of need.
"""

from __future__ import annotations

import _ctypes
import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voiced.errors import BackendError, BackendUnavailable
from voiced.speech import Float32

_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000  # without it espeak ends the process when its data is missing
_BUFFER_MS = 60
_CHARS_UTF8 = 1
_SSML = 0x10
_POSITION_CHARACTER = 1
_RATE, _PITCH, _WORD_GAP = 1, 3, 7  # espeak_PARAMETER
_EVENT_END_OF_LIST, _EVENT_WORD = 0, 1
_NORMAL_WORDS_PER_MINUTE = 175


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
# buffer that is too small, which ends the process; 1 says to speak the text inside instead.
_play_no_files = _UriCallback(lambda *_: 1)
_libc = ctypes.CDLL(None)
_libc.free.argtypes = (ctypes.c_void_p,)


@dataclass(frozen=True, slots=True)
class EspeakFiles:
    """Where the library and its data are."""

    library: Path
    data: Path

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> EspeakFiles:
        """Return the files that the environment names, else those of the espeakng-loader wheel.

        `PHONEMIZER_ESPEAK_LIBRARY` is the shared library, `PHONEMIZER_ESPEAK_PATH` an espeak-ng
        program or folder beside which the library lies, `ESPEAK_DATA_PATH` the folder
        `espeak-ng-data` or the one that holds it.

        Raises:
            BackendUnavailable: a variable names something that is not there.
        """
        library = _library_from(environ)
        data = _data_from(environ, library)
        return cls(library or _bundled("libespeak-ng.so"), data)


def _library_from(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("PHONEMIZER_ESPEAK_LIBRARY"):
        if not Path(named).is_file():
            raise _misled("PHONEMIZER_ESPEAK_LIBRARY", "a file")
        return Path(named)
    if named := environ.get("PHONEMIZER_ESPEAK_PATH"):
        base = Path(named).resolve()
        for folder in (base, base.parent, base.parent.parent):
            for pattern in ("libespeak-ng.so*", "lib/libespeak-ng.so*", "lib/*/libespeak-ng.so*"):
                if found := sorted(folder.glob(pattern)):
                    return found[0]
        raise _misled("PHONEMIZER_ESPEAK_PATH", "an espeak-ng with its library beside it")
    return None


def _data_from(environ: Mapping[str, str], library: Path | None) -> Path:
    if named := environ.get("ESPEAK_DATA_PATH"):
        places = [Path(named), Path(named, "espeak-ng-data")]
    elif library is not None:
        places = [library.parent / "espeak-ng-data", Path("/usr/share/espeak-ng-data")]
    else:
        return _bundled("espeak-ng-data")
    for place in places:
        if Path(place, "phontab").is_file():
            return place
    if "ESPEAK_DATA_PATH" in environ:
        raise _misled("ESPEAK_DATA_PATH", "a folder with espeak-ng's data")
    raise BackendUnavailable(
        "The espeak-ng library has no data beside it; set ESPEAK_DATA_PATH to its data folder."
    )


def _bundled(name: str) -> Path:
    import espeakng_loader  # noqa: PLC0415  # only where nothing else is named

    return Path(espeakng_loader.__file__).with_name(name)


def _misled(variable: str, what: str) -> BackendUnavailable:
    return BackendUnavailable(f"{variable} does not name {what}; correct it or unset it.")


@dataclass(frozen=True, slots=True)
class EspeakVoice:
    """A voice file of espeak-ng."""

    identifier: str  # "gmw/en-US"
    name: str  # "English (America)"
    languages: tuple[str, ...]  # the most fitting first

    @property
    def id(self) -> str:
        """The short name that people use: "en-us"."""
        return self.identifier.rpartition("/")[2].lower()


@dataclass(frozen=True, slots=True)
class EspeakSound:
    """How to say it, beside the voice."""

    speed: float = 1.0
    pitch: int = 50
    word_gap: int = 0
    ssml: bool = False


OnAudio = Callable[[Float32, list[tuple[int, int, int]]], bool]
"""Takes samples (+-1.0) and word events (character from 0, length, sample); False to stop."""


class EspeakLibrary:
    """The loaded library. For one thread only, from `prepare` to `unload`."""

    def __init__(self, files: EspeakFiles) -> None:
        self._files = files
        self._copy = _OwnCopy(files.library)
        self._data = _DataFolder(files.data)
        self._library: ctypes.CDLL | None = None
        self._voice: str | None = None
        self._has_listed = False
        self.sample_rate = 0  # Hz, known once prepared

    def prepare(self, voice: str | None = None) -> ctypes.CDLL:
        """Have a fresh library ready, with `voice` set where one is named.

        Raises:
            BackendUnavailable: the library or its data do not load.
        """
        library = self._library or self._load()
        if voice is not None and voice != self._voice:
            # espeak looks for a file of that name in lower case, then through its whole list.
            self._has_listed |= voice != voice.lower()
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise BackendError(f"espeak-ng has no voice file {voice!r}.")
            self._voice = voice
        return library

    def unload(self) -> None:
        """Give the library back, with all its state."""
        library, self._library = self._library, None
        if library is None:
            return
        # espeak never frees the array that it lists voices in: 2 KB an utterance.
        array = library.espeak_ListVoices(None) if self._has_listed else None
        self._voice, self._has_listed = None, False
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)  # noqa: SLF001  # ctypes offers no other way
        if array:
            _libc.free(array)

    def close(self) -> None:
        """Unload, for good."""
        self.unload()
        self._data.close()
        self._copy.close()

    def list_voices(self) -> tuple[list[EspeakVoice], frozenset[str]]:
        """Return the voices that can speak, and the variants that any of them may have."""
        library = self.prepare()
        self._has_listed = True
        voices = [
            EspeakVoice(record.identifier.decode(), record.name.decode().strip(), languages)
            for record, languages in _records(library.espeak_ListVoices(None))
        ]
        known = {path.name.removesuffix("_dict") for path in self._files.data.glob("*_dict")}
        voices = [voice for voice in voices if known & set(self._dictionaries(voice))]
        languages = ctypes.create_string_buffer(b"variant")
        wanted = _VoiceRecord(languages=ctypes.cast(languages, ctypes.c_void_p))
        variants = frozenset(
            record.identifier.decode().removeprefix("!v/")
            for record, _ in _records(library.espeak_ListVoices(ctypes.byref(wanted)))
        )
        return voices, variants

    def _dictionaries(self, voice: EspeakVoice) -> list[str]:
        """Return the names that the voice's dictionary may have; a few voices come without it."""
        file = self._files.data / "lang" / voice.identifier
        if not file.is_file():
            return []  # an mbrola voice, which wants a library that is not here
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        named = [line.split()[1] for line in lines if line.startswith("dictionary ")]
        return named or [name.partition("-")[0] for name in (*voice.languages[:1], voice.id)]

    def speak(self, text: str, *, voice: str, sound: EspeakSound, on_audio: OnAudio) -> None:
        """Speak `text` in one go, calling `on_audio` as samples are made, and unload.

        Text is text: what espeak would take for commands is blanked out, character by character,
        so that positions stay true. An exception of `on_audio` stops espeak and is raised here.
        """
        library = self.prepare(voice)
        failure: list[BaseException] = []

        def callback(samples: ctypes._Pointer[ctypes.c_short], count: int, events: object) -> int:
            try:
                if not samples:
                    return 0
                # Not numpy.ctypeslib: ctypes keeps an array type for every count, for ever.
                made = ctypes.string_at(samples, count * 2)
                pcm = np.frombuffer(made, np.int16).astype(np.float32)
                pcm /= 32768
                return 0 if on_audio(pcm, list(_words(events))) else 1
            except BaseException as error:  # noqa: BLE001  # C cannot carry it; raised below
                failure.append(error)
                return 1

        held = _Callback(callback)  # espeak keeps a bare pointer to it
        library.espeak_SetSynthCallback(held)
        # Breath and whisper are made of random numbers, espeak's own and, in Klatt voices, libc's.
        library.espeak_ng_SetRandSeed(1)
        _libc.srand(1)
        rate = round(_NORMAL_WORDS_PER_MINUTE * sound.speed)
        for parameter, value in (
            (_RATE, rate),
            (_PITCH, sound.pitch),
            (_WORD_GAP, sound.word_gap),
        ):
            library.espeak_SetParameter(parameter, value, 0)
        plain = speakable(text).encode()
        flags = _CHARS_UTF8 | (_SSML if sound.ssml else 0)
        try:
            status = library.espeak_Synth(
                plain, len(plain) + 1, 0, _POSITION_CHARACTER, 0, flags, None, None
            )
        finally:
            self.unload()
        if failure:
            raise failure[0]
        if status != 0:
            raise BackendError("espeak-ng could not speak the text.")

    def _load(self) -> ctypes.CDLL:
        try:
            library = ctypes.CDLL(self._copy.path)
        except OSError:
            raise BackendUnavailable(
                "The espeak-ng library does not load; unset PHONEMIZER_ESPEAK_LIBRARY or run "
                "`pip install --force-reinstall espeakng-loader`."
            ) from None
        library.espeak_ListVoices.restype = ctypes.c_void_p
        self.sample_rate = library.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, _BUFFER_MS, self._data.path, _DONT_EXIT
        )
        if self.sample_rate <= 0:  # 0 where the data is missing, -1 otherwise
            _ctypes.dlclose(library._handle)  # noqa: SLF001  # as above
            raise BackendUnavailable(
                "espeak-ng does not accept its data; unset ESPEAK_DATA_PATH or run "
                "`pip install --force-reinstall espeakng-loader`."
            )
        library.espeak_SetUriCallback(_play_no_files)
        self._library = library
        return library


class _OwnCopy:
    """The library's file under a name of our own, in memory.

    A library is loaded once for each file, and unloaded when the last who loaded it lets go. Others
    in this process (phonemizer, kokoro-onnx) load the same file and never do.
    """

    def __init__(self, library: Path) -> None:
        try:
            content = library.read_bytes()
        except OSError:
            content = b""  # which does not load
        self._descriptor = os.memfd_create("espeak-ng")
        with open(self._descriptor, "wb", closefd=False) as file:
            file.write(content)
        self.path = f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        os.close(self._descriptor)


class _DataFolder:
    """A path to the data folder that fits into espeak's buffer of 160 bytes."""

    _LONGEST_BYTES = 140  # espeak appends names of its own; 145 was seen to work, 165 to fail

    def __init__(self, folder: Path) -> None:
        self.path = os.fsencode(folder)
        self._descriptor: int | None = None
        if len(self.path) > self._LONGEST_BYTES:
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            self.path = f"/proc/self/fd/{self._descriptor}".encode()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def _records(array: int | None) -> Iterator[tuple[_VoiceRecord, tuple[str, ...]]]:
    if not array:
        return
    pointers = ctypes.cast(array, ctypes.POINTER(ctypes.POINTER(_VoiceRecord)))
    index = 0
    while pointers[index]:
        record = pointers[index].contents
        yield record, tuple(_languages(record.languages))
        index += 1


def _languages(address: int) -> Iterator[str]:
    ranked = []
    while priority := ctypes.c_ubyte.from_address(address).value:
        name = ctypes.string_at(address + 1)
        ranked.append((priority, name.decode()))
        address += len(name) + 2
    yield from (name for _, name in sorted(ranked, key=lambda pair: pair[0]))


def _words(events: object) -> Iterator[tuple[int, int, int]]:
    index = 0
    while (event := events[index]).type != _EVENT_END_OF_LIST:  # type: ignore[index]
        if event.type == _EVENT_WORD:
            yield event.text_position - 1, event.length, event.sample
        index += 1


def speakable(text: str) -> str:
    """Blank what is no text: controls (0x01 begins a command), NUL, halves of surrogates.

    And spaces without a width, which espeak-ng ends the process by in some languages.
    """
    return "".join(map(_speakable, text))


def _speakable(character: str) -> str:
    code = ord(character)
    is_control = (code < 0x20 and character not in "\t\n\r") or 0x7F <= code < 0xA0
    is_nothing = 0xD800 <= code < 0xE000 or character in "\u200b\u2060\ufeff"
    return " " if is_control or is_nothing else character
