"""Reads Kokoro's voices from the files that they are published in, a voice at a time.

No file is trusted: what it says of its size is checked before anything of that size is read, and
nothing in it is unpickled. All of this blocks, so it belongs on the lane's thread: an archive opens
in 7 ms and gives a voice in 1 ms; a `voices.json` of 150 MB takes 260 and 60 ms.
"""

from __future__ import annotations

import importlib
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from voiced.backends.kokoro.voice_array import MOST_ROWS, STYLE, checked, read_array, read_layout
from voiced.errors import BackendUnavailable
from voiced.speech import Float32

_MOST_VOICES = 1024  # the largest published pack has 103
_ZIP_BYTES = 512 * 2**20  # of `_MOST_VOICES` voices of 510 rows; the published file has 28 MB
_JSON_BYTES = 256 * 2**20  # of 60 voices of 510 rows, written in full
_JSON_VOICE_BYTES = MOST_ROWS * STYLE * 32  # a float64 written in full has up to 25 characters
_TORCH_BYTES = 8 * 2**20  # of one voice; the published ones have 523 KB
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,  # of json, numpy, zipfile and ourselves; of bytes that are no UTF-8
    TypeError,
    OverflowError,  # an integer too large for a float
    MemoryError,  # a literal nested too deeply
    RecursionError,
    RuntimeError,  # an encrypted archive, an unknown compression
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the libraries below us raise of files that are broken or made to break them."""

_CURE = "run `voiced models pull kokoro` or correct voices_path"


class VoiceFiles(Protocol):
    """Where voices come from: one file with many, or many with one each. For one thread."""

    @property
    def names(self) -> tuple[str, ...]:
        """The voices there are, known since it was opened."""
        ...

    def read(self, name: str) -> Float32:
        """Read a voice: float32 [rows, 1, 256], all finite, 1 to 1024 rows.

        Raises:
            BackendUnavailable: the file is damaged there; other voices may still be read.
        """
        ...

    def close(self) -> None:
        """Close the files; nothing can be read afterwards."""
        ...


def open_voice_files(path: Path) -> VoiceFiles:
    """Open an npz archive, a `voices.json`, or a file or folder of `.npy` or `.pt`, by content.

    Raises:
        BackendUnavailable: there is no such file, or it holds no voices; the message says the cure.
    """
    if not path.exists():
        raise BackendUnavailable(f"There is no {path.name!r} with voices; {_CURE}.")
    with _naming(path):
        files = _open(path)
        with ExitStack() as on_failure:
            on_failure.callback(files.close)
            _check_names(files)
            on_failure.pop_all()
    return files


def _open(path: Path) -> VoiceFiles:
    if path.is_dir():
        return _SingleVoices(_in_folder(path))
    if path.suffix in {".npy", ".pt"}:
        return _SingleVoices({path.stem: path})
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"PK"):
        return _Archive(path)
    if start.lstrip().startswith(b"{"):
        return _Document(path)
    raise ValueError("it is neither an npz archive nor JSON")


def _in_folder(folder: Path) -> dict[str, Path]:
    """Find the voices of a folder; a `.npy` stands before a `.pt` of the same name."""
    found = sorted(folder.glob("*.pt")) + sorted(folder.glob("*.npy"))
    return {path.stem: path for path in found}


def _check_names(files: VoiceFiles) -> None:
    if not 1 <= len(files.names) <= _MOST_VOICES:
        raise ValueError(f"it has {len(files.names)} voices and not 1 to {_MOST_VOICES}")
    for name in files.names:
        if not re.fullmatch(r"\w[\w.-]{0,63}", name):
            raise ValueError(f"{name[:64]!r} is no name for a voice")


@contextmanager
def _naming(path: Path, name: str = "") -> Iterator[None]:
    """Turn what damage raises into one sentence that names the file, and the voice in it."""
    try:
        yield
    except _DAMAGE as error:
        # Of an error of the system only the reason: its text has the path.
        why = error.strerror if isinstance(error, OSError) else str(error)
        why = " ".join((why or type(error).__name__).split())[:160]
        where = f"The voice {name!r} in" if name else "The voices in"
        raise BackendUnavailable(
            f"{where} {path.name!r} cannot be read: {why}; {_CURE}."
        ) from error


class _Archive:
    """An npz archive, `voices-v1.0.bin`: an array for each voice."""

    def __init__(self, path: Path) -> None:
        _check_size(path, _ZIP_BYTES)
        self._path = path
        with ExitStack() as on_failure:
            self._zip = on_failure.enter_context(zipfile.ZipFile(path))
            self._members = {
                member.filename.removesuffix(".npy"): member for member in self._zip.infolist()
            }
            for name, member in self._members.items():
                self._check(name, member)
            on_failure.pop_all()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def _check(self, name: str, member: zipfile.ZipInfo) -> None:
        # The other compressions unpack to sizes that nobody asked for, before the first byte.
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise ValueError("it is compressed in a way that numpy does not")
        with self._zip.open(member) as stream:
            try:
                read_layout(stream)
            except ValueError as error:
                raise ValueError(f"{name[:64]!r}: {error}") from error

    def read(self, name: str) -> Float32:
        with _naming(self._path, name), self._zip.open(self._members[name]) as stream:
            return read_array(stream)

    def close(self) -> None:
        self._zip.close()


class _Document:
    """The older `voices.json`: an object of nested lists, a list for each voice.

    Only where each voice stands in it is kept, and a voice is parsed when it is asked for: all at
    once would take seconds, and hundreds of megabytes of Python's floats.
    """

    def __init__(self, path: Path) -> None:
        _check_size(path, _JSON_BYTES)
        self._path = path
        text = path.read_bytes()
        # There are no strings in it but the names.
        names = list(re.finditer(rb'"([^"\\]{1,64})"\s*:', text))
        end = text.rfind(b"}")
        if not names or text[: names[0].start()].strip() != b"{" or text[end:].strip() != b"}":
            raise ValueError("it is no JSON object of voices")
        ends = [name.start() for name in names[1:]] + [end]
        self._places = {
            name[1].decode(): (name.end(), after - name.end())
            for name, after in zip(names, ends, strict=True)
        }
        self._file = path.open("rb")
        with ExitStack() as on_failure:
            on_failure.enter_context(self._file)
            self._parse(next(iter(self._places)))  # is it what it seems?
            on_failure.pop_all()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._places)

    def _parse(self, name: str) -> Float32:
        start, length = self._places[name]
        if length > _JSON_VOICE_BYTES:
            raise ValueError(f"{name!r} has more than {_JSON_VOICE_BYTES} characters")
        self._file.seek(start)
        rows = json.loads(self._file.read(length).strip().removesuffix(b","))
        return checked(np.asarray(rows, np.float64))

    def read(self, name: str) -> Float32:
        with _naming(self._path, name):
            return self._parse(name)

    def close(self) -> None:
        self._file.close()


class _SingleVoices:
    """A file for each voice: `.npy`, or `.pt` as PyTorch writes it."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths
        for name, path in paths.items():
            if path.suffix == ".npy":
                with _naming(path, name), path.open("rb") as stream:
                    read_layout(stream)
        if any(path.suffix == ".pt" for path in paths.values()):
            self._torch = _import_torch()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._paths)

    def read(self, name: str) -> Float32:
        path = self._paths[name]
        with _naming(path, name):
            if path.suffix == ".pt":
                return self._read_torch(path)
            with path.open("rb") as stream:
                return read_array(stream)

    def _read_torch(self, path: Path) -> Float32:
        _check_size(path, _TORCH_BYTES)
        try:
            tensor = np.asarray(self._torch.load(path, weights_only=True, map_location="cpu"))
        except Exception as error:  # torch raises what it likes of a file that is none of its own
            raise ValueError(f"PyTorch raised {type(error).__name__}") from error
        return checked(tensor)

    def close(self) -> None:
        """Nothing stays open."""


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise BackendUnavailable(
            "Voices in .pt files need PyTorch, which is not installed; run `pip install torch`, "
            "or `voiced models pull kokoro` for voices that need none."
        ) from None


def _check_size(path: Path, most: int) -> None:
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"it has {size} bytes, and {most} is the most for such a file")
