"""Logs: one line each, to standard error, without spoken text, paths or keys.

A thread of their own writes them, so that a full pipe or a slow disk behind the journal holds up
nobody; what does not fit into the queue meanwhile is counted and told later.
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from logging.handlers import QueueHandler
from queue import Full, Queue
from threading import Thread
from typing import Literal

LogFormat = Literal["auto", "text", "journal", "json"]

_WAITING = 1000  # lines that were not written yet
_LAST_S = 1  # for the last lines, if nobody takes them
_SYSLOG = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


@contextmanager
def written(
    level: str, log_format: LogFormat, environ: Mapping[str, str]
) -> Iterator[Callable[[], None]]:
    """Send this process's logs to standard error, from `level` up, while the block runs.

    Yields what ends that at once, for a process that will not leave the block. `auto` is `journal`
    where standard error is the journal's, else `text`.
    """
    if log_format == "auto":
        log_format = "journal" if _is_journal(environ) else "text"
    formatter = {"text": _Text, "journal": _Journal, "json": _Json}[log_format]()
    queued = _Queued()
    writer = Thread(target=queued.write_as, args=(formatter,), name="voiced-logs", daemon=True)
    logging.basicConfig(level=logging.WARNING, handlers=[queued], force=True)
    logging.getLogger("voiced").setLevel(level.upper())
    writer.start()

    def end() -> None:
        queued.end()
        writer.join(_LAST_S)

    try:
        yield end
    finally:
        end()


def _write(line: bytes) -> None:
    while line:
        try:
            line = line[os.write(2, line) :]
        except BlockingIOError:  # somebody has made it so
            select.select([], [2], [], _LAST_S)


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Tell whether standard error goes to the journal, by the numbers that systemd gives."""
    try:
        found = os.fstat(2)
    except OSError:  # closed
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _Queued(QueueHandler):
    """Never waits."""

    queue: Queue[logging.LogRecord | None]

    def __init__(self) -> None:
        super().__init__(Queue(_WAITING))
        self._lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Take the text down as it is now; the exception stays apart, for the formatters."""
        taken = copy(record)  # others may have the record, too
        taken.msg, taken.args = record.getMessage(), None
        return taken

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002  # the library's
        """Count a line that could not be made; what it was to tell may be private."""
        self._lost += 1

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self._tell_what_was_lost()
            self.queue.put_nowait(record)
        except Full:
            self._lost += 1

    def end(self) -> None:
        """Let what is in the queue be the last; waits a moment for room."""
        with suppress(Full):
            self._tell_what_was_lost(wait_s=_LAST_S)
            self.queue.put(None, timeout=_LAST_S)

    def write_as(self, formatter: logging.Formatter) -> None:
        """Write until the end.

        Not by `sys.stderr` or a handler of the library: the interpreter waits for those at its
        end, and would for ever where nobody reads.
        """
        for record in iter(self.queue.get, None):
            try:
                _write(f"{formatter.format(record)}\n".encode(errors="backslashreplace"))
            except OSError:  # as of a full disk, which may have room again
                self._lost += 1

    def _tell_what_was_lost(self, *, wait_s: float = 0) -> None:
        if self._lost:
            message = f"{self._lost} lines were lost: nobody took them"
            note = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
            self.queue.put(note, block=wait_s > 0, timeout=wait_s)
            self._lost = 0


class _Text(logging.Formatter):
    """For people at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        record.message = _one_line(record.getMessage())
        return super().formatMessage(record)


class _Journal(logging.Formatter):
    """For systemd's journal, which knows the time, and takes the level from the first signs."""

    def format(self, record: logging.LogRecord) -> str:
        level = next((number for least, number in _SYSLOG if record.levelno >= least), 7)
        text = f"{record.name}: {record.getMessage()}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return f"<{level}>{_one_line(text)}"


class _Json(logging.Formatter):
    """For programs: an object a line."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
