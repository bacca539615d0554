"""Piper's voices: what lies in the folders, and how each is to be spoken with."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from voiced.backends.paths import stamp
from voiced.speech import Voice

log = logging.getLogger(__name__)

_REGION = re.compile(r"([a-z]{2,3})[_-]([A-Za-z]{2})(?=-|$)")


class _Audio(BaseModel):
    sample_rate: int = Field(ge=8000, le=48000)


class _Espeak(BaseModel):
    voice: str


class VoiceConfig(BaseModel):
    """What is needed of a voice's `.onnx.json`."""

    audio: _Audio
    espeak: _Espeak
    language: Mapping[str, Any] = {}
    phoneme_id_map: Mapping[str, list[int]]
    phoneme_type: str = "espeak"
    num_symbols: int
    num_speakers: int = 1
    speaker_id_map: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class VoiceFile:
    """A voice that lies here, with one speaker or several."""

    path: Path  # of its model; its configuration lies beside it
    config: VoiceConfig
    stamp: str  # of both

    @property
    def id(self) -> str:
        """What it is called: "en_US-lessac-medium"."""
        return self.path.stem

    def voice(self, speaker: str = "") -> Voice:
        """Describe it, or one of its speakers."""
        name, _, quality = self.id.partition("-")[2].rpartition("-")
        return Voice(
            id=f"{self.id}#{speaker}" if speaker else self.id,
            name=" ".join(filter(None, (name or self.id, speaker, f"({quality})"))),
            languages=self._languages(),
            sample_rate=self.config.audio.sample_rate,
        )

    def speaker(self, name: str) -> str | None:
        """Return a speaker's name or number as it is written, whatever its case."""
        known = {speaker.lower(): speaker for speaker in self.config.speaker_id_map}
        if found := known.get(name.lower()):
            return found
        is_number = name.isascii() and name.isdecimal() and int(name) < self.config.num_speakers
        return name if is_number else None

    def speaker_id(self, speaker: str) -> int | None:
        """Return the number of a speaker that `speaker` knows; None where there is only one."""
        if self.config.num_speakers < 2:
            return None
        ids = self.config.speaker_id_map
        return ids[speaker] if speaker in ids else int(speaker or 0)

    def _languages(self) -> tuple[str, ...]:
        code = str(self.config.language.get("code") or "")
        if not code and (found := _REGION.match(self.id)):
            code = found[0]
        tag = (code or self.config.espeak.voice).replace("_", "-").lower()
        return tuple(dict.fromkeys((tag, tag.partition("-")[0])))


def find_voices(folders: Sequence[Path]) -> dict[str, VoiceFile]:
    """Read which voices lie in the folders, by their names in lower case; the first one counts.

    Blocks. What is no voice is said in the log and left out.
    """
    found: dict[str, VoiceFile] = {}
    for folder in folders:
        for path in _models(folder):
            if path.stem.lower() not in found and (voice := _read(path)):
                found[voice.id.lower()] = voice
    return dict(sorted(found.items()))


def has_voices(folders: Sequence[Path]) -> bool:
    """Tell whether any folder has what looks like a voice; blocks for a moment."""
    return any(True for folder in folders for _ in _models(folder))


def _models(folder: Path) -> Iterator[Path]:
    """Yield the models that have their configuration beside them."""
    try:
        yield from (p for p in sorted(folder.glob("*.onnx")) if _config(p).exists())
    except OSError:  # a folder that is not ours to look into
        return


def _config(model: Path) -> Path:
    return model.with_name(f"{model.name}.json")


def _read(path: Path) -> VoiceFile | None:
    try:
        config = VoiceConfig.model_validate(json.loads(_config(path).read_text("utf-8")))
    except (OSError, ValueError) as error:  # ValidationError is one
        what = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ""
        where = f", {'.'.join(map(str, what))}" if what else ""
        log.warning("%s is no configuration of Piper%s; fetch it again", _config(path).name, where)
        return None
    if config.phoneme_type not in ("espeak", "text"):
        log.warning(
            "the voice %s is left out: it wants phonemes of the type %r, which voiced has not",
            *(path.stem, config.phoneme_type[:32]),
        )
        return None
    return VoiceFile(path, config, stamp(path, _config(path)))
