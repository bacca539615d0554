"""Where model files lie on this machine: `FOLDER/MODEL/FILE`, and `FILE.part` while it comes.

A daemon under systemd looks into `$STATE_DIRECTORY/models`, one that a user runs into the user's
data folder and then into the service's. Whoever puts files there holds the lock of the model.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedRandom
from pathlib import Path

import platformdirs

from voiced.errors import StoreError
from voiced.models.published import PublishedFile, PublishedModel

SERVICE_STATE = Path("/var/lib/voiced")  # `StateDirectory=voiced` of the unit
FILE_MODE = 0o644

_FOLDER_MODE = 0o755  # the service has a user of its own, and only reads
_NO_SPACE = "free some space and run it again; what arrived is kept"
_NO_RIGHT = "run it with sudo, or name a folder by --folder"
_CURES = {
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
}


class FileState(StrEnum):
    """What is known of a published file here."""

    INSTALLED = "installed"
    UNFINISHED = "unfinished"  # a part of it came
    MISSING = "missing"
    WRONG_SIZE = "wrong size"
    WRONG_CHECKSUM = "wrong checksum"

    @property
    def is_fault(self) -> bool:
        """Whether there is a file that somebody could take for the published one."""
        return self in (FileState.WRONG_SIZE, FileState.WRONG_CHECKSUM)


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that is here, all of it."""

    variant: str
    paths: tuple[Path, ...]  # of `PublishedModel.files`, in its order


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The files of one model in one of the folders. Its calls block."""

    root: Path
    model: PublishedModel

    @property
    def path(self) -> Path:
        """Where the files are."""
        return self.root / self.model.name

    def file(self, file: PublishedFile) -> Path:
        """Return where the file is once it is complete."""
        return self.path / file.name

    def part(self, file: PublishedFile) -> Path:
        """Return where the file grows."""
        return self.path / f"{file.name}.part"

    def has(self, file: PublishedFile) -> bool:
        """Tell by its size whether the file is here and can be reached; one `stat`."""
        try:
            found = self.file(file).stat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == file.size_bytes

    def look(self, file: PublishedFile) -> FileState:
        """Tell without reading the file how it is.

        Raises:
            StoreError: one may not look there.
        """
        with explained(f"look for {file.name}"):
            if _is_there(self.file(file)):
                return FileState.INSTALLED if self.has(file) else FileState.WRONG_SIZE
            return FileState.UNFINISHED if _is_there(self.part(file)) else FileState.MISSING

    def check(self, file: PublishedFile) -> FileState:
        """Tell how the file is, and read it to the end for that.

        Raises:
            StoreError: it cannot be read.
        """
        state = self.look(file)
        if state is not FileState.INSTALLED:
            return state
        with explained(f"read {file.name}"), self.file(file).open("rb") as opened:
            is_right = hashlib.file_digest(opened, file.algorithm).hexdigest() == file.checksum
        return FileState.INSTALLED if is_right else FileState.WRONG_CHECKSUM

    def remove(self, variant: str | None = None) -> list[str]:
        """Delete a variant, or all; what they share goes with the last. Return the names deleted.

        Raises:
            StoreError: somebody else changes the files now, or it is not allowed.
        """
        with explained(f"look for {self.model.name}"):
            if not _is_there(self.path):
                return []
        leaving = [*(self.model.variants[variant] if variant else self.model.all_files())]
        staying = {file for file in self.model.all_files() if file not in leaving}
        removed = []
        with self.lock(), explained(f"remove {self.model.name}"):
            if not any(
                _is_there(self.file(file)) for file in staying.difference(self.model.shared)
            ):
                leaving += self.model.shared
            for file in dict.fromkeys(leaving):
                for path in (self.file(file), self.part(file)):
                    if _is_there(path):
                        path.unlink()
                        removed.append(path.name)
        return removed

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one who changes the files; the folder is made where it is missing.

        Raises:
            StoreError: somebody else is it already, or the folder cannot be written.
        """
        with explained(f"write into the folder of {self.model.name}"):
            for folder in (self.root, self.path):
                if not folder.exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    folder.chmod(_FOLDER_MODE)
            # It stays: to delete a lock is a race with the next who takes it.
            lock = open_here(self.path / ".lock")
        with lock:
            with explained(f"lock the folder of {self.model.name}"):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise StoreError(
                        f"Another command is changing the files of {self.model.name}; "
                        "wait until it has ended."
                    ) from None
            yield


def find(model: PublishedModel, *, folders: Sequence[Path] | None = None) -> InstalledModel | None:
    """Return the best variant in the first folder that has all of one.

    It asks for sizes only, some four times, so that an event loop may call it each time it wants
    to know; files that came since are found.
    """
    for root in search_folders(os.environ) if folders is None else folders:
        folder = ModelFolder(root, model)
        for variant in model.variants:
            if all(map(folder.has, model.files(variant))):
                return InstalledModel(variant, tuple(map(folder.file, model.files(variant))))
    return None


def models_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of this process: its service's under systemd, else its user's."""
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0]) / "models"
    return platformdirs.user_data_path("voiced") / "models"


def service_folder(state: Path = SERVICE_STATE) -> Path | None:
    """Return the folder of the service of this machine, if one was started here."""
    # Not `exists`: with a dynamic user it is a link to where only root may look.
    return state / "models" if os.path.lexists(state) else None


def search_folders(environ: Mapping[str, str], *, state: Path = SERVICE_STATE) -> tuple[Path, ...]:
    """Return where a daemon of this environment looks, in that order."""
    folders = (models_folder(environ), service_folder(state))
    return tuple(dict.fromkeys(folder for folder in folders if folder is not None))


def command_folder(environ: Mapping[str, str], *, state: Path = SERVICE_STATE) -> Path:
    """Return the folder that a command changes: the service's where there is one."""
    if environ.get("STATE_DIRECTORY"):
        return models_folder(environ)
    return service_folder(state) or models_folder(environ)


def open_here(path: Path) -> BufferedRandom:
    """Open or make a file, never through a link: root may write in a folder that is another's."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, FILE_MODE), "r+b")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an error of the disk into a sentence that says what could not be done, and the cure.

    Raises:
        StoreError: instead of the `OSError`.
    """
    try:
        yield
    except BrokenPipeError:  # of the terminal; no disk has it
        raise
    except OSError as error:
        cure = _CURES.get(error.errno or 0, "name another folder by --folder")
        raise StoreError(f"Cannot {what}: {error.strerror}; {cure}.") from None


def _is_there(path: Path) -> bool:
    """Tell it apart from what one may not see, which `exists` does not."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True
