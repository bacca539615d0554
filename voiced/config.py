"""The configuration: `config.toml`, then `VOICED_SECTION__KEY` variables, then flags.

Every fault of all three is reported in one go. Only the daemon and the commands read this; the
parts of the daemon get plain values.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from voiced.errors import ConfigError
from voiced.logs import LogFormat

NAME = "config.toml"
MAPPINGS = "openai_tts_mappings.json"
LEXICON = "lexicon.toml"
SERVICE_CONFIG = Path("/etc/voiced") / NAME
_PREFIX = "VOICED_"
_NOT_OURS = frozenset({"VOICED_URL", "VOICED_TOKEN", "VOICED_CONFIG"})  # of the commands

Port = Annotated[int, Field(ge=0, le=65535)]


def _split(value: object) -> object:
    """Let a variable or a flag give a list as `a,b`."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _check_networks(value: list[str]) -> list[str]:
    for name in value:
        try:
            ipaddress.ip_network(name, strict=False)
        except ValueError:
            raise ValueError(f"{name!r} is no network as 192.168.0.0/16") from None
    return value


Names = Annotated[list[str], BeforeValidator(_split)]
Networks = Annotated[Names, AfterValidator(_check_networks)]


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WebSocketSection(Section):
    """`[websocket]`: the door of voice assistants."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8765, description="0 takes a free one.")


class HttpSection(Section):
    """`[http]`: the door of OpenAI clients, health and metrics."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8880, description="0 takes a free one.")
    public_catalogue: bool = Field(True, description="Models and voices need no token.")


class WyomingSection(Section):
    """`[wyoming]`: the door of Home Assistant."""

    enabled: bool = Field(True, description="False: nobody listens.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(10210, description="0 takes a free one.")
    allow: Networks = Field(
        [], description="Networks that may connect, as 192.168.0.0/16; empty: the private ones."
    )
    languages: Names = Field([], description="What to offer; empty: the system's and English.")


class ZeroconfSection(Section):
    """`[zeroconf]`: being found."""

    enabled: bool = Field(True, description="Advertise the doors; never those on loopback.")
    name: str = Field(
        f"voiced on {socket.gethostname()}", description="The friendly name that people see."
    )


class AuthSection(Section):
    """`[auth]`: who may come in."""

    token: SecretStr = Field(SecretStr(""), description="What clients send; empty: nothing.")
    token_file: str = Field("", description="A file that holds the token instead.")
    allow_unauthenticated_lan: bool = Field(
        False, description="Listen beyond this machine without a token."
    )
    allowed_origins: Names = Field([], description="Web pages that may connect, or *.")
    allowed_hosts: Names = Field([], description="Further names by which we are reached.")


class DefaultsSection(Section):
    """`[defaults]`: what holds where a request says nothing."""

    model: str = Field("auto", description="auto: the best local engine there is.")
    voice: str = Field("", description="Empty: the backend's own.")
    language: str = Field("", description="BCP-47; empty: the voice's own.")
    fallback: str = Field(
        "auto", description="The model that speaks for one that cannot; empty: none."
    )
    fallback_midway: bool = Field(
        True, description="Let it speak the rest of a speech that was heard, too."
    )
    lead_silence_ms: int = Field(
        0, ge=0, le=5000, description="Before the first word, for loudspeakers that clip it."
    )
    tail_silence_ms: int = Field(0, ge=0, le=5000, description="After the last word.")
    preload: Names = Field([], description="Backends to load at start, by id.")
    drain_s: float = Field(4, ge=0, le=600, description="For speeches to end when we stop.")


class LimitsSection(Section):
    """`[limits]`: how much is too much."""

    max_sessions: int = Field(256, ge=1, description="At a time; also of HTTP speeches.")
    max_speeches: int = Field(8, ge=1, description="Speeches of a session at a time.")
    max_input_chars: int = Field(32768, ge=1, description="Code points of a text or a part.")
    max_speech_chars: int = Field(1_000_000, ge=1, description="Of all parts of one together.")
    max_message_bytes: int = Field(65536, ge=4096, description="Of a WebSocket message.")


class CacheSection(Section):
    """`[cache]`: phrases that were spoken before."""

    memory_mb: int = Field(64, ge=0, description="In memory; 0: nothing.")
    disk_mb: int = Field(0, ge=0, description="On the disk, over restarts; 0: nothing.")
    path: str = Field("", description="The folder; empty: the usual one for caches.")


class LaneSection(Section):
    """`[lane]`: the local engines."""

    threads: int = Field(0, ge=0, description="Of an engine, 0: the cores. Of no effect on espeak.")
    idle_unload_s: float = Field(0, ge=0, description="Unload an idle engine; 0: never.")
    first_segment: Literal["eager", "clause", "sentence"] = Field(
        "clause", description="How much text the first sound waits for."
    )


class ReadingSection(Section):
    """`[reading]`: from text as it is written to text as it is said."""

    code_blocks: Literal["announce", "skip"] = Field(
        "announce", description="Say that there is one, or nothing; what is in it is not said."
    )
    aloud: bool = Field(
        True, description="Say amounts, dates, units, addresses and the like as a person does."
    )
    lexicon: str = Field(
        "", description="How names are said; empty: lexicon.toml beside the configuration."
    )


class LogSection(Section):
    """`[log]`: what is told, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="From there.")
    format: LogFormat = Field(
        "auto", description="text, journal or json; auto: journal where it goes there, else text."
    )


class Config(Section):
    """All of it."""

    websocket: WebSocketSection = WebSocketSection()
    http: HttpSection = HttpSection()
    wyoming: WyomingSection = WyomingSection()
    zeroconf: ZeroconfSection = ZeroconfSection()
    auth: AuthSection = AuthSection()
    defaults: DefaultsSection = DefaultsSection()
    limits: LimitsSection = LimitsSection()
    cache: CacheSection = CacheSection()
    lane: LaneSection = LaneSection()
    reading: ReadingSection = ReadingSection()
    log: LogSection = LogSection()
    backends: dict[str, dict[str, Any]] = {}  # each checked by its type's own model

    @property
    def wyoming_port(self) -> int:
        """The Wyoming door's port; if unset a free one where the WebSocket door takes one, too."""
        is_set = "port" in self.wyoming.model_fields_set
        return self.wyoming.port if is_set or self.websocket.port else 0


PRIVATE_NETWORKS = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
    *("::1/128", "fc00::/7", "fe80::/10"),
)
"""Who may come in by the Wyoming door, which knows no tokens, unless the configuration says it."""

