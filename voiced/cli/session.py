"""What the commands share that talk to a daemon."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiced.errors import VoicedError

if TYPE_CHECKING:
    from voiced.client import Client

_WIDE = 250  # columns of a table that a program reads


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a daemon and its token."""
    parser.add_argument(
        "--url",
        help="the daemon's address (default: VOICED_URL, else ws://127.0.0.1:8765/v1/ws)",
    )
    parser.add_argument(
        "--token-file", type=Path, help="a file with the token (default: VOICED_TOKEN)"
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option for scripts."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def connect_by(args: argparse.Namespace) -> AbstractAsyncContextManager[Client]:
    """Connect as the options say.

    Raises:
        VoicedError: the token file cannot be read.
    """
    from voiced.client import connect

    token = None
    if args.token_file:
        try:
            token = args.token_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            raise VoicedError("The token file cannot be read; check --token-file.") from None
    return connect(args.url, token=token)


def show(rows: list[dict[str, Any]], columns: Sequence[str], *, as_json: bool, title: str) -> None:
    """Print rows as a table, or as JSON."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    is_read_by_people = sys.stdout.isatty()
    Console(markup=False, width=None if is_read_by_people else _WIDE).print(table)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
