"""The documentation is tested: every example parses, every name it gives is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import aiohttp
import pytest
from support import REPOSITORY, documented_backend, fenced
from test_daemon import serving

from voiced import errors
from voiced.backends.espeak.backend import EspeakOptions
from voiced.errors import VoicedError
from voiced.protocol.actions import CloseCode

PAGES = ["README.md", *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_every_json_example_parses(page: str) -> None:
    for block in fenced(page, "json"):
        json.loads(block)


@pytest.mark.parametrize("page", PAGES)
def test_every_python_example_compiles(page: str) -> None:
    for block in fenced(page, "python"):
        compile(block, page, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_inside_the_project_leads_somewhere(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    prose = re.sub(r"`[^`\n]+`", "", text)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
        assert (REPOSITORY / page).parent.joinpath(target).exists(), target


def test_the_documented_backend_is_short() -> None:
    block = next(block for block in fenced("docs/backends.md", "python") if "class " in block)
    assert len(block.splitlines()) <= 30
    assert documented_backend().__name__ == "ToneBackend"


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_option_of_espeak_is_documented() -> None:
    text = (REPOSITORY / "docs" / "backends.md").read_text(encoding="utf-8")
    for name in EspeakOptions.model_fields:
        assert f"`{name}`" in text, name


def test_every_error_and_close_code_is_documented() -> None:
    text = (REPOSITORY / "docs" / "protocol.md").read_text(encoding="utf-8")
    of_commands = (errors.ConfigError, errors.StoreError)  # never on the wire
    leaves = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    for kind in leaves:
        if issubclass(kind, VoicedError) and not issubclass(kind, of_commands):
            assert f"`{kind.code}`" in text, kind.code
    for code in CloseCode:
        assert str(int(code)) in text, code


async def test_every_metric_is_documented_and_no_other_is_asked_for(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as run,
        aiohttp.ClientSession() as web,
        web.get(f"{run.http_url}/metrics") as answer,
    ):
        shown = set(re.findall(r"^# TYPE (\w+)", await answer.text(), flags=re.MULTILINE))
    shown = {name for name in shown if not name.endswith("_created")}
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(voiced_\w+)`", page, flags=re.MULTILINE)) == shown
    dashboard = json.loads((REPOSITORY / "docs" / "grafana.json").read_text(encoding="utf-8"))
    asked = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    asked += re.findall(r"expr: (.*)", page)
    for expression in asked:
        for name in re.findall(r"voiced_\w+", expression):
            assert name.removesuffix("_bucket") in shown, name
