"""What the tests of the wire contract ask for, and what they expect of it."""

from __future__ import annotations

import random
from typing import Any

SHORT = "Good morning."
SENTENCES = (
    "Good morning, everybody. This is the second sentence, and it is longer than the first. "
    "Here comes the third one! Is this the last?"
)
UNFINISHED = "Good morning"  # no mark ends it, and it is too short to be cut
PROSE = (
    "Dr. Smith paid 19.5 °C... or was it € 3.50? \N{GRINNING FACE} Well, said the cafe\u0301's "
    "owner, it is 7:45 a.m. on Tuesday! “Really?” — yes, really. And then it went on for a while"
)
# And what their bytes begin with.
FORMATS = {
    "pcm": b"",
    "wav": b"RIFF",
    "flac": b"fLaC",
    "opus": b"OggS",
    "mp3": b"",  # an ID3 tag or a frame
    "aac": b"",  # an ADTS frame
}
# Fields of a request, and the code of the error that they make.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": "no such model"}, "model_not_found"),
    ({"model": 5}, "invalid_request"),
    ({"voice": "no such voice"}, "voice_not_found"),
    ({"voice": {"id": "no such voice"}}, "voice_not_found"),
    ({"voice": 5}, "invalid_request"),
    ({"response_format": "ogg"}, "format_not_supported"),
    ({"response_format": "PCM"}, "format_not_supported"),
    ({"response_format": 5}, "invalid_request"),
    ({"response_format": ["pcm"]}, "invalid_request"),
    ({"speed": 0.24}, "invalid_request"),
    ({"speed": 4.01}, "invalid_request"),
    ({"speed": 0}, "invalid_request"),
    ({"speed": -1}, "invalid_request"),
    ({"speed": "fast"}, "invalid_request"),
    ({"language": "tlh"}, "language_not_supported"),
    ({"language": 5}, "invalid_request"),
    ({"model_specific_options": {"no_such_option": 1}}, "invalid_option"),
    ({"model_specific_options": {"lead_silence_ms": "long"}}, "invalid_option"),
    ({"sample_rate": 12345}, "invalid_request"),
    ({"sample_rate": "24000"}, "invalid_request"),
    ({"marks": "letter"}, "invalid_request"),
    ({"mode": "later"}, "invalid_request"),
    ({"priority": "urgent"}, "invalid_request"),
    ({"window_ms": 199}, "invalid_request"),
    ({"window_ms": 60_001}, "invalid_request"),
    ({"window_ms": "1000"}, "invalid_request"),
]


def cuts(text: str, seed: int) -> list[str]:
    """Cut a text at random places, some of them twice."""
    dice = random.Random(seed)
    places = sorted(dice.choices(range(len(text) + 1), k=dice.choice([1, 5, 40])))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def letters(text: str) -> set[int]:
    """Return where the letters and digits of a text are."""
    return {index for index, character in enumerate(text) if character.isalnum()}
