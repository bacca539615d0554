"""How the commands find the configuration."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


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
