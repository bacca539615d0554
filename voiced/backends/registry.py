"""Which types of backend there are: the entry points of the group `voiced.backends`.

Nothing is imported before a type is asked for, and a plug-in that does not import makes its own
backends unavailable, not the daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points

from voiced.backends.base import TTSBackendBase
from voiced.errors import BackendUnavailable, ConfigError

GROUP = "voiced.backends"


class BackendRegistry:
    """Backend classes by type name."""

    def __init__(self, types: Mapping[str, type[TTSBackendBase]] | None = None) -> None:
        """Know the installed types, or exactly the given ones."""
        self._loaded = dict(types or {})
        self._points = {} if types is not None else {p.name: p for p in entry_points(group=GROUP)}

    def names(self) -> list[str]:
        """Return the type names, sorted."""
        return sorted({*self._loaded, *self._points})

    def load(self, name: str) -> type[TTSBackendBase]:
        """Return the class of a type.

        Raises:
            ConfigError: there is no such type.
            BackendUnavailable: there is, but its code does not import, or is no backend.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._points:
            near = get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.names())}."
            raise ConfigError([f"type: no backend type {name!r} is installed; {hint}"])
        try:
            backend = self._points[name].load()
        except Exception as error:  # a plug-in may fail in any way; it is not ours
            raise BackendUnavailable(
                f"The backend type {name!r} does not import ({type(error).__name__}); "
                "reinstall the package that brings it."
            ) from error
        if fault := _fault(backend):
            raise BackendUnavailable(f"The backend type {name!r} {fault}; correct its code.")
        self._loaded[name] = backend
        return self._loaded[name]


def _fault(brought: object) -> str | None:
    """Say what keeps it from being a backend."""
    if not (isinstance(brought, type) and issubclass(brought, TTSBackendBase)):
        return "is no TTSBackendBase"
    lacks = set(brought.__abstractmethods__)
    if not hasattr(brought, "is_local"):
        lacks.add("is_local")
    return f"lacks {', '.join(sorted(lacks))}" if lacks else None
