"""The voices of Piper, as its project publishes them: a catalogue, and two files for each voice.

The store keeps the catalogue's entries of the voices that were pulled, as they were then: by them
the files can be verified without a network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from voiced.errors import StoreError
from voiced.models.published import PublishedFile, PublishedModel
from voiced.models.source import Source
from voiced.models.store import ModelFolder, explained

NAME = "piper"
URL = "https://huggingface.co/rhasspy/piper-voices/resolve/main"
CATALOGUE = "voices.json"
_MOST_BYTES = 8_000_000  # it has half a megabyte
_ID = re.compile(r"[\w.-]+")  # "pt_PT-tugão-medium"
_FOLDER = re.compile(r"(?!/)[\w./-]*/")


@dataclass(frozen=True, slots=True)
class PublishedVoice:
    """An entry of the catalogue."""

    id: str
    language: str  # "German (Germany)"
    speakers: int
    files: tuple[PublishedFile, ...]  # its configuration and its model


class PiperCatalogue:
    """The voices of a `voices.json`."""

    def __init__(self, entries: dict[str, Any]) -> None:
        """Take the entries.

        Raises:
            StoreError: it is not such a catalogue.
        """
        self.entries = entries
        try:
            self.voices = {voice: _voice(voice, entry) for voice, entry in entries.items()}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise StoreError(
                f"This {CATALOGUE} is no catalogue of Piper; name another source by --from."
            ) from None

    @classmethod
    def of(cls, source: Source) -> PiperCatalogue:
        """Ask a source for its catalogue; blocks.

        Raises:
            DownloadFailed: it may work when it is tried again.
            StoreError: it has none.
        """
        return cls(_decoded(source.read(CATALOGUE, _MOST_BYTES)))

    @classmethod
    def kept(cls, root: Path) -> PiperCatalogue:
        """Read the entries of the voices that were pulled into a folder of models.

        Raises:
            StoreError: the file cannot be read.
        """
        try:
            with explained(f"read {CATALOGUE}"):
                return cls(_decoded((root / NAME / CATALOGUE).read_bytes()))
        except StoreError as error:
            if isinstance(error.__context__, FileNotFoundError):
                return cls({})
            raise

    def model(self) -> PublishedModel:
        """Return it as a model, whose variants are the voices."""
        variants = {voice.id: voice.files for voice in self.voices.values()}
        return PublishedModel(NAME, URL, variants, option="--voice")

    def check(self, voice: str) -> None:
        """See whether there is a voice.

        Raises:
            StoreError: there is none; the message has the nearest ones.
        """
        if voice in self.voices:
            return
        near = get_close_matches(voice, self.voices, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `voiced models pull piper`."
        raise StoreError(f"Piper has no voice {voice[:64]!r}; {hint}")

    def keep(self, voice: str, root: Path) -> None:
        """Add the entry of a voice to what is kept in a folder of models.

        Raises:
            StoreError: somebody else changes the files now, or it is not allowed.
        """
        folder = ModelFolder(root, self.model())
        with folder.lock(), explained(f"write {CATALOGUE}"):
            entries = PiperCatalogue.kept(root).entries | {voice: self.entries[voice]}
            part = folder.path / f"{CATALOGUE}.part"
            part.write_text(json.dumps(entries, ensure_ascii=False, indent=1), "utf-8")
            part.replace(folder.path / CATALOGUE)


def _decoded(document: bytes) -> Any:
    try:
        return json.loads(document)
    except ValueError:
        return None


def _voice(voice: str, entry: Any) -> PublishedVoice:
    if not _ID.fullmatch(voice):
        raise ValueError(voice)
    language = entry["language"]
    name, country = language["name_english"], language.get("country_english")
    return PublishedVoice(
        id=voice,
        language=f"{name} ({country})" if country else name,
        speakers=int(entry["num_speakers"]),
        files=tuple(_files(voice, entry["files"])),
    )


def _files(voice: str, entries: Any) -> Iterator[PublishedFile]:
    """Yield the configuration, then the model; a voice has a card, too, of its makers."""
    paths = {path.rpartition("/")[2]: path for path in entries}
    for name in (f"{voice}.onnx.json", f"{voice}.onnx"):
        folder = paths[name].removesuffix(name)
        if (folder and not _FOLDER.fullmatch(folder)) or ".." in folder:
            raise ValueError(folder)
        entry = entries[paths[name]]
        yield PublishedFile(name, int(entry["size_bytes"]), entry["md5_digest"], "md5", folder)