EMBEDDED = "espeak"
"""The backend that needs nothing, and so is always loaded."""

DEFAULT_BACKENDS: Mapping[str, Mapping[str, Any]] = {
    EMBEDDED: {"type": "espeak"},
    "local_kokoro_default_onnx": {"type": "kokoro"},
    "local_piper": {"type": "piper"},
    "openai_official_tts-1": {"type": "openai", "model": "tts-1"},
    "openai_official_tts-1-hd": {"type": "openai", "model": "tts-1-hd"},
    "openai_official_gpt-4o-mini-tts": {
        "type": "openai",
        "model": "gpt-4o-mini-tts",
        "takes_speed": False,
    },
    # The successor of eleven_monolingual_v1, which ElevenLabs is about to remove.
    "elevenlabs_english_v1": {"type": "elevenlabs", "model_id": "eleven_flash_v2"},
    "elevenlabs_multilingual_v2": {"type": "elevenlabs", "model_id": "eleven_multilingual_v2"},
    "alltalk_api_backend": {"type": "alltalk"},
}
"""The backends that need no configuration; a section of the same id has the last word."""


def load(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Mapping[str, Any]],
    *,
    check_backends: Callable[[Mapping[str, Any]], list[str]] = lambda _: [],
    check: Callable[[Config], list[str]] = lambda _: [],
) -> Config:
    """Read the file (none is a file without keys), then the variables, then the flags.

    `check_backends` finds the faults in the `[backends.ID]` sections, which only their types know;
    `check` those between sections. Faulty sections come to it at their defaults.

    Raises:
        ConfigError: with every fault found, one line each.
    """
    tables: dict[str, Any] = {}
    problems: list[str] = []
    if path is not None:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError([f"{path.name}: {error.strerror}"]) from None
        except ValueError as error:  # TOML or UTF-8
            raise ConfigError([f"{path.name}: {error}"]) from None
    for source in (_from_environ(environ), flags):
        _merge(tables, source)
    backends = tables.get("backends", {})
    if isinstance(backends, dict):
        own = {name: _with_type(name, section) for name, section in backends.items()}
        tables["backends"] = backends = {**DEFAULT_BACKENDS, **own}
        problems += check_backends({k: v for k, v in backends.items() if isinstance(v, dict)})
    try:
        config = Config.model_validate(tables)
    except ValidationError as failure:
        problems = explain(failure, Config) + problems
        faulty = {fault["loc"][0] for fault in failure.errors()}
        sound = {name: table for name, table in tables.items() if name not in faulty}
        config = Config.model_validate(sound)
        if "auth" not in faulty:
            problems += _exposed(config)
    else:
        problems += _exposed(config)
    if problems := problems + check(config):
        raise ConfigError(problems)
    return config


def find(environ: Mapping[str, str]) -> Path | None:
    """Return the configuration file: `VOICED_CONFIG`, the user's, or the machine's."""
    if named := environ.get("VOICED_CONFIG"):
        return Path(named)
    places = (platformdirs.user_config_path("voiced") / NAME, SERVICE_CONFIG)
    return next((place for place in places if place.is_file()), None)


