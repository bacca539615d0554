"""`voiced discover`."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict

from voiced.cli.session import add_json_argument, show

HELP = "find the daemons on this network"
EXAMPLE = "voiced discover --seconds 5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to listen (3)")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Listen; status 1 where nothing answers."""
    from voiced.discovery import discover

    async def search() -> list[dict[str, object]]:
        return [asdict(found) async for found in discover(args.seconds)]

    found = asyncio.run(search())
    columns = ("name", "url", "http_url", "needs_token", "version")
    show(found, columns, as_json=args.json, title=f"{len(found)} found")
    if not found and not args.json:
        print(
            "A daemon that listens on 127.0.0.1 only is not advertised: try `voiced serve --lan`."
        )
    return 0 if found else 1
