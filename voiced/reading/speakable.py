"""Text without what is no text."""

from __future__ import annotations


def speakable(text: str) -> str:
    """Blank what is no text, character by character, so that positions stay true.

    Controls (0x01 begins a command of espeak-ng), NUL, halves of surrogates; and spaces without a
    width, which espeak-ng does not know.
    """
    return "".join(map(_speakable, text))


def _speakable(character: str) -> str:
    code = ord(character)
    is_control = (code < 0x20 and character not in "\t\n\r") or 0x7F <= code < 0xA0
    is_nothing = 0xD800 <= code < 0xE000 or character in "\u200b\u2060\ufeff"
    return " " if is_control or is_nothing else character