def shipped(name: str) -> Path:
    """Return a file of `configs/`: inside the installed package, beside it in a checkout."""
    package = Path(__file__).parent
    places = (package / "configs" / name, package.parent / "configs" / name)
    return next(place for place in places if place.is_file())


def explain(failure: ValidationError, model: type[BaseModel], *, where: str = "") -> list[str]:
    """Say every fault in a line that names the key, and the key that was perhaps meant."""
    lines = []
    for fault in failure.errors(include_url=False, include_input=False):
        path = [str(part) for part in fault["loc"]]
        name = ".".join([*([where] if where else []), *path])
        if fault["type"] == "extra_forbidden":
            near = get_close_matches(path[-1], _keys(model, path[:-1]), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "remove it."
            lines.append(f"{name}: there is no such key; {hint}")
        else:
            lines.append(f"{name}: {fault['msg']}.")
    return lines


def credential(name: str, environ: Mapping[str, str]) -> Path | None:
    """Return the systemd credential of that name; those of a folder `keys` begin with `keys_`."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    files = (Path(folder, name), Path(folder, f"keys_{name}")) if folder else ()
    return next((file for file in files if file.is_file()), None)


def secret_file(path: str, environ: Mapping[str, str]) -> Path:
    """Return where a file of secrets is read: of the service's credentials, systemd's copy.

    The service may not read those themselves.
    """
    file = Path(path).expanduser()
    is_credential = file.parent == SERVICE_CONFIG.with_name("credentials")
    return (credential(file.name, environ) if is_credential else None) or file


def read_token(config: Config) -> str:
    """Return the token, from the file if one is named.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    if not config.auth.token_file:
        return config.auth.token.get_secret_value()
    try:
        file = secret_file(config.auth.token_file, os.environ)
        token = file.read_text(encoding="utf-8").strip()
    except PermissionError:
        problem = "auth.token_file: you may not read the file; use sudo, or another --config."
        raise ConfigError([problem]) from None
    except (OSError, ValueError, RuntimeError):  # the last: a home of nobody
        raise ConfigError(["auth.token_file: the file cannot be read; create it."]) from None
    if not token:
        raise ConfigError(["auth.token_file: the file is empty; write a token into it."])
    return token


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with_type(backend_id: str, section: object) -> object:
    """Let a section of a backend that is there by default leave out which type it is."""
    if not isinstance(section, dict):
        return section
    return {**DEFAULT_BACKENDS.get(backend_id, {}), **section}


def _merge(tables: dict[str, Any], source: Mapping[str, Any]) -> None:
    """Put the values of `source` over those of `tables`, table by table."""
    for key, value in source.items():
        table = tables.get(key)
        if isinstance(value, Mapping) and isinstance(table, dict):
            _merge(table, value)
        else:
            tables[key] = dict(value) if isinstance(value, Mapping) else value


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type):
            return []
        model = field.annotation
    return list(model.model_fields)


def _from_environ(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for variable, value in environ.items():
        if not variable.startswith(_PREFIX) or variable in _NOT_OURS:
            continue
        *sections, key = variable.removeprefix(_PREFIX).lower().split("__")
        table: Any = tables
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError([f"{variable}: another variable gives {section!r} a value."])
        if not sections:
            raise ConfigError([f"{variable}: name a key of a section, as VOICED_LOG__LEVEL does."])
        table[key] = value
    return tables


def _exposed(config: Config) -> list[str]:
    """Say which doors would stand open to the network with nobody asked who they are."""
    auth = config.auth
    if auth.token.get_secret_value() or auth.token_file or auth.allow_unauthenticated_lan:
        return []
    return [
        f"{name}.host: {door.host} is reachable from the network without a token; set auth.token "
        "or auth.token_file, or auth.allow_unauthenticated_lan = true."
        for name, door in (("websocket", config.websocket), ("http", config.http))
        if not is_loopback(door.host)
    ]


def cache_folder(config: Config, environ: Mapping[str, str]) -> Path:
    """Return where phrases are kept that were spoken before."""
    if config.cache.path:
        return _in_home(config.cache.path)
    given = environ.get("CACHE_DIRECTORY")  # systemd's
    return Path(given.split(":")[0]) if given else platformdirs.user_cache_path("voiced")


def lexicon_file(config: Config, path: Path | None) -> Path | None:
    """Return where the lexicon is: where the configuration says, or beside it, if it is there."""
    if config.reading.lexicon:
        return _in_home(config.reading.lexicon)
    beside = path.with_name(LEXICON) if path else None
    return beside if beside and beside.is_file() else None


def _in_home(given: str) -> Path:
    # Unlike `Path.expanduser` it leaves a user that there is not for whoever opens the file.
    return Path(os.path.expanduser(given))  # noqa: PTH111


def state_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the daemon keeps what must survive it: its id, a token that it made."""
    given = (os.environ if environ is None else environ).get("STATE_DIRECTORY")  # systemd's
    return Path(given.split(":")[0]) if given else platformdirs.user_state_path("voiced")
