"""install.sh as far as it goes without root; what it does to a machine: tests/rigs/service.py."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from support import REPOSITORY

SCRIPTS = [REPOSITORY / "install.sh", *sorted((REPOSITORY / "tests" / "rigs").glob("*.sh"))]
SHELLCHECK = shutil.which("shellcheck", path=f"{sysconfig.get_path('scripts')}:/usr/bin")
UNITS = [REPOSITORY / "systemd" / "voiced.service", REPOSITORY / "systemd/user/voiced.service"]


def install(*arguments: str) -> tuple[int, str, str]:
    ran = subprocess.run(
        [REPOSITORY / "install.sh", *arguments], capture_output=True, text=True, check=False
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_has_no_known_mistakes(script: Path) -> None:
    assert SHELLCHECK
    found = subprocess.run(
        [SHELLCHECK, "--external-sources", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert found.stdout == ""
    assert found.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--run", "--test"], "--run or --test, not both"),
        (["--purge"], "--purge goes with --uninstall"),
        (["--with", "everything"], "--with takes kokoro or piper"),
        (["--with"], "--with takes kokoro or piper"),
        (["--with", "kokoro", "--minimal"], "--with kokoro or --minimal"),
        (["--uninstall", "--minimal"], "go with installing"),
        (["--run", "--with", "kokoro"], "voiced models pull"),
        (["--run", "--torch"], "--torch goes with --test"),
        (["--", "serve"], "go with --run or --test"),
        (["--instal"], "there is no option --instal"),
    ],
)
def test_misuse_is_told_with_the_usage(arguments: list[str], complaint: str) -> None:
    status, out, errors = install(*arguments, "--dry-run")
    assert status == 2
    assert complaint in errors
    assert "usage: sudo ./install.sh" in errors
    assert out == ""


def test_help_knows_every_option() -> None:
    status, out, _ = install("--help")
    assert status == 0
    for option in "--upgrade --uninstall --purge --with --run --test --torch --minimal".split():
        assert option in out


def test_a_dry_run_says_what_would_be_removed_and_removes_nothing() -> None:
    status, out, _ = install("--uninstall", "--purge", "--dry-run")
    assert status == 0
    assert "would do: rm -rf /opt/voiced" in out
    assert "/var/lib/private/voiced" in out


def test_the_service_needs_a_system_that_it_was_tried_on() -> None:
    """As it is in most places where tests run; else it says what it would do."""
    status, out, errors = install("--dry-run")
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    assert status == 1
    assert out == ""
    assert "./install.sh --run" in errors


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=["service", "user"])
def test_a_unit_has_no_known_mistakes(unit: Path, tmp_path: Path) -> None:
    """A key that systemd does not know is a warning to it, and no failure."""
    copy = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8")
    for program in ("/opt/voiced/current/bin/voiced", "%h/.local/share/voiced/venv/bin/voiced"):
        text = text.replace(program, "/bin/true")  # which must be there
    copy.write_text(text, encoding="utf-8")
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_service_sees_little_of_the_machine() -> None:
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=12", UNITS[0]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
