"""`DiskPhrases`: phrases in an SQLite file, bounded, safe against a kill, never believed unread.

All of it happens on one thread of its own. What the file holds is listed in memory, so that nobody
waits for a phrase that is not there. Each phrase has a checksum; one that does not fit is dropped,
and so is the whole file where SQLite finds it damaged. The folder is its owner's alone: what was
said at home can be heard from it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from voiced.speech import WordMark
from voiced.synthesis.phrases import Phrase

T = TypeVar("T")

log = logging.getLogger(__name__)

FILE = "phrases.sqlite"
_FORMAT = 1  # of the file; another one is begun anew
_WAITING = 32  # phrases that wait to be written; more are not kept
_LOCKED_S = 0.2  # that another process may hold the file, before it is done without
_MARK = struct.Struct("<IIQ")
_FULL = 0.9  # of the bound, down to which the least used are dropped
_TABLES = (
    "drop table if exists phrases",
    """create table phrases (
        key blob primary key, used real not null, size integer not null, checksum blob not null,
        marks blob not null, samples blob not null
    ) without rowid""",
    "create index by_use on phrases (used)",
    f"pragma user_version = {_FORMAT}",
)


@dataclass(frozen=True, slots=True)
class Stock:
    """What a file holds."""

    phrases: int
    size_bytes: int


class PhraseFile:
    """The file itself; its calls block, and are for one thread."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        """Open it, or begin it.

        Raises:
            OSError: the folder cannot be made or written.
        """
        self._path = folder / FILE
        self._most_bytes = most_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.OperationalError as error:  # the disk is full, another one holds it
            raise OSError(str(error)) from error
        except sqlite3.DatabaseError as error:
            log.warning("the file of phrases is damaged (%s) and begun anew", error)
            self._delete()
        try:
            return self._connected()
        except sqlite3.Error as error:
            raise OSError(str(error)) from error

    def begin_anew(self) -> None:
        """Delete a file that is damaged, and begin another one.

        Raises:
            OSError: that cannot be done.
        """
        self._database.close()
        self._delete()
        self._database = self._open()

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._path, timeout=_LOCKED_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._path.chmod(0o600)
            # A power cut may lose the latest phrases, and damages nothing.
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = normal")
            database.execute("begin immediate")  # another process may begin it, too
            (version,) = database.execute("pragma user_version").fetchone()
            if version != _FORMAT:
                for statement in _TABLES:
                    database.execute(statement)
            database.execute("commit")
            database.execute("select count(*), sum(size) from phrases").fetchone()
        except BaseException:
            database.close()
            raise
        return database

    def _delete(self) -> None:
        for ending in ("", "-wal", "-shm"):
            self._path.with_name(f"{FILE}{ending}").unlink(missing_ok=True)

    def keys(self) -> set[bytes]:
        """Return all keys."""
        return {key for (key,) in self._database.execute("select key from phrases")}

    def stock(self) -> Stock:
        """Return how much there is."""
        row = self._database.execute("select count(*), coalesce(sum(size), 0) from phrases")
        return Stock(*row.fetchone())

    def get(self, key: bytes) -> Phrase | None:
        """Return a phrase, if it is there and whole."""
        query = "select checksum, marks, samples from phrases where key = ?"
        row = self._database.execute(query, (key,)).fetchone()
        if row is None:
            return None
        checksum, marks, samples = row
        if _checksum(key, marks, samples) != checksum:
            log.warning("a kept phrase was damaged and is dropped")
            self._database.execute("delete from phrases where key = ?", (key,))
            return None
        with suppress(sqlite3.OperationalError):  # another process writes
            self._database.execute("update phrases set used = ? where key = ?", (time.time(), key))
        found = tuple(WordMark(*mark) for mark in _MARK.iter_unpack(marks))
        return Phrase(np.frombuffer(samples, np.int16), found)

    def put(self, key: bytes, phrase: Phrase) -> list[bytes]:
        """Keep a phrase; return the keys of those that had to go for it."""
        marks = b"".join(_MARK.pack(mark.start, mark.end, mark.sample) for mark in phrase.marks)
        samples = phrase.samples.tobytes()
        row = (key, time.time(), len(marks) + len(samples), _checksum(key, marks, samples))
        self._database.execute(
            "insert or replace into phrases values (?, ?, ?, ?, ?, ?)", (*row, marks, samples)
        )
        return self._make_room()

    def _make_room(self) -> list[bytes]:
        gone: list[bytes] = []
        size = self.stock().size_bytes
        if size <= self._most_bytes:
            return gone
        for key, taken in self._database.execute("select key, size from phrases order by used"):
            if size <= self._most_bytes * _FULL:
                break
            gone.append(key)
            size -= taken
        self._database.executemany("delete from phrases where key = ?", [(key,) for key in gone])
        return gone

    def clear(self) -> None:
        """Delete all, and give the room back."""
        self._database.execute("delete from phrases")
        self._database.execute("vacuum")

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class DiskPhrases:
    """A `PhraseStore` in a file. `open` it, and `close` it."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        """Touch nothing yet."""
        self._folder = folder
        self._most_bytes = most_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voiced-phrases")
        self._file: PhraseFile | None = None
        self._complaint = ""
        self._keys: set[bytes] = set()
        self._writing: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        """Open the file; where that fails, nothing is kept, and the log says why."""
        try:
            self._file = await self._do(
                lambda: PhraseFile(self._folder, most_bytes=self._most_bytes)
            )
            self._keys = await self._do(lambda: self._tried(PhraseFile.keys) or set())
        except OSError as error:
            log.warning("phrases are not kept on the disk: %s", error.strerror or error)

    async def get(self, key: bytes) -> Phrase | None:
        """Return a phrase, if it is there and whole."""
        if key not in self._keys:
            return None
        phrase = await self._do(lambda: self._tried(lambda file: file.get(key)))
        if phrase is None:
            self._keys.discard(key)
        return phrase

    def put(self, key: bytes, phrase: Phrase) -> None:
        """Keep a phrase, unless many wait already."""
        if self._file is None or len(self._writing) >= _WAITING:
            return
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._thread, self._write, key, phrase)
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        """Write what waits, and close the file."""
        await asyncio.gather(*self._writing, return_exceptions=True)
        if self._file is not None:
            with suppress(sqlite3.Error):
                await self._do(self._file.close)
        await asyncio.to_thread(self._thread.shutdown)

    # ------------------------------------------------------------------------------ on the thread

    def _write(self, key: bytes, phrase: Phrase) -> None:
        gone = self._tried(lambda file: file.put(key, phrase))
        if gone is not None:
            self._keys.add(key)
            self._keys.difference_update(gone)

    def _tried(self, do: Callable[[PhraseFile], T]) -> T | None:
        """Do something with the file; None where that fails. What is damaged is begun anew."""
        if self._file is None:
            return None
        try:
            return do(self._file)
        except sqlite3.OperationalError as error:  # it may pass
            self._complain(str(error))
        except sqlite3.DatabaseError as error:
            log.warning("the file of phrases is damaged (%s) and begun anew", error)
            self._keys = set()
            try:
                self._file.begin_anew()
            except OSError as trouble:
                self._file = None
                self._complain(str(trouble))
        return None

    def _complain(self, reason: str) -> None:
        """Say once what keeps phrases from the disk."""
        if reason != self._complaint:
            log.warning("phrases are not kept on the disk now: %s", reason)
        self._complaint = reason

    async def _do(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _checksum(key: bytes, marks: bytes, samples: bytes) -> bytes:
    digest = hashlib.blake2b(key, digest_size=16)
    digest.update(marks)
    digest.update(samples)
    return digest.digest()
