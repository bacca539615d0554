"""What `voiced check` finds out about the machine: player, clock, folders, storage, memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from voiced.cli.finding import Finding, Verdict
from voiced.models.published import megabytes

_DAY_S = 86_400
_SYNCHRONIZED = Path("/run/systemd/timesync")
_READ_BYTES = 32 * 1024 * 1024  # of a model, to see how fast the storage is
_SLOW_LOAD_S = 10  # that nobody should wait for a voice
_IN_MEMORY = 2.1  # bytes for a byte of a model's files: a measured 690 MB for 325


def player() -> Finding:
    """Find what `say` plays with."""
    from voiced.cli.player import find_player

    if found := find_player():
        return Finding(Verdict.OK, "player", found)
    return Finding(
        Verdict.NOTE, "player", "none; `say` can only write files. Install alsa-utils to hear it."
    )


def clock(now: float, *, timesync: Path = _SYNCHRONIZED) -> Finding:
    """Look whether the time can be right: without it no provider's certificate is believed."""
    shown = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    # pip wrote our files; time was later than that ever since.
    if now < Path(__file__).stat().st_mtime - _DAY_S:
        cure = "set it, or connect to a network: `timedatectl set-ntp true`"
        return Finding(Verdict.FAILED, "clock", f"{shown} is in the past; {cure}")
    if timesync.is_dir() and not (timesync / "synchronized").exists():
        return Finding(Verdict.NOTE, "clock", f"{shown}, not synchronized; see `timedatectl`")
    return Finding(Verdict.OK, "clock", shown)


def state() -> Finding:
    """Look whether what must survive a restart can be kept."""
    from voiced.config import state_folder

    folder = state_folder()
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if os.access(existing, os.W_OK):
        return Finding(Verdict.OK, "state folder", str(folder))
    return Finding(
        Verdict.NOTE, "state folder", f"{folder} cannot be written: the daemon's id will not last"
    )


def model(name: str, files: Sequence[Path]) -> Iterator[Finding]:
    """Look whether a model fits into memory, and how long the storage takes to give it."""
    try:
        sizes = {file: file.stat().st_size for file in files}
        size = sum(sizes.values())
        rate = read_rate(max(files, key=lambda file: sizes[file])) if size else 0.0
    except OSError as error:
        detail = f"the model cannot be read ({error.strerror}); fetch it again, or correct its path"
        yield Finding(Verdict.FAILED, name, detail)
        return
    needed, free = round(size * _IN_MEMORY), free_memory()
    if free is not None and needed > free:
        yield Finding(
            Verdict.FAILED,
            name,
            f"the model takes some {megabytes(needed)} of memory, {megabytes(free)} are free; stop "
            "something, or have a smaller model in its place: `voiced models remove`, then `pull`",
        )
        return
    load_s = size / rate if rate else 0.0
    if load_s > _SLOW_LOAD_S:
        yield Finding(
            Verdict.NOTE,
            name,
            f"the storage takes {load_s:.0f} s to give the model of {megabytes(size)}; name it in "
            "defaults.preload, so that nobody waits for it, or move it to a faster one",
        )


def has_service() -> bool:
    """Tell whether the service is installed on this machine."""
    return Path("/etc/systemd/system/voiced.service").exists()


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the bytes that a program may still take; None where the system does not say."""
    with suppress(OSError, ValueError):
        for line in meminfo.read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(":")
            if key == "MemAvailable":
                return int(value.split()[0]) * 1024
    return None


def read_rate(file: Path) -> float:
    """Return how many bytes a second the storage gives, of a part that is not in memory."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, _READ_BYTES, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        read = 0
        while read < _READ_BYTES and (part := os.read(descriptor, 1 << 20)):
            read += len(part)
        return read / max(time.perf_counter() - began, 1e-6)
    finally:
        os.close(descriptor)
