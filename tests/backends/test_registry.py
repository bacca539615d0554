from __future__ import annotations

from pathlib import Path

import pytest
from support import scripted

from voiced.backends.registry import BackendRegistry
from voiced.errors import BackendUnavailable, ConfigError


def test_espeak_is_an_installed_type() -> None:
    registry = BackendRegistry()
    assert "espeak" in registry.names()
    assert registry.load("espeak").__name__ == "EspeakBackend"


def test_an_unknown_type_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'espeak'"):
        BackendRegistry().load("espeek")


def test_given_types_are_all_there_are() -> None:
    fake = scripted()
    registry = BackendRegistry({"fake": fake})
    assert registry.names() == ["fake"]
    assert registry.load("fake") is fake


BROUGHT = """
from voiced.backends.base import TTSBackendBase

class JustAClass: ...

def a_function(): ...

class Unfinished(TTSBackendBase): ...
"""


@pytest.mark.parametrize(
    ("brought", "complaint"),
    [
        ("JustAClass", "is no TTSBackendBase"),
        ("a_function", "is no TTSBackendBase"),
        ("Unfinished", "lacks close, generate_speech_stream, initialize, is_local, voices"),
        ("Nothing", r"does not import \(AttributeError\)"),
    ],
)
def test_what_is_no_backend_makes_its_own_unavailable(
    brought: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "odd-1.dist-info"
    info.mkdir()
    (tmp_path / "odd_backends.py").write_text(BROUGHT)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[voiced.backends]\nodd = odd_backends:{brought}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendUnavailable, match=complaint):
        BackendRegistry().load("odd")
