"""Paths of the configuration."""

from __future__ import annotations

from pathlib import Path

from voiced.errors import BackendUnavailable


def expanded(key: str, given: str) -> Path:
    """Return the path that a key names.

    Raises:
        BackendUnavailable: it is in the home of a user that there is not.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise BackendUnavailable(
            f"There is no such user as {key} names after its ~; correct it."
        ) from None


def stamp(*paths: Path) -> str:
    """Return what changes when one of the files does, or one in a folder; blocks for a moment."""
    return " ".join(
        _stamp(file)
        for path in paths
        for file in (sorted(path.iterdir()) if path.is_dir() else [path])
    )


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_size}/{found.st_mtime_ns}"


def is_there(path: Path) -> bool:
    """Tell whether the path exists, as far as we may look."""
    try:
        return path.exists()
    except OSError:  # in a folder that is not ours to look into
        return False
