"""`voiced voices`."""

from __future__ import annotations

import argparse
import asyncio

from voiced.cli.session import add_json_argument, add_server_arguments, connect_by, show

HELP = "list the voices that the daemon can speak with"
EXAMPLE = "voiced voices --language de"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", help="only those of this model")
    parser.add_argument("--language", help="only those that speak it, as en or pt-br")
    add_json_argument(parser)
    add_server_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask the daemon."""

    async def ask() -> None:
        async with connect_by(args) as client:
            voices = await client.voices(model=args.model, language=args.language)
        columns = ("model", "id", "name", "languages", "marks")
        show(voices, columns, as_json=args.json, title=f"{len(voices)} voices")

    asyncio.run(ask())
    return 0
