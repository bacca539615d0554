"""`voiced cache`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiced.cli.session import add_server_arguments, connect_by
from voiced.cli.settings import add_config_argument, config_path
from voiced.errors import VoicedError
from voiced.models.published import megabytes

if TYPE_CHECKING:
    from voiced.config import Config
    from voiced.synthesis.phrase_store import PhraseFile

HELP = "what is kept of phrases that were spoken before"
EXAMPLE = "voiced cache stats; voiced cache warm phrases.txt"

_SERVICE = Path("/var/cache/voiced")  # `CacheDirectory=voiced` of the unit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(title="actions", dest="action", required=True)
    stats = actions.add_parser("stats", help="how much is on the disk")
    add_config_argument(stats)
    clear = actions.add_parser(
        "clear", help="delete what is on the disk; a daemon's memory is emptied when it is reloaded"
    )
    add_config_argument(clear)
    warm = actions.add_parser(
        "warm",
        help="have the daemon make each line of a file, so that it comes at once from then on",
        epilog="example: voiced cache warm phrases.txt --voice af_heart",
    )
    warm.add_argument("file", type=Path, help="a phrase in each line; - is standard input")
    warm.add_argument("--model", help="the model (default: the daemon's)")
    warm.add_argument("--voice", help="the voice (default: the model's)")
    warm.add_argument("--language", help="the language, as de or pt-br")
    add_server_arguments(warm)


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    if args.action == "warm":
        asyncio.run(_warm(args))
        return 0
    with _opened(args) as file:
        if args.action == "clear":
            file.clear()
        stock = file.stock()
        print(f"{stock.phrases} phrases, {megabytes(stock.size_bytes)}")
    return 0


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[PhraseFile]:
    from voiced.settings import Sources
    from voiced.synthesis.phrase_store import FILE, PhraseFile

    config = Sources(config_path(args), {}).read().config
    folder = _folder(config)
    try:
        is_there = (folder / FILE).exists()
    except OSError:
        raise VoicedError("The cache is another user's; run it with sudo.") from None
    if not is_there:
        raise VoicedError(
            "Nothing is kept on the disk; set cache.disk_mb, and phrases outlive a restart."
        )
    try:
        file = PhraseFile(folder, most_bytes=config.cache.disk_mb * 1_000_000)
    except OSError:
        raise VoicedError("The cache cannot be opened; run it with sudo.") from None
    try:
        yield file
    except sqlite3.Error as error:
        raise VoicedError(f"The cache cannot be read: {error}.") from None
    finally:
        file.close()


def _folder(config: Config) -> Path:
    """Return the folder of the service of this machine, where there is one, else the user's."""
    from voiced.config import cache_folder

    is_told = config.cache.path or os.environ.get("CACHE_DIRECTORY")
    # Not `exists`: with a dynamic user it is a link to where only root may look.
    if not is_told and os.path.lexists(_SERVICE):
        return _SERVICE
    return cache_folder(config, os.environ)


async def _warm(args: argparse.Namespace) -> None:
    wanted = {key: getattr(args, key) for key in ("model", "voice", "language")}
    fields: dict[str, Any] = {key: value for key, value in wanted.items() if value}
    lines = list(filter(None, map(str.strip, _read(args.file).splitlines())))
    made = 0
    async with connect_by(args) as client:
        for line in lines:
            async with client.speak(line, **fields) as speech:
                async for _ in speech:
                    pass
            made += 1
            for notice in speech.notices:
                print(f"voiced: {notice['message']}", file=sys.stderr)
    print(f"{made} phrases are ready")


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, ValueError):
        raise VoicedError(f"{file.name} cannot be read; it is to be text in UTF-8.") from None
