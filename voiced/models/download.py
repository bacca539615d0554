"""A pull: files come into the store, whole and right, or not at all.

A file grows as `FILE.part`, and the next pull goes on from what a break, Ctrl-C or a killed process
left of it. It gets its name when size and checksum are right, and is safe on the disk by then.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from io import BufferedRandom
from pathlib import Path
from typing import Protocol

from voiced.errors import DownloadFailed, FileRejected, StoreError
from voiced.models.published import PublishedFile, megabytes
from voiced.models.source import Source
from voiced.models.store import FILE_MODE, FileState, ModelFolder, explained, open_here

TRIES = 10  # of a file; with the waits between, some two and a half minutes without a network
MARGIN_BYTES = 64_000_000  # left free on the disk, for the daemon and everyone else
_LONGEST_WAIT_S = 30


class Watcher(Protocol):
    """Who is told how a pull goes, in the thread that pulls."""

    def at(self, file: PublishedFile, size_bytes: int) -> None:
        """So much of the file is here; it may be less than before."""

    def done(self, file: PublishedFile, *, was_here: bool) -> None:
        """The file is here and right."""

    def note(self, sentence: str) -> None:
        """Something went wrong that is being mended."""


def free_bytes(folder: Path) -> int:
    """Return what this user may still write there."""
    return shutil.disk_usage(folder).free


def pull(
    folder: ModelFolder,
    variant: str,
    *,
    source: Source,
    watcher: Watcher,
    sleep: Callable[[float], None] = time.sleep,
    free: Callable[[Path], int] = free_bytes,
) -> None:
    """Bring the files of a variant into the folder; what is there and right stays.

    It blocks for as long as that takes. After an error the files are those from before, each with
    the part of it that arrived.

    Raises:
        DownloadFailed: the source failed so often that we give up; the same again goes on.
        FileRejected: the source has other files than those published.
        StoreError: somebody else pulls, or the disk is full or may not be written.
    """
    with folder.lock():
        wanted = []
        for file in folder.model.files(variant):
            if folder.check(file) is FileState.INSTALLED:
                watcher.done(file, was_here=True)
            else:
                wanted.append(file)
        with explained(f"measure the disk for {folder.model.name}"):
            _check_space(folder, wanted, free(folder.path))
        for file in wanted:
            with explained(f"write {file.name}"), open_here(folder.part(file)) as stream:
                _fetch(_Part(stream, folder, file), source, watcher, sleep)
            watcher.done(file, was_here=False)


def _check_space(folder: ModelFolder, files: list[PublishedFile], free: int) -> None:
    needed = 0
    for file in files:
        part = folder.part(file)
        arrived = part.stat().st_size if part.exists() else 0
        needed += max(file.size_bytes - arrived, 0)
    missing = needed + MARGIN_BYTES - free
    if needed and missing > 0:
        raise StoreError(
            f"The disk has {megabytes(missing)} too little for {folder.model.name}, which takes "
            f"{megabytes(needed)} and leaves {megabytes(MARGIN_BYTES)} free; free some space, or "
            "name another folder by --folder."
        )


class _Part:
    """The growing file, and the checksum of what is in it."""

    def __init__(self, stream: BufferedRandom, folder: ModelFolder, file: PublishedFile) -> None:
        self.file = file
        self._stream = stream
        self._path = folder.part(file)
        self._target = folder.file(file)
        os.fchmod(stream.fileno(), FILE_MODE)  # whatever the umask
        self._hash = hashlib.file_digest(stream, file.algorithm)
        self.size_bytes = stream.tell()
        self.is_inherited = self.size_bytes > 0
        if self.size_bytes > file.size_bytes:
            self.restart()

    @property
    def is_whole(self) -> bool:
        return self.size_bytes == self.file.size_bytes

    @property
    def is_right(self) -> bool:
        found: str = self._hash.hexdigest()
        return found == self.file.checksum

    def append(self, chunk: bytes) -> None:
        self._stream.write(chunk)
        self._stream.flush()  # what a killed process leaves counts
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def restart(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._hash = hashlib.new(self.file.algorithm)
        self.size_bytes = 0
        self.is_inherited = False

    def install(self) -> None:
        os.fsync(self._stream.fileno())
        self._path.replace(self._target)
        folder = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the new name too
        finally:
            os.close(folder)

    def discard(self) -> None:
        self._path.unlink()


def _fetch(part: _Part, source: Source, watcher: Watcher, sleep: Callable[[float], None]) -> None:
    """Complete the part and install it."""
    _complete(part, source, watcher, sleep)
    if not part.is_right and part.is_inherited:
        watcher.note(f"What was left of {part.file.name} is of another file; it begins anew.")
        part.restart()
        _complete(part, source, watcher, sleep)
    if not part.is_right:
        part.discard()
        raise FileRejected(
            f"{source.label} has other bytes in {part.file.name} than those published: the "
            "checksum is wrong, and what arrived was deleted. Name another source by --from."
        )
    part.install()


def _complete(
    part: _Part, source: Source, watcher: Watcher, sleep: Callable[[float], None]
) -> None:
    """Receive what is missing, over as many connections as that takes, but not more than TRIES."""
    watcher.at(part.file, part.size_bytes)
    failures = 0
    while not part.is_whole:
        try:
            _receive(part, source, watcher)
        except DownloadFailed as failure:
            failures += 1
            if failures == TRIES:
                raise DownloadFailed(
                    f"{failure.message}, {TRIES} times; what arrived is kept, and the same "
                    "command goes on from there."
                ) from None
            wait_s = min(2 ** (failures - 1), _LONGEST_WAIT_S)
            watcher.note(f"{failure.message}; next try in {wait_s} s.")
            sleep(wait_s)


def _receive(part: _Part, source: Source, watcher: Watcher) -> None:
    """Take what one connection gives."""
    with source.open(part.file, part.size_bytes) as body:
        if body.offset != part.size_bytes:
            part.restart()
        for chunk in body.chunks:
            part.append(chunk)
            if part.size_bytes > part.file.size_bytes:
                part.discard()
                raise FileRejected(
                    f"{source.label} sends more than the {part.file.size_bytes:,} bytes that "
                    f"{part.file.name} has; name another source by --from."
                )
            watcher.at(part.file, part.size_bytes)
    if not part.is_whole:
        raise DownloadFailed(f"The connection to {source.label} broke")
