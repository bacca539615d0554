"""`openai_tts_mappings.json`: which backend a model name means, which voice an alias."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from voiced.errors import ConfigError


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    models: dict[str, str] = {}
    voices: dict[str, str | dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Mappings:
    """The two tables."""

    models: dict[str, str]
    voices: dict[str, str | dict[str, str]]

    @classmethod
    def read(cls, *paths: Path) -> Self:
        """Read the files in order; an entry of a later one replaces that of an earlier one.

        Raises:
            ConfigError: a file is not JSON or has another shape; all such faults at once.
        """
        tables = cls({}, {})
        problems = []
        for path in paths:
            try:
                file = _File.model_validate(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                problems += _explain(path, error)
                continue
            tables.models.update(file.models)
            tables.voices.update(file.voices)
        if problems:
            raise ConfigError(problems)
        return tables

    def names(self, backend_id: str) -> list[str]:
        """Return the model names that mean a backend."""
        return [name for name, known in self.models.items() if known == backend_id]

    def voice(self, name: str, *, backend_id: str, backend_type: str) -> str | None:
        """Return the native name that an alias has there, if it is one; looked up once."""
        native = self.voices.get(name)
        if isinstance(native, dict):
            return native.get(backend_id) or native.get(backend_type)
        return native

    def is_alias(self, name: str) -> bool:
        """Tell whether a name stands for a voice of each backend, and so for the usual one of some.

        As OpenAI's "alloy", which its clients must name to any backend.
        """
        return isinstance(self.voices.get(name), dict)


def _explain(path: Path, error: OSError | ValueError) -> list[str]:
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False)
        return [
            f"{path.name}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults
        ]
    return [f"{path.name}: {error}"]
