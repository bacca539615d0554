from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY

from voiced.cli.config import defaults
from voiced.config import DEFAULT_BACKENDS, Config, find, load, read_token, shipped, state_folder
from voiced.errors import ConfigError
from voiced.settings import Sources


def problems(
    text: str, tmp_path: Path, *, environ: dict[str, str] | None = None, **flags: Any
) -> list[str]:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, flags)
    return list(caught.value.problems)


def test_every_default_holds_without_a_file() -> None:
    config = load(None, {}, {})
    assert config.websocket.port == 8765
    assert config.http.port == 8880
    assert config.wyoming.port == 10210
    assert config.backends == DEFAULT_BACKENDS


def test_the_shipped_file_has_every_key_at_its_default() -> None:
    assert shipped("voiced.toml").read_text(encoding="utf-8") == defaults()


def test_the_shipped_file_holds_when_its_comments_are_taken_away(tmp_path: Path) -> None:
    lines = shipped("voiced.toml").read_text(encoding="utf-8").splitlines()
    live = [line.removeprefix("#") if line[:2] not in ("# ", "#") else line for line in lines]
    path = tmp_path / "config.toml"
    path.write_text("\n".join(live))
    config = load(path, {}, {})
    assert config.model_copy(update={"zeroconf": Config().zeroconf}) == load(None, {}, {})
    assert config.zeroconf.name == "voiced on <host>"


