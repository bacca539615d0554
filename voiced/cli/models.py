"""`voiced models`."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

from voiced.cli.session import add_json_argument, add_server_arguments, connect_by, show
from voiced.errors import StoreError
from voiced.models.published import KOKORO, PublishedModel, megabytes

HELP = "list the models, and fetch, verify or remove the files of those that have some"
EXAMPLE = "voiced models --json; voiced models pull kokoro"

_NAMES = (KOKORO.name, "piper")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options, and the actions with theirs."""
    add_json_argument(parser)
    add_server_arguments(parser)
    actions = parser.add_subparsers(title="actions, list where none is given", dest="action")
    _add_list(actions)
    _add_pull(actions)
    _add_verify(actions)
    _add_remove(actions)


def run(args: argparse.Namespace, kokoro: PublishedModel = KOKORO) -> int:
    """Do what the action says."""
    from voiced.cli import files

    match args.action:
        case "pull":
            return files.pull_model(args, kokoro)
        case "verify":
            return files.verify_models(args, kokoro, [args.model] if args.model else _NAMES)
        case "remove":
            return files.remove_model(args, kokoro)
        case _:
            return _list(args, kokoro)


def _add_list(actions: Any) -> None:
    action: argparse.ArgumentParser = actions.add_parser(
        "list",
        help="list what the daemon knows, and the files that are here",
        epilog="example: voiced models list",
        # So that `models --json list` keeps what stands before the action.
        argument_default=argparse.SUPPRESS,
    )
    add_json_argument(action)
    add_server_arguments(action)


def _add_pull(actions: Any) -> None:
    action: argparse.ArgumentParser = actions.add_parser(
        "pull",
        help="fetch the files of a model; goes on where an earlier pull stopped",
        epilog="example: voiced models pull kokoro --variant fp16; "
        "voiced models pull piper --voice en_US-lessac-medium",
    )
    action.add_argument("model", choices=_NAMES)
    _add_variant_arguments(action)
    action.add_argument(
        "--from",
        dest="source",
        metavar="URL|DIR",
        help="a mirror's folder, or one here, with the files under their names",
    )
    _add_folder_argument(action)


def _add_verify(actions: Any) -> None:
    action: argparse.ArgumentParser = actions.add_parser(
        "verify",
        help="compare the files here with those published; status 1 where one differs",
        epilog="example: voiced models verify kokoro",
    )
    action.add_argument("model", nargs="?", choices=_NAMES, help="default: all")
    _add_folder_argument(action)


def _add_remove(actions: Any) -> None:
    action: argparse.ArgumentParser = actions.add_parser(
        "remove",
        help="delete the files of a model",
        epilog="example: voiced models remove kokoro --variant int8",
    )
    action.add_argument("model", choices=_NAMES)
    _add_variant_arguments(action)
    _add_folder_argument(action)


def _add_variant_arguments(action: argparse.ArgumentParser) -> None:
    one = action.add_mutually_exclusive_group()
    one.add_argument("--variant", choices=list(KOKORO.variants), help="of kokoro")
    one.add_argument("--voice", metavar="NAME", help="of piper; pull without it lists them")


def _add_folder_argument(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--folder", type=Path, help="the models' folder (default: the service's, else yours)"
    )


def _list(args: argparse.Namespace, kokoro: PublishedModel) -> int:
    """Ask the daemon; the files are shown even where none answers."""

    async def ask() -> None:
        async with connect_by(args) as client:
            models = await client.models()
        columns = ("id", "state", "backend", "cure")
        show(models, columns, as_json=args.json, title=f"{len(models)} models")

    try:
        asyncio.run(ask())
    finally:
        if not args.json:
            _show_files(kokoro)
    return 0


def _show_files(kokoro: PublishedModel) -> None:
    from voiced.cli.files import known_model
    from voiced.models.store import search_folders

    for root in search_folders(os.environ):
        try:
            models = [known_model(name, root, kokoro) for name in _NAMES]
            rows = [row for model in models for row in _rows(root, model)]
        except StoreError:  # a service's, which is not ours to look into
            continue
        if rows:
            print(f"\nfiles in {root}")
            show(rows, ("model", "file", "size", "state"), as_json=False, title="")


def _rows(root: Path, model: PublishedModel) -> list[dict[str, Any]]:
    from voiced.models.store import FileState, ModelFolder

    folder = ModelFolder(root, model)
    states = {file: folder.look(file) for file in model.all_files()}
    return [
        {
            "model": model.name,
            "file": file.name,
            "size": megabytes(file.size_bytes),
            "state": state,
        }
        for file, state in states.items()
        if state is not FileState.MISSING
    ]
