"""`voiced models pull`, `verify` and `remove`: the files of models in the store."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from voiced.cli.session import show
from voiced.errors import DownloadFailed, StoreError
from voiced.models import piper
from voiced.models.piper import PiperCatalogue
from voiced.models.published import PublishedFile, PublishedModel, megabytes
from voiced.models.source import Source, pick
from voiced.models.store import (
    FileState,
    ModelFolder,
    command_folder,
    search_folders,
    service_folder,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def known_model(name: str, root: Path, kokoro: PublishedModel) -> PublishedModel:
    """Return a model of that name as far as it is known without a network.

    Raises:
        StoreError: what is known of it cannot be read.
    """
    return kokoro if name == kokoro.name else PiperCatalogue.kept(root).model()


def pull_model(args: argparse.Namespace, kokoro: PublishedModel) -> int:
    """Fetch the files, and tell where they are."""
    from voiced.models.download import pull

    root = _root(args)
    variant = _variant(args)
    if args.model == kokoro.name:
        model, source = kokoro, pick(args.source, kokoro.url)
        variant = variant or model.best
    else:
        source = pick(args.source, piper.URL)
        catalogue = _catalogue(source)
        if variant is None:
            return _list_voices(catalogue)
        catalogue.check(variant)
        catalogue.keep(variant, root)
        model = catalogue.model()
    folder = ModelFolder(root, model)
    with _bar() as progress:
        pull(folder, variant, source=source, watcher=_Teller(progress))
    print(f"{model.name} {variant} is in {folder.path}")
    if root.absolute() in search_folders(os.environ):
        print("A running daemon finds it there without a restart.")
    else:
        print("No daemon looks there by itself.")
    is_named = args.folder or os.environ.get("STATE_DIRECTORY")
    if os.geteuid() == 0 and not is_named and service_folder() is None:
        print(
            "No service was started here yet: that folder is root's own, and only root's daemon's."
        )
    return 0


def verify_models(args: argparse.Namespace, kokoro: PublishedModel, names: Sequence[str]) -> int:
    """Print a line for each file; status 1 where one is not as published."""
    root = _root(args)
    models = [known_model(name, root, kokoro) for name in names]
    verdicts = [_verify(ModelFolder(root, model)) for model in models]
    if all(verdict is None for verdict in verdicts):
        raise StoreError(
            f"No files of {' or '.join(names)} are there; fetch them with "
            f"`voiced models pull {names[0]}`."
        )
    return 1 if False in verdicts else 0


def remove_model(args: argparse.Namespace, kokoro: PublishedModel) -> int:
    """Delete the files, and tell which."""
    root, variant = _root(args), _variant(args)
    model = known_model(args.model, root, kokoro)
    removed = []
    if variant is None or variant in model.variants:
        removed = ModelFolder(root, model).remove(variant)
    for name in removed:
        print(f"{name} removed")
    if not removed:
        print("There was nothing to remove.")
    return 0


def _root(args: argparse.Namespace) -> Path:
    folder: Path = args.folder or command_folder(os.environ)
    return folder


def _variant(args: argparse.Namespace) -> str | None:
    """Return the variant or voice that is named, which has to be the model's."""
    if args.model == piper.NAME and args.variant:
        raise StoreError("piper has voices and no variants; name one by --voice.")
    if args.model != piper.NAME and args.voice:
        raise StoreError(f"{args.model} has its voices in one file; leave --voice out.")
    variant: str | None = args.variant or args.voice
    return variant


def _catalogue(source: Source) -> PiperCatalogue:
    try:
        return PiperCatalogue.of(source)
    except DownloadFailed as failure:
        raise StoreError(f"{failure.message}; run it again.") from None


def _list_voices(catalogue: PiperCatalogue) -> int:
    rows = [
        {
            "voice": voice.id,
            "language": voice.language,
            "speakers": voice.speakers,
            "size": megabytes(sum(file.size_bytes for file in voice.files)),
        }
        for voice in catalogue.voices.values()
    ]
    title = f"{len(rows)} voices; name one by --voice"
    show(rows, ("voice", "language", "speakers", "size"), as_json=False, title=title)
    return 2


def _verify(folder: ModelFolder) -> bool | None:
    """Tell whether the model is here and as published; None where there is nothing of it."""
    model = folder.model
    states = {file: folder.check(file) for file in model.all_files()}
    there = {file for file, state in states.items() if state is not FileState.MISSING}
    if not there:
        return None
    begun = [name for name, files in model.variants.items() if not there.isdisjoint(files)]
    wanted = {file for name in begun for file in model.variants[name]}
    for file, state in states.items():
        if file in there or file in model.shared or file in wanted:
            print(f"{state:<14} {file.name}", flush=True)
    broken = [name for name in begun if not _is_whole(model.files(name), states)]
    if begun and not broken:
        return True
    cure = f"voiced models pull {model.name} {model.option} {next(iter((*broken, model.best)))}"
    print(f"voiced: {model.name} is not whole; `{cure}` mends it.", file=sys.stderr)
    return False


def _is_whole(files: Iterable[PublishedFile], states: Mapping[PublishedFile, FileState]) -> bool:
    return all(states[file] is FileState.INSTALLED for file in files)


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
