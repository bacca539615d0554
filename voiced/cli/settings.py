"""How the commands find the configuration."""

from __future__ import annotations

import argparse
import os
from collections.abc import MutableMapping
from pathlib import Path

_SERVICE = {
    "STATE_DIRECTORY": "/var/lib/voiced",
    "CACHE_DIRECTORY": "/var/cache/voiced",
    "CREDENTIALS_DIRECTORY": "/etc/voiced/credentials",
}


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--config`."""
    parser.add_argument(
        "--config",
        type=Path,
        help="config.toml (default: VOICED_CONFIG, ~/.config/voiced, /etc/voiced)",
    )


def config_path(args: argparse.Namespace) -> Path | None:
    """Return the file to read, if there is one."""
    from voiced.config import find

    named: Path | None = args.config
    return named or find(os.environ)


def look_as_the_service(environ: MutableMapping[str, str]) -> None:
    """Let root's commands see the folders and keys of the service, where it is installed."""
    if os.geteuid() != 0:
        return
    from voiced.config import SERVICE_CONFIG

    if SERVICE_CONFIG.exists():
        for name, folder in _SERVICE.items():
            environ.setdefault(name, folder)
