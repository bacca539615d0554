"""Everything that was configured: read from its sources, checked at once, made into parts."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from voiced.backends.base import BackendSettings
from voiced.backends.registry import BackendRegistry
from voiced.config import (
    DEFAULT_BACKENDS,
    MAPPINGS,
    PRIVATE_NETWORKS,
    Config,
    cache_folder,
    explain,
    lexicon_file,
    load,
    read_token,
    shipped,
)
from voiced.errors import BackendUnavailable, ConfigError
from voiced.protocol.access import AccessPolicy
from voiced.reading.lexicon import Lexicon
from voiced.synthesis.catalogue import SpeechDefaults, model_keys, unknown_names
from voiced.synthesis.cores import usable_cores
from voiced.synthesis.lane import Lane
from voiced.synthesis.manager import TTSBackendManager
from voiced.synthesis.mappings import Mappings
from voiced.synthesis.phrase_store import DiskPhrases
from voiced.synthesis.phrases import PhraseCache
from voiced.synthesis.pool import BackendPool
from voiced.synthesis.report import SpeechReport
from voiced.transports.wyoming import Network

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")  # not the "C" of systems without one


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was configured, read and checked."""

    config: Config
    token: str
    mappings: Mappings
    lexicon: Lexicon
    backends: Mapping[str, BackendSettings]
    registry: BackendRegistry
    threads: int  # that an engine computes with

    @property
    def unasked(self) -> frozenset[str]:
        """The backends that are there by default, and that nobody configured."""
        sections = self.config.backends or DEFAULT_BACKENDS
        return frozenset(
            name for name, section in DEFAULT_BACKENDS.items() if sections.get(name) == section
        )

    def lane(self) -> Lane:
        """Make the lane of the local engines."""
        return Lane(threads=self.threads)

    def phrase_store(self, environ: Mapping[str, str]) -> DiskPhrases | None:
        """Return where phrases are kept on the disk, not opened yet; None for nowhere."""
        most = self.config.cache.disk_mb
        folder = cache_folder(self.config, environ)
        return DiskPhrases(folder, most_bytes=most * 1_000_000) if most else None

    def manager(
        self,
        lane: Lane,
        on_report: Callable[[SpeechReport], None] = lambda _: None,
        *,
        phrase_store: DiskPhrases | None = None,
    ) -> TTSBackendManager:
        """Make the manager, which nothing is loaded in yet."""
        defaults = self.config.defaults
        pool = BackendPool(
            self.backends,
            registry=self.registry,
            lane=lane,
            idle_unload_s=self.config.lane.idle_unload_s,
            unasked=self.unasked,
        )
        return TTSBackendManager(
            pool,
            mappings=self.mappings,
            defaults=SpeechDefaults(
                model=defaults.model,
                voice=defaults.voice,
                language=defaults.language,
                fallback=defaults.fallback,
                fallback_midway=defaults.fallback_midway,
                first_segment=self.config.lane.first_segment,
                code_blocks=self.config.reading.code_blocks,
                reads_aloud=self.config.reading.aloud,
                lead_silence_ms=defaults.lead_silence_ms,
                tail_silence_ms=defaults.tail_silence_ms,
                max_input_chars=self.config.limits.max_input_chars,
            ),
            lexicon=self.lexicon,
            phrases=PhraseCache(
                memory_bytes=self.config.cache.memory_mb * 1_000_000, store=phrase_store
            ),
            on_report=on_report,
        )

    def wyoming_networks(self) -> list[Network]:
        """Return who may come in by the Wyoming door."""
        allowed = self.config.wyoming.allow or PRIVATE_NETWORKS
        return [ipaddress.ip_network(network, strict=False) for network in allowed]

    def offered_languages(self, environ: Mapping[str, str]) -> list[str]:
        """Return the languages whose voices Home Assistant is shown, in lower case."""
        if given := self.config.wyoming.languages:
            return [language.lower() for language in given]
        system = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
        found = [self.config.defaults.language.lower(), system.partition("_")[0].lower(), "en"]
        return list(dict.fromkeys(tag for tag in found if _LANGUAGE.fullmatch(tag)))

    def policy(self) -> AccessPolicy:
        """Return who may come in."""
        auth = self.config.auth
        return AccessPolicy(
            token=self.token,
            allowed_origins=frozenset(o.lower().rstrip("/") for o in auth.allowed_origins),
            allowed_hosts=frozenset(host.lower() for host in auth.allowed_hosts),
            machine_names=frozenset({socket.gethostname().lower()}),
        )


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the configuration came from, to read it again."""

    path: Path | None
    flags: dict[str, dict[str, Any]]

    def read(self) -> Settings:
        """Read the configuration, and the files that it names or that lie beside it.

        Raises:
            ConfigError: with every fault of all of them.
        """
        registry = BackendRegistry()
        backends: dict[str, BackendSettings] = {}
        problems: list[str] = []
        own = self.path.with_name(MAPPINGS) if self.path else None
        config, mappings = Config(), Mappings({}, {})
        try:
            mappings = Mappings.read(shipped(MAPPINGS), *([own] if own and own.is_file() else []))
        except ConfigError as error:
            problems += error.problems
        try:
            config = load(
                self.path,
                os.environ,
                self.flags,
                check_backends=lambda sections: _check_backends(sections, registry, backends),
                # Without the mappings nobody can tell which names mean something.
                check=lambda config: (
                    _check_token(config) + ([] if problems else _check_names(config, mappings))
                ),
            )
        except ConfigError as error:
            problems += error.problems
        lexicon = Lexicon()
        try:
            if file := lexicon_file(config, self.path):
                lexicon = Lexicon.read(file)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)
        threads = config.lane.threads or usable_cores()
        return Settings(config, read_token(config), mappings, lexicon, backends, registry, threads)


def _check_names(config: Config, mappings: Mappings) -> list[str]:
    """Say which names of models and backends mean nothing."""
    defaults = config.defaults
    backends = config.backends or DEFAULT_BACKENDS
    fallbacks = {
        name: fallback
        for name, section in backends.items()
        if isinstance(fallback := section.get("fallback"), str)  # else it is told elsewhere
    }
    named = model_keys(defaults.model, defaults.fallback, fallbacks)
    return unknown_names(mappings, backends, named) + [
        f"defaults.preload: no backend {name!r} is configured; add a section [backends.{name}]."
        for name in defaults.preload
        if name not in backends
    ]


def _check_token(config: Config) -> list[str]:
    try:
        read_token(config)
    except ConfigError as error:
        return list(error.problems)
    return []


def _check_backends(
    sections: Mapping[str, Any], registry: BackendRegistry, checked: dict[str, BackendSettings]
) -> list[str]:
    """Check every `[backends.ID]` section by its type's own model; return the faults."""
    problems: list[str] = []
    for backend_id, section in sections.items():
        where = f"backends.{backend_id}"
        kind = str(section.get("type", backend_id))
        model = BackendSettings
        try:
            model = registry.load(kind).settings_model
            checked[backend_id] = model.model_validate({"type": kind, **section})
        except ValidationError as failure:
            problems += explain(failure, model, where=where)
        except ConfigError as error:
            problems += [f"{where}.{problem}" for problem in error.problems]
        except BackendUnavailable:
            # Its keys cannot be checked; the manager says why it is unavailable.
            checked[backend_id] = BackendSettings(type=kind)
    return problems
