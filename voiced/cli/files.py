"""`voiced models pull`, `verify` and `remove`: the files of models in the store."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from voiced.errors import StoreError
from voiced.models.published import PublishedFile, PublishedModel, megabytes
from voiced.models.store import (
    FileState,
    ModelFolder,
    command_folder,
    search_folders,
    service_folder,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def pull_model(args: argparse.Namespace, model: PublishedModel) -> int:
    """Fetch the files, and tell where they are."""
    from voiced.models.download import pull
    from voiced.models.source import pick

    source = pick(args.source, model)
    folder = _folder(args, model)
    variant = args.variant or model.best
    with _bar() as progress:
        pull(folder, variant, source=source, watcher=_Teller(progress))
    print(f"{model.name} {variant} is in {folder.path}")
    if folder.root.absolute() in search_folders(os.environ):
        print("A running daemon finds it there without a restart.")
    else:
        print("No daemon looks there by itself.")
    is_named = args.folder or os.environ.get("STATE_DIRECTORY")
    if os.geteuid() == 0 and not is_named and service_folder() is None:
        print(
            "No service was started here yet: that folder is root's own, and only root's daemon's."
        )
    return 0


def verify_models(args: argparse.Namespace, models: Sequence[PublishedModel]) -> int:
    """Print a line for each file; status 1 where one is not as published."""
    verdicts = [_verify(_folder(args, model)) for model in models]
    if all(verdict is None for verdict in verdicts):
        named = models[0].name
        raise StoreError(
            f"No files of {' or '.join(model.name for model in models)} are there; fetch them "
            f"with `voiced models pull {named}`."
        )
    return 1 if False in verdicts else 0


def remove_model(args: argparse.Namespace, model: PublishedModel) -> int:
    """Delete the files, and tell which."""
    for name in (removed := _folder(args, model).remove(args.variant)):
        print(f"{name} removed")
    if not removed:
        print("There was nothing to remove.")
    return 0


def _folder(args: argparse.Namespace, model: PublishedModel) -> ModelFolder:
    return ModelFolder(args.folder or command_folder(os.environ), model)


def _verify(folder: ModelFolder) -> bool | None:
    """Tell whether the model is here and as published; None where there is nothing of it."""
    model = folder.model
    states = {file: folder.check(file) for file in model.all_files()}
    there = [file for file, state in states.items() if state is not FileState.MISSING]
    if not there:
        return None
    for file in dict.fromkeys((*there, model.voices)):
        print(f"{states[file]:<14} {file.name}", flush=True)
    variants = {name: file for name, file in model.variants.items() if file in there}
    is_spoken = any(states[file] is FileState.INSTALLED for file in variants.values())
    damaged = [name for name, file in variants.items() if states[file].is_fault]
    if is_spoken and not damaged and states[model.voices] is FileState.INSTALLED:
        return True
    wanted = next(iter((*damaged, *variants, model.best)))
    cure = f"voiced models pull {model.name} --variant {wanted}"
    print(f"voiced: {model.name} is not whole; `{cure}` mends it.", file=sys.stderr)
    return False


@contextmanager
def _bar() -> Iterator[Progress | None]:
    """A progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True, markup=False)
    if not console.is_terminal:
        yield None
        return
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else lines for a file would go to the terminal
    ) as progress:
        yield progress


class _Teller:
    """A line for each file, and the bar where there is one."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def at(self, file: PublishedFile, size_bytes: int) -> None:
        if self._progress is None:
            return
        if file.name in self._tasks:
            self._progress.update(self._tasks[file.name], completed=size_bytes)
        else:
            self._tasks[file.name] = self._progress.add_task(
                file.name, total=file.size_bytes, completed=size_bytes
            )

    def done(self, file: PublishedFile, *, was_here: bool) -> None:
        how = "is here already" if was_here else "has arrived"
        print(f"{file.name} {how}: {megabytes(file.size_bytes)}, checksum right", flush=True)

    def note(self, sentence: str) -> None:
        print(f"voiced: {sentence}", file=sys.stderr, flush=True)
