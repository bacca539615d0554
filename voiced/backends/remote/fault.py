"""`Fault`: what went wrong with a provider, what the client is told, and what to do about it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus

from voiced.errors import BackendError, RequestError, UpstreamAuth, UpstreamQuota, VoicedError

_QUOTA = frozenset(
    "insufficient_quota quota_exceeded insufficient_credits paid_plan_required payment_required "
    "billing_hard_limit_reached model_deprecated_free_tier subscription_required".split()
)
_KEY = frozenset("invalid_api_key unauthorized needs_authorization missing_permissions".split())
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_CODE = re.compile(r"[a-z][a-z0-9_]{1,63}")
_KEY_S = 300.0  # that a provider is left alone which refuses the key
_QUOTA_S = 60.0  # ... or whose quota is used up


@dataclass(slots=True)
class Fault(Exception):  # noqa: N818  # one word for one idea
    """Raised within `remote` only."""

    error: VoicedError
    may_pass: bool = False  # the same again may work
    after_s: float | None = None  # when, as the provider says
    closed_for_s: float | None = None  # nobody need ask before
    is_ours: bool = False  # the provider is well


def refused(host: str, status: int, body: bytes, *, after: str | None, cure: str) -> Fault:
    """Translate an answer that is no audio; `cure` says where the key is to be mended.

    Of the body only short codes are told: it may repeat the text, or the key.
    """
    codes = codes_of(body)
    told = ", ".join([f"HTTP {status}", *codes[:1]])
    if 300 <= status < 400:
        message = f"{host} sends us on to another address ({told}); set base_url to that."
        return Fault(BackendError(message), closed_for_s=_QUOTA_S)
    if status == HTTPStatus.PAYMENT_REQUIRED or _QUOTA.intersection(codes):
        message = f"{host} wants to be paid first ({told}); look at the account there."
        return Fault(UpstreamQuota(message), closed_for_s=_QUOTA_S)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or _KEY.intersection(codes):
        return Fault(UpstreamAuth(f"{host} refuses us ({told}); {cure}."), closed_for_s=_KEY_S)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        message = f"{host} has had too many requests of ours ({told}); try again later."
        return Fault(UpstreamQuota(message), may_pass=True, after_s=_seconds(after))
    if status in _PASSING:
        message = f"{host} failed ({told}); try again later."
        return Fault(BackendError(message), may_pass=True, after_s=_seconds(after))
    message = f"{host} does not take the request ({told}); check the model, voice and options."
    return Fault(BackendError(message), is_ours=True)


def wrong_request(error: RequestError) -> Fault:
    """Say that the client is to mend it."""
    return Fault(error, is_ours=True)


def unreachable(host: str, why: str) -> Fault:
    """Say that there is no connection, or none any more."""
    return Fault(BackendError(f"{host} cannot be reached ({why})."), may_pass=True)


def codes_of(body: bytes) -> list[str]:
    """Return the short codes in an error body, of whatever shape; the most telling first."""
    try:
        found = json.loads(body)
    except ValueError:
        return []
    codes = [
        value
        for holder in (_get(found, "error"), _get(found, "detail"), found)
        for name in ("code", "status", "type")
        if isinstance(value := _get(holder, name), str) and _CODE.fullmatch(value)
    ]
    return list(dict.fromkeys(codes))


def _get(holder: object, name: str) -> object:
    return holder.get(name) if isinstance(holder, dict) else None


def _seconds(after: str | None) -> float | None:
    """Read a Retry-After; a date counts as none."""
    try:
        seconds = float(after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86400 else None
