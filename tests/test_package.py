"""What holds for the project as a whole."""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from itertools import chain

from support import REPOSITORY

import voiced
from voiced.config import DEFAULT_BACKENDS, Config

TRACKED = [
    path
    for pattern in (
        "*.md",
        "*.toml",
        "*.sh",
        "*.txt",
        "configs/*",
        "systemd/**/*.service",
        ".ci/run",
    )
    for path in REPOSITORY.glob(pattern)
] + [
    path
    for folder in ("voiced", "tests", "benchmarks", "docs")
    for path in (REPOSITORY / folder).rglob("*")
    if path.suffix in {".py", ".md", ".toml", ".sh", ".txt", ".json"}
]


def test_the_package_is_light_until_it_is_used() -> None:
    heavy = "onnxruntime torch kokoro_onnx phonemizer aiohttp numpy pydantic av zeroconf".split()
    code = f"import sys, voiced; print([m for m in {heavy!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_daemon_imports_no_engine() -> None:
    heavy = "onnxruntime torch kokoro_onnx phonemizer rich".split()
    code = (
        "import sys, voiced.daemon, voiced.backends.espeak; "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_versions_agree() -> None:
    assert importlib.metadata.version("voiced") == voiced.__version__
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert voiced.__version__ in changelog


def test_every_dependency_is_pinned() -> None:
    pinned = {
        re.split(r"[=<>;\[ ]", line)[0].lower().replace("_", "-")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for requirement in chain(project["dependencies"], *project["optional-dependencies"].values()):
        name = re.split(r"[=<>;\[ ]", requirement)[0].lower()
        assert name in pinned | {"voiced"}, name


def test_no_file_names_an_index_or_somebody_s_machine() -> None:
    forbidden = re.compile(r"p[y]pi\.org|pythonh[o]sted|deb\.d[e]bian\.org|/w[o]rk/|/r[o]ot/")
    for path in TRACKED:
        assert not forbidden.search(path.read_text(encoding="utf-8")), path


def test_no_group_is_possessive() -> None:
    """The `re` of Python 3.11.2, which Debian 12 has, matches too much by `(...)*+`."""
    for path in (REPOSITORY / "voiced").rglob("*.py"):
        assert not re.search(r"\)(?:[*+?]|\{[\d,]+\})\+", path.read_text()), path


def test_the_unit_starts_the_daemon_and_knows_its_exit_statuses() -> None:
    unit = configparser.RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read(REPOSITORY / "systemd" / "voiced.service")
    service = unit["Service"]
    assert service["ExecStart"].split()[0].endswith("/voiced")
    assert service["ExecStart"].split()[1] == "serve"
    assert service["RestartPreventExitStatus"] == "78"
    assert "HUP" in service["ExecReload"]
    assert float(service["TimeoutStopSec"].rstrip("s")) > Config().defaults.drain_s + 1


def test_embedded_backends_are_installed_types() -> None:
    types = {point.name for point in importlib.metadata.entry_points(group="voiced.backends")}
    assert {str(section["type"]) for section in DEFAULT_BACKENDS.values()} <= types


def test_the_protocols_do_no_io() -> None:
    """They are told what happened and say what to do: no clock, no socket, no task."""
    for path in (REPOSITORY / "voiced" / "protocol").glob("*.py"):
        imported = re.findall(r"^(?:from|import) (\w+)", path.read_text(), flags=re.MULTILINE)
        assert not {"asyncio", "socket", "time", "aiohttp", "websockets"} & set(imported), path
