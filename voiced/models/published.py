"""The model files that somebody published, and how to tell them from others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file that is the same for everybody."""

    name: str
    size_bytes: int
    checksum: str  # lower-case hexadecimal
    algorithm: str = "sha256"  # of the checksum, as hashlib calls it
    folder: str = ""  # where the publisher has it, below the model's url, with a slash at its end


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model in one or several variants, which may have files in common."""

    name: str
    url: str  # of the folder that the files are in
    variants: Mapping[str, tuple[PublishedFile, ...]]  # the best first
    shared: tuple[PublishedFile, ...] = ()
    option: str = "--variant"  # of the commands, which names a variant

    @property
    def best(self) -> str:
        """The variant that is meant where none is named."""
        return next(iter(self.variants))

    def files(self, variant: str) -> tuple[PublishedFile, ...]:
        """Return what must be there for the variant to speak, the small first."""
        return (*self.shared, *self.variants[variant])

    def all_files(self) -> tuple[PublishedFile, ...]:
        """Return everything that was published of it."""
        return (*(file for files in self.variants.values() for file in files), *self.shared)


# Its successor model-files-v1.1 has files of the same names with other bytes.
KOKORO = PublishedModel(
    name="kokoro",
    url="https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0",
    variants={
        "fp32": (
            PublishedFile(
                "kokoro-v1.0.onnx",
                325_532_387,
                "7d5df8ecf7d4b1878015a32686053fd0eebe2bc377234608764cc0ef3636a6c5",
            ),
        ),
        "fp16": (
            PublishedFile(
                "kokoro-v1.0.fp16.onnx",
                177_464_787,
                "c1610a859f3bdea01107e73e50100685af38fff88f5cd8e5c56df109ec880204",
            ),
        ),
        "int8": (
            PublishedFile(
                "kokoro-v1.0.int8.onnx",
                92_361_271,
                "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
            ),
        ),
    },
    shared=(
        PublishedFile(
            "voices-v1.0.bin",
            28_214_398,
            "bca610b8308e8d99f32e6fe4197e7ec01679264efed0cac9140fe9c29f1fbf7d",
        ),
    ),
)


def megabytes(size_bytes: int) -> str:
    """Write a size for people."""
    return f"{size_bytes / 1e6:,.1f} MB"
