"""`voiced models`."""

from __future__ import annotations

import argparse
import asyncio

from voiced.cli.session import add_json_argument, add_server_arguments, connect_by, show

HELP = "list the models that the daemon knows, and what to do about those that are unavailable"
EXAMPLE = "voiced models --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_json_argument(parser)
    add_server_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask the daemon."""

    async def ask() -> None:
        async with connect_by(args) as client:
            models = await client.models()
        columns = ("id", "state", "backend", "cure")
        show(models, columns, as_json=args.json, title=f"{len(models)} models")

    asyncio.run(ask())
    return 0
