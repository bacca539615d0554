"""`voiced say --dry-run`: the text as the engine would get it, without a daemon."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from voiced.cli.settings import config_path
from voiced.errors import BackendUnavailable, VoicedError

if TYPE_CHECKING:
    from voiced.backends.base import TTSBackendBase
    from voiced.settings import Settings

_USUAL_LANGUAGE = "en-us"


def show_reading(args: argparse.Namespace, text: str) -> None:
    """Print the text in one line, and its phonemes in another where they are wanted."""
    from voiced.reading.aloud import apply_changes
    from voiced.reading.lexicon import Speaker
    from voiced.reading.markup import MarkupReader
    from voiced.reading.pronunciation import Pronunciation
    from voiced.settings import Sources

    settings = Sources(config_path(args), {}).read()
    backend_id, kind = _speaker(settings, args.model)
    config = settings.config
    language = (args.language or config.defaults.language or _USUAL_LANGUAGE).lower()
    reader = MarkupReader(
        language=language,
        code=config.reading.code_blocks,
        keeps_phonemes=kind.reads_phonemes,
    )
    given = " ".join((reader.push(text).text + reader.flush().text).split())
    names = frozenset({backend_id, settings.backends[backend_id].type})
    speaker = Speaker(language, names, takes_phonemes=kind.reads_phonemes)
    reads_aloud = config.reading.aloud and not kind.reads_well
    pronunciation = Pronunciation(settings.lexicon, speaker, reads_aloud)
    said = apply_changes(given, pronunciation.changes(given))
    print(said)
    if args.phonemes:
        print(_phonemes(said, language))


def _speaker(settings: Settings, model: str | None) -> tuple[str, type[TTSBackendBase]]:
    """Return who would speak: the backend of a model, or the best local one that has its files."""
    wanted = model or settings.config.defaults.model
    if wanted != "auto":
        backend_id = settings.mappings.models.get(wanted, wanted)
        if backend_id not in settings.backends:
            raise VoicedError(
                f"There is no model {wanted!r}; `voiced models` lists those there are."
            )
        return backend_id, settings.registry.load(settings.backends[backend_id].type)
    found = []
    for backend_id, own in settings.backends.items():
        try:
            kind = settings.registry.load(own.type)
        except BackendUnavailable:
            continue
        if kind.is_local and kind.missing(own) is None:
            found.append((kind.quality, backend_id, kind))
    if not found:
        raise VoicedError("No local backend can speak; name one by --model.")
    _, backend_id, kind = max(found, key=lambda one: one[0])
    return backend_id, kind


def _phonemes(text: str, language: str) -> str:
    from voiced.backends.espeak.phonemizer import Phonemizer

    phonemizer = Phonemizer()
    try:
        phonemizer.start()
        return phonemizer.phonemes(text, language)
    finally:
        phonemizer.close()
