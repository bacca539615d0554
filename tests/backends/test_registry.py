from __future__ import annotations

import pytest
from support import scripted

from voiced.backends.registry import BackendRegistry
from voiced.errors import ConfigError


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
