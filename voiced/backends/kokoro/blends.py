"""Blends of Kokoro's voices: `af_bella(2)+af_sky`, as clients of Kokoro-FastAPI write them.

A blend is each voice's style times its weight, added up or, after a `-`, taken away, and divided by
the sum of all weights, those of what is taken away too. A weight that is not given is 1.
So `af_heart-am_adam(0.3)` is (1 heart - 0.3 adam) / 1.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from voiced.errors import VoiceNotFound

MOST_PARTS = 8

_WEIGHT_UNITS = 10_000  # of a weight of 1: four decimals, finer than anybody hears
_LARGEST_WEIGHT = 100
_LEAST_LEFT = 0.05  # of the sum of weights; with less the voices are gone, and noise is heard
_LONGEST = 512  # characters; eight names with their weights have about 150
_PART = re.compile(r"([^\s()]+)\s*(?:\(\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*\))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Blend:
    """A voice, or several, in one order and with the smallest weights: equal ones are equal."""

    weights: tuple[tuple[str, int], ...]
    """Voices and their weights in a common unit, below 0 for what is taken away; the first is not.
    A voice is there twice at most, once with each sign."""

    @property
    def shares(self) -> tuple[tuple[str, float], ...]:
        """What each voice's style is multiplied with; without signs they add up to 1."""
        total = sum(abs(weight) for _, weight in self.weights)
        return tuple((voice, weight / total) for voice, weight in self.weights)

    @property
    def id(self) -> str:
        """The one way to write it; read again, it is the same blend."""
        return self.write(lambda voice: voice)

    def write(self, name: Callable[[str], str], *, around: str = "") -> str:
        """Write it with names of your own, and `around` each sign."""
        unit = 1
        while max(abs(weight) for _, weight in self.weights) > _LARGEST_WEIGHT * unit:
            unit *= 10
        written = ""
        for voice, weight in self.weights:
            sign = "-" if weight < 0 else "+"
            number = f"{abs(weight) / unit:.4f}".rstrip("0").rstrip(".")
            written += f"{around}{sign}{around}{name(voice)}"
            written += "" if number == "1" else f"({number})"
        return written.removeprefix(f"{around}+{around}")


def read_blend(text: str, known: Mapping[str, str], language: Callable[[str], str]) -> Blend:
    """Read a voice's name or a blend of such.

    Args:
        text: As a client gave it. A name with a sign or a bracket in it can only stand alone.
        known: Names in lower case -> the names themselves.
        language: Of a voice. That of the first one is the blend's, so it comes first here too.

    Raises:
        VoiceNotFound: a name is not known, and the message has the nearest ones; or it is no
            blend, and the message says why.
    """
    if name := known.get(text.strip().lower()):
        return Blend(((name, 1),))
    first, *rest = re.split(r"([+-])", text) if len(text) <= _LONGEST else [text]
    parts = [("+", first), *zip(rest[::2], rest[1::2], strict=True)]
    if len(parts) > MOST_PARTS:
        raise _refused(f"A blend of {len(parts)} voices is too much; {MOST_PARTS} is the most.")
    weights: dict[tuple[str, str], int] = {}
    for sign, part in parts:
        voice, weight = _read_part(part.strip(), known, within=text)
        weights[voice, sign] = weights.get((voice, sign), 0) + weight
    _check(weights)
    main = language(next(iter(weights))[0])
    smallest = math.gcd(*weights.values())
    return Blend(
        tuple(
            (voice, (-1 if sign == "-" else 1) * weights[voice, sign] // smallest)
            for voice, sign in sorted(
                weights, key=lambda part: (language(part[0]) != main, part[1] == "-", part[0])
            )
        )
    )


def _read_part(part: str, known: Mapping[str, str], within: str) -> tuple[str, int]:
    found = _PART.fullmatch(part)
    voice = known.get(found[1].lower()) if found else None
    if found is None or voice is None:
        raise _refused(_unknown(found[1] if found else part, known, within=within))
    weight = float(found[2] or 1)
    if not 1 / _WEIGHT_UNITS <= weight <= _LARGEST_WEIGHT:
        raise _refused(f"The weight of {voice!r} must be from 0.0001 to {_LARGEST_WEIGHT}.")
    return voice, round(weight * _WEIGHT_UNITS)


def _unknown(name: str, known: Mapping[str, str], within: str) -> str:
    near = get_close_matches(name[:64].lower(), known, n=3, cutoff=0.5)
    what = f"{name[:64]!r}" if name == within.strip() else f"{name[:64]!r} in {within[:64]!r}"
    hint = (
        f"did you mean {' or '.join(known[match] for match in near)}"
        if near
        else "voices/list has those there are, and a blend of them reads af_bella(2)+af_sky"
    )
    return f"There is no voice {what}; {hint}."


def _check(weights: Mapping[tuple[str, str], int]) -> None:
    for (voice, _), weight in weights.items():
        if weight > _LARGEST_WEIGHT * _WEIGHT_UNITS:
            raise _refused(f"The weights of {voice!r} add up to more than {_LARGEST_WEIGHT}.")
    left = sum(-weight if sign == "-" else weight for (_, sign), weight in weights.items())
    if left < _LEAST_LEFT * sum(weights.values()):
        raise _refused(
            "The blend takes away as much as it gives; make the weights after '-' smaller."
        )


def _refused(message: str) -> VoiceNotFound:
    return VoiceNotFound(message, param="voice")