def test_the_file_then_the_variables_then_the_flags(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[websocket]\nport = 1\nhost = 'localhost'\n[http]\nport = 2\n")
    environ = {"VOICED_HTTP__PORT": "3", "VOICED_LIMITS__MAX_SESSIONS": "7", "HOME": "/"}
    config = load(path, environ, {"http": {"port": 4}})
    assert (config.websocket.port, config.websocket.host) == (1, "localhost")
    assert config.http.port == 4
    assert config.limits.max_sessions == 7


def test_variables_have_every_type() -> None:
    environ = {
        "VOICED_HTTP__PUBLIC_CATALOGUE": "false",
        "VOICED_DEFAULTS__DRAIN_S": "1.5",
        "VOICED_AUTH__ALLOWED_HOSTS": "a, b",
        "VOICED_AUTH__TOKEN": "123",
        "VOICED_TOKEN": "the client's",
        "VOICED_URL": "ws://elsewhere",
    }
    config = load(None, environ, {})
    assert config.http.public_catalogue is False
    assert config.defaults.drain_s == 1.5
    assert config.auth.allowed_hosts == ["a", "b"]
    assert read_token(config) == "123"


def test_all_faults_are_told_at_once_with_what_was_perhaps_meant(tmp_path: Path) -> None:
    found = problems(
        "[websocket]\nprot = 1\n[http]\nport = 'x'\n"
        "[defualts]\nmodel = 'a'\n[limits]\nmax_speeches = 0",
        tmp_path,
        environ={"VOICED_LANE__FIRST_SEGMENT": "soon"},
    )
    assert len(found) == 5
    text = "\n".join(found)
    assert "websocket.prot: there is no such key; did you mean 'port'?" in text
    assert "defualts: there is no such key; did you mean 'defaults'?" in text
    assert "http.port" in text
    assert "limits.max_speeches" in text
    assert "lane.first_segment" in text


@pytest.mark.parametrize("text", ["[", "a = ", "\x00"])
def test_what_is_no_toml_is_named(text: str, tmp_path: Path) -> None:
    assert problems(text, tmp_path)[0].startswith("config.toml: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        load(tmp_path / "gone.toml", {}, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "kitchen.local"])
@pytest.mark.parametrize("door", ["websocket", "http"])
def test_the_network_needs_a_token_or_a_clear_word(host: str, door: str) -> None:
    with pytest.raises(ConfigError, match=f"{door}.host"):
        load(None, {}, {door: {"host": host}})
    for auth in ({"token": "x"}, {"token_file": "x"}, {"allow_unauthenticated_lan": True}):
        load(None, {}, {door: {"host": host}, "auth": auth})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    load(None, {}, {"websocket": {"host": host}, "http": {"host": host}})


def test_a_token_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    config = load(None, {}, {"auth": {"token_file": str(file)}})
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(config)
    file.write_text(" \n")
    with pytest.raises(ConfigError, match="empty"):
        read_token(config)
    file.write_text("s3cret\n")
    assert read_token(config) == "s3cret"


def test_secrets_do_not_show() -> None:
    config = load(None, {}, {"auth": {"token": "s3cret"}})
    assert "s3cret" not in repr(config)
    assert "s3cret" not in str(config.model_dump())


def test_backends_are_checked_by_their_own_models() -> None:
    sections = {
        "espeak": {"type": "espeak", "voise": "de"},
        "other": {"type": "espeek"},
        "third": {"type": "espeak", "voice": 5},
    }
    with pytest.raises(ConfigError) as caught:
        Sources(None, {"backends": sections}).read()
    text = "\n".join(caught.value.problems)
    assert "backends.espeak.voise: there is no such key; did you mean 'voice'?" in text
    assert "backends.other.type: no backend type 'espeek' is installed" in text
    assert "backends.third.voice" in text


def test_a_default_backend_is_changed_by_the_keys_that_are_given(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[backends.local_kokoro_default_onnx]\nvoice = 'af_sky'\n")
    settings = Sources(path, {}).read().backends["local_kokoro_default_onnx"]
    assert (settings.type, settings.voice) == ("kokoro", "af_sky")


def test_a_backend_of_one_s_own_leaves_the_embedded_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[backends.german]\ntype = 'espeak'\nvoice = 'de'\n")
    settings = Sources(path, {}).read().backends
    assert set(settings) == {*DEFAULT_BACKENDS, "german"}
    assert settings["german"].voice == "de"


def test_a_variable_adds_to_a_backend_s_section(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[backends.house]\ntype = 'espeak'\nvoice = 'de'\n")
    config = load(path, {"VOICED_BACKENDS__HOUSE__VOICE": "fr"}, {})
    assert config.backends["house"] == {"type": "espeak", "voice": "fr"}


def test_a_fallback_that_is_no_name_is_a_fault_like_others(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[backends.house]\ntype = 'espeak'\nfallback = ['a']\n")
    with pytest.raises(ConfigError, match=r"backends\.house\.fallback"):
        Sources(path, {}).read()


def test_faults_of_every_kind_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "[http]\nprot = 1\n[backends.espeak]\ntype = 'espek'\n[websocket]\nhost = '0.0.0.0'\n"
    )
    (tmp_path / "openai_tts_mappings.json").write_text("{")
    with pytest.raises(ConfigError) as caught:
        Sources(path, {}).read()
    text = "\n".join(caught.value.problems)
    for word in (
        "http.prot",
        "backends.espeak.type",
        "openai_tts_mappings.json",
        "websocket.host",
    ):
        assert word in text


def test_a_missing_token_file_and_an_unknown_name_are_told_with_the_rest(tmp_path: Path) -> None:
    flags: dict[str, dict[str, Any]] = {
        "auth": {"token_file": str(tmp_path / "gone")},
        "http": {"prot": 1},
        "defaults": {"model": "nope"},
    }
    with pytest.raises(ConfigError) as caught:
        Sources(None, flags).read()
    assert len(caught.value.problems) == 3


def test_a_backend_to_preload_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"defaults\.preload"):
        Sources(None, {"defaults": {"preload": ["nope"]}}).read()


def test_the_file_is_found_where_it_is_named(tmp_path: Path) -> None:
    assert find({"VOICED_CONFIG": "/somewhere/config.toml"}) == Path("/somewhere/config.toml")
    assert state_folder({"STATE_DIRECTORY": "/var/lib/voiced:/other"}) == Path("/var/lib/voiced")


@pytest.mark.parametrize(
    "environ", [{"VOICED_LOG": "debug"}, {"VOICED_A__B": "1", "VOICED_A__B__C": "2"}]
)
def test_a_variable_that_names_no_key_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="VOICED_"):
        load(None, environ, {})


def test_every_key_has_a_description() -> None:
    for name, section in Config.model_fields.items():
        if name == "backends":
            continue
        assert isinstance(section.annotation, type)
        for key, field in section.annotation.model_fields.items():
            assert field.description, f"{name}.{key}"


def test_the_configuration_files_are_those_of_the_repository() -> None:
    assert shipped("voiced.toml").parent.resolve() == (REPOSITORY / "configs").resolve()
