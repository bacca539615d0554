"""Where espeak-ng's library and data are: in a wheel, or where the environment says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from voiced.errors import BackendUnavailable


@dataclass(frozen=True, slots=True)
class EspeakFiles:
    """Where the library and its data are."""

    library: Path
    data: Path

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> EspeakFiles:
        """Return the files that the environment names, else those of the espeakng-loader wheel.

        `PHONEMIZER_ESPEAK_LIBRARY` is the shared library, `PHONEMIZER_ESPEAK_PATH` an espeak-ng
        program or folder beside which the library lies, `ESPEAK_DATA_PATH` the folder
        `espeak-ng-data` or the one that holds it.

        Raises:
            BackendUnavailable: a variable names something that is not there.
        """
        library = _library_from(environ)
        data = _data_from(environ, library)
        return cls(library or _bundled("libespeak-ng.so"), data)


def _library_from(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("PHONEMIZER_ESPEAK_LIBRARY"):
        if not Path(named).is_file():
            raise _misled("PHONEMIZER_ESPEAK_LIBRARY", "a file")
        return Path(named)
    if named := environ.get("PHONEMIZER_ESPEAK_PATH"):
        base = Path(named).resolve()
        for folder in (base, base.parent, base.parent.parent):
            for pattern in ("libespeak-ng.so*", "lib/libespeak-ng.so*", "lib/*/libespeak-ng.so*"):
                if found := sorted(folder.glob(pattern)):
                    return found[0]
        raise _misled("PHONEMIZER_ESPEAK_PATH", "an espeak-ng with its library beside it")
    return None


def _data_from(environ: Mapping[str, str], library: Path | None) -> Path:
    if named := environ.get("ESPEAK_DATA_PATH"):
        places = [Path(named), Path(named, "espeak-ng-data")]
    elif library is not None:
        places = [library.parent / "espeak-ng-data", Path("/usr/share/espeak-ng-data")]
    else:
        return _bundled("espeak-ng-data")
    for place in places:
        if Path(place, "phontab").is_file():
            return place
    if "ESPEAK_DATA_PATH" in environ:
        raise _misled("ESPEAK_DATA_PATH", "a folder with espeak-ng's data")
    raise BackendUnavailable(
        "The espeak-ng library has no data beside it; set ESPEAK_DATA_PATH to its data folder."
    )


def _bundled(name: str) -> Path:
    import espeakng_loader  # noqa: PLC0415  # only where nothing else is named

    return Path(espeakng_loader.__file__).with_name(name)


def _misled(variable: str, what: str) -> BackendUnavailable:
    return BackendUnavailable(f"{variable} does not name {what}; correct it or unset it.")
