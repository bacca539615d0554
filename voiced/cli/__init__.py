"""The commands: `voiced serve | say | voices | models | discover | check | bench | config | cache`.

Each is a module with `HELP`, `EXAMPLE`, `add_arguments(parser)` and `run(args) -> exit status`.
Exit statuses: 0 done, 1 trouble (one line says which), 2 wrong usage, 78 wrong configuration.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from voiced import __version__
from voiced.cli.settings import look_as_the_service
from voiced.errors import ConfigError, VoicedError

EX_CONFIG = 78  # sysexits.h; systemd's RestartPreventExitStatus knows it

COMMANDS = ("serve", "say", "voices", "models", "discover", "check", "bench", "config", "cache")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="voiced",
        description="The speech daemon: gives every device in a home a voice.",
        epilog="example: voiced serve, then from another terminal: voiced say 'Good morning'",
    )
    parser.add_argument("--version", action="version", version=f"voiced {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    for name in COMMANDS:
        module = import_module(f"voiced.cli.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=f"example: {module.EXAMPLE}",
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    if args.command != "serve":  # which is told its folders by whoever starts it
        look_as_the_service(os.environ)
    try:
        status: int = args.run(args)
    except ConfigError as error:
        for problem in error.problems:
            print(f"voiced: {problem}", file=sys.stderr)
        return EX_CONFIG
    except VoicedError as error:
        print(f"voiced: {error.message}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `voiced voices | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status
