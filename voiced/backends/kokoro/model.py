"""What a runtime of Kokoro does: phonemes in, samples out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from voiced.backends.base import InterruptBy
from voiced.speech import Float32

MOST_TOKENS = 510
"""Of one inference; the context has 512, with a pad at each end."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """What an inference made."""

    samples: Float32  # 24 kHz, +-1.0
    edges: Sequence[int]
    """At which sample each phoneme begins, and the last one ends; empty where the model has no
    durations."""


class KokoroModel(Protocol):
    """A loaded model. Its calls block; all but `stop` are for one thread at a time."""

    has_durations: bool
    """Whether it tells when each phoneme is heard."""
    takes_any_speed: bool
    """False for exports that take whole numbers only."""

    def known(self, phonemes: str) -> str:
        """Return the phonemes that it was taught, a token for each."""
        ...

    def infer(
        self,
        phonemes: str,
        style: Float32,
        *,
        speed: float,
        interrupt_by: InterruptBy,
    ) -> Inferred:
        """Speak at most `MOST_TOKENS` known phonemes in a style, float32 [1, 256].

        `interrupt_by` is told first what ends the inference from another thread; it raises then.
        """
        ...

    def close(self) -> None:
        """Let go of its memory."""
        ...
