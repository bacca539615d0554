"""`voiced serve`."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiced.cli.settings import add_config_argument, config_path
from voiced.errors import VoicedError

if TYPE_CHECKING:
    from voiced.doors import Doors

HELP = "run the daemon in the foreground"
EXAMPLE = "voiced serve --lan"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; each stands for a key of the configuration, and goes before it."""
    add_config_argument(parser)
    parser.add_argument("--host", help="listen there, with every door")
    parser.add_argument("--port", type=int, help="of the WebSocket door; 0 takes a free one")
    parser.add_argument("--http-port", type=int, help="of the HTTP door; 0 takes a free one")
    parser.add_argument("--wyoming-port", type=int, help="of the Wyoming door; 0 takes a free one")
    parser.add_argument("--token-file", type=Path, help="a file with the token to ask for")
    parser.add_argument(
        "--lan", action="store_true", help="listen to the whole network, with a token made once"
    )
    parser.add_argument("--no-zeroconf", action="store_true", help="do not advertise")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--ready-file", type=Path, help="write the doors there as JSON, once ready")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from voiced.daemon import Daemon, EngineLostError
    from voiced.logs import written
    from voiced.service import ServiceManager
    from voiced.settings import Sources

    sources = Sources(config_path(args), _flags(args))
    settings = sources.read()
    if args.ready_file:
        args.ready_file.unlink(missing_ok=True)

    def on_ready(doors: Doors) -> None:
        for line in doors.lines():
            print(line, flush=True)
        if args.ready_file:
            _write_whole(args.ready_file, doors.as_json())

    log = settings.config.log
    faulthandler.enable()  # a native library that crashes, or a watchdog's SIGABRT, says where
    with written(log.level, log.format, os.environ) as end_of_log:
        daemon = Daemon(settings, sources, service=ServiceManager.from_environ(os.environ))

        async def serve() -> None:
            try:
                await daemon.run(on_ready)
            except EngineLostError as error:
                print(f"voiced: {error.message}", file=sys.stderr)
                sys.stdout.flush()
                end_of_log()
                os._exit(1)  # asyncio and the interpreter would wait for the thread, for ever

        asyncio.run(serve())
    return 0


def _flags(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the options as the keys that they stand for."""
    lan = _lan(args) if args.lan else {}
    flags: dict[str, dict[str, Any]] = {
        "websocket": {"host": args.host or lan.get("host"), "port": args.port},
        "http": {"host": args.host or lan.get("host"), "port": args.http_port},
        "wyoming": {"host": args.host or lan.get("host"), "port": args.wyoming_port},
        "auth": {"token_file": lan.get("token_file") or args.token_file},
        "zeroconf": {"enabled": False if args.no_zeroconf else None},
        "log": {"level": args.log_level},
    }
    given = {
        section: {
            key: str(value) if isinstance(value, Path) else value
            for key, value in keys.items()
            if value is not None
        }
        for section, keys in flags.items()
    }
    return {section: keys for section, keys in given.items() if keys}


def _lan(args: argparse.Namespace) -> dict[str, Any]:
    """Open the doors to the network, but to those only who know the token."""
    from voiced.config import state_folder

    token_file: Path = args.token_file or state_folder(os.environ) / "token"
    if not token_file.exists():
        try:
            token_file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise VoicedError(f"The token file cannot be made: {error.strerror}.") from None
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_urlsafe(24)}\n")
        print(f"voiced: made a token for clients, in {token_file}", file=sys.stderr)
    return {
        "host": args.host or "0.0.0.0",  # noqa: S104  # that is what --lan asks for
        "token_file": token_file,
    }


def _write_whole(path: Path, text: str) -> None:
    """Write so that a reader sees all of it or nothing."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(f"{text}\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise VoicedError(f"--ready-file cannot be written: {error.strerror}.") from None
