"""Amounts of money in languages that have no other rules: "12,50 €" is "12 Euro 50".

Not by num2words: it counts wrong or fails in some languages, and needs a package without wheels.
The numbers are the engine's own.
"""

from __future__ import annotations

import re
from functools import lru_cache

from voiced.reading.aloud import Rule

_Names = tuple[str, str, str, str, str, str, str]
"""One euro, several; one dollar, several; one pound, several; several cents alone."""

_LANGUAGES: dict[str, _Names] = {
    "da": ("euro", "euro", "dollar", "dollar", "pund", "pund", "cent"),
    "de": ("Euro", "Euro", "Dollar", "Dollar", "Pfund", "Pfund", "Cent"),
    "es": ("euro", "euros", "dólar", "dólares", "libra", "libras", "céntimos"),
    "fi": ("euro", "euroa", "dollari", "dollaria", "punta", "puntaa", "senttiä"),
    "fr": ("euro", "euros", "dollar", "dollars", "livre", "livres", "centimes"),
    "it": ("euro", "euro", "dollaro", "dollari", "sterlina", "sterline", "centesimi"),
    "nb": ("euro", "euro", "dollar", "dollar", "pund", "pund", "cent"),
    "nl": ("euro", "euro", "dollar", "dollar", "pond", "pond", "cent"),
    "no": ("euro", "euro", "dollar", "dollar", "pund", "pund", "cent"),
    "pt": ("euro", "euros", "dólar", "dólares", "libra", "libras", "cêntimos"),
    "sv": ("euro", "euro", "dollar", "dollar", "pund", "pund", "cent"),
}
_PLACES = {"€": 0, "EUR": 0, "$": 2, "USD": 2, "£": 4, "GBP": 4}
_SIGN = r"[€$£]|\b(?:EUR|USD|GBP)\b"
_NUMBER = r"\d{1,3}(?:[. \u00a0\u202f]\d{3})+(?:,\d{2})?|\d+(?:[.,]\d{2})?"
_PATTERN = re.compile(
    rf"(?<![\w.,])(?P<before>{_SIGN})[ \u00a0]?(?P<number>{_NUMBER})(?![\w]|[.,]\d)"
    rf"|(?<![\w.,])(?P<amount>{_NUMBER})[ \u00a0\u202f]?(?P<after>{_SIGN})"
)


@lru_cache(64)
def money(language: str) -> Rule:
    """Return the rule of a language, which says nothing where its words are not known here."""
    return Rule(_PATTERN, lambda match: _said(match, language))


def _said(match: re.Match[str], language: str) -> str | None:
    names = _LANGUAGES.get(language)
    if names is None:
        return None
    number = match["number"] or match["amount"]
    place = _PLACES[match["before"] or match["after"]]
    has_cents = len(number) > 2 and number[-3] in ",."
    whole = re.sub(r"\D", "", number[:-3] if has_cents else number)
    cents = number[-2:].lstrip("0") if has_cents else ""
    if cents and not int(whole):
        return f"{cents} {names[6]}"
    return f"{whole} {names[place + (whole != '1')]} {cents}".rstrip()
