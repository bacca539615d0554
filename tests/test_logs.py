"""What the log looks like, and that writing it holds up nobody."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from voiced.logs import LogFormat, written

log = logging.getLogger("voiced.test")


@pytest.fixture(autouse=True)
def _restored() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.getLogger("voiced").setLevel(logging.NOTSET)


def lines(log_format: LogFormat, capfd: pytest.CaptureFixture[str]) -> list[str]:
    with written("info", log_format, {}):
        log.debug("too little to tell")
        log.info("two\nlines of %d", 1)
        log.error("it failed", exc_info=ValueError("a reason"))
    return capfd.readouterr().err.splitlines()


def test_in_a_terminal_a_message_is_a_line_and_a_traceback_many(
    capfd: pytest.CaptureFixture[str],
) -> None:
    first, second, *traceback = lines("text", capfd)
    assert first.endswith("INFO voiced.test: two\\nlines of 1")
    assert second.endswith("ERROR voiced.test: it failed")
    assert traceback[-1] == "ValueError: a reason"


def test_the_journal_gets_the_level_and_no_time(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = lines("journal", capfd)
    assert first == "<6>voiced.test: two\\nlines of 1"
    assert second.startswith("<3>voiced.test: it failed\\n")
    assert second.endswith("ValueError: a reason")


def test_json_is_an_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = map(json.loads, lines("json", capfd))
    assert first["message"] == "two\nlines of 1"
    assert (first["level"], first["logger"]) == ("info", "voiced.test")
    assert first["time"].endswith("Z")
    assert second["exception"].endswith("ValueError: a reason")


def test_auto_is_the_journals_where_that_listens(tmp_path: Path) -> None:
    script = (
        "import logging, os\n"
        "from voiced.logs import written\n"
        "with written('info', 'auto', os.environ): logging.getLogger('voiced').info('hello')\n"
    )
    with (tmp_path / "journal").open("wb") as journal:
        found = os.fstat(journal.fileno())
        for stream in (f"{found.st_dev}:{found.st_ino}", "1:1"):
            environ = os.environ | {"JOURNAL_STREAM": stream}
            subprocess.run([sys.executable, "-c", script], stderr=journal, env=environ, check=True)
    first, second = (tmp_path / "journal").read_text().splitlines()
    assert first == "<6>voiced: hello"
    assert second.endswith("INFO voiced: hello")


def test_a_reader_that_takes_nothing_holds_up_nobody() -> None:
    script = (
        "import logging, os, sys\n"
        "from voiced.logs import written\n"
        "with written('info', 'text', {}):\n"
        "    for number in range(20_000): logging.getLogger('voiced').info('%s', number)\n"
        "    print('done', flush=True)\n"
        "    sys.stdin.read()\n"
        "    logging.getLogger('voiced').info('the last')\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "done\n"  # the pipe holds 64 KiB, a fraction
        _, errors = process.communicate("", timeout=20)
    assert "lines were lost" in errors


def test_a_pipe_that_does_not_wait_loses_nothing(tmp_path: Path) -> None:
    """Whoever shares standard error may have made it so."""
    script = (
        "import logging, os\n"
        "from voiced.logs import written\n"
        "os.set_blocking(2, False)\n"
        "with written('info', 'text', {}):\n"
        "    for number in range(900): logging.getLogger('voiced').info('x' * 900)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, check=True)
    assert len(ran.stderr.splitlines()) == 900


def test_a_line_that_cannot_be_made_is_counted_and_others_come(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with written("info", "text", {}):
        log.info("%d", "private")
        log.info("the next")
    first, second = capfd.readouterr().err.splitlines()
    assert first.endswith("1 lines were lost: nobody took them")
    assert second.endswith("the next")


def test_a_reader_that_is_stuck_does_not_keep_the_process(tmp_path: Path) -> None:
    script = (
        "import logging\n"
        "from voiced.logs import written\n"
        "with written('info', 'text', {}):\n"
        "    for number in range(20_000): logging.getLogger('voiced').info('%s', number)\n"
    )
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", script], stderr=writing) as process:
        assert process.wait(10) == 0
    os.close(writing)
    os.close(reading)
