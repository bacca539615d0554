"""Amounts of money in languages that have no rules of their own, by num2words."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from voiced.reading.aloud import Rule

_WRONG = frozenset({"ar"})  # which takes every currency for riyals
_CODES = {"€": "EUR", "$": "USD", "£": "GBP", "EUR": "EUR", "USD": "USD", "GBP": "GBP"}
_SIGN = r"[€$£]|\b(?:EUR|USD|GBP)\b"
_NUMBER = r"\d{1,3}(?:[. \u00a0\u202f]\d{3})+(?:,\d{2})?|\d+(?:[.,]\d{2})?"
_PATTERN = re.compile(
    rf"(?<![\w.,])(?P<before>{_SIGN})[ \u00a0]?(?P<number>{_NUMBER})(?![\w]|[.,]\d)"
    rf"|(?<![\w.,])(?P<amount>{_NUMBER})[ \u00a0\u202f]?(?P<after>{_SIGN})"
)


@lru_cache(64)
def money(language: str) -> Rule:
    """Return the rule of a language, which finds nothing where num2words does not know it."""
    return Rule(_PATTERN, lambda match: _said(match, language))


def _said(match: re.Match[str], language: str) -> str | None:
    from num2words import num2words  # noqa: PLC0415  # 20 ms, and for few

    if language in _WRONG:
        return None
    number = match["number"] or match["amount"]
    whole, fraction = re.fullmatch(r"(.*?)(?:[.,](\d\d))?", number, re.DOTALL).groups()  # type: ignore[union-attr]
    try:
        amount = Decimal(f"{re.sub(r'[^0-9]', '', whole)}.{fraction or '00'}")
        currency = _CODES[match["before"] or match["after"]]
        keys = {"lang": language, "to": "currency", "currency": currency}
        if fraction is None:  # without the cents that nobody wrote
            return str(num2words(amount, **keys, separator="\0")).partition("\0")[0].strip()
        return str(num2words(amount, **keys))
    except Exception:  # noqa: BLE001  # each language of num2words fails in its own ways
        return None
