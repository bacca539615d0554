"""Who may come in: tokens, and what a browser must not be tricked into. For every door alike."""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

_TOKEN_PARAMETERS = frozenset(
    {"token", "access_token", "api_key", "apikey", "api-key", "key", "auth", "authorization"}
)
_SINGLE_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    status: HTTPStatus
    message: str


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What the daemon was told about tokens, hosts and origins. Replaced whole on a reload."""

    token: str = ""
    allowed_origins: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    machine_names: frozenset[str] = frozenset()

    def is_token_right(self, token: str) -> bool:
        """Compare in a time that tells nothing; without a token any is right."""
        if not self.token:
            return True
        return hmac.compare_digest(
            token.encode(errors="surrogatepass"), self.token.encode(errors="surrogatepass")
        )

    def is_authorized(self, authorization: str | None) -> bool:
        """Tell whether an `Authorization` header, or the lack of one, is enough."""
        if not self.token:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token_right(token.strip())

    def is_origin_listed(self, origin: str) -> bool:
        """Tell whether pages of that origin were allowed by name: they get CORS answers."""
        return origin.lower() in self.allowed_origins or "*" in self.allowed_origins

    def is_origin_allowed(self, origin: str, host: str | None) -> bool:
        """Tell whether a page of that origin may talk to us as `host`."""
        if self.is_origin_listed(origin):
            return True
        hostname = _hostname(origin.partition("://")[2])
        return bool(hostname) and hostname == _hostname(host or "")

    def check(
        self, target: str, *, host: str | None, origin: str | None, authorization: str | None
    ) -> Refusal | None:
        """Check a request line's target and headers, before anything else is done."""
        names = {name.lower() for name, _ in parse_qsl(target.partition("?")[2], True)}
        if names & _TOKEN_PARAMETERS or (self.token and self.token in target):
            return Refusal(
                HTTPStatus.BAD_REQUEST,
                "A token in a URL ends up in logs; send it as an Authorization header.",
            )
        is_trusted = bool(self.token) and self.is_authorized(authorization)
        if not is_trusted and not self._is_host_known(host):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "This Host is not known here; add it to auth.allowed_hosts if it is yours.",
            )
        if origin is not None and not self.is_origin_allowed(origin, host):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "This Origin is not allowed; add it to auth.allowed_origins if it is yours.",
            )
        if authorization is not None and not self.is_authorized(authorization):
            return Refusal(HTTPStatus.UNAUTHORIZED, "The token is wrong.")
        return None

    def _is_host_known(self, host: str | None) -> bool:
        """A name that an attacker's DNS could point at us is not one of ours."""
        hostname = _hostname(host or "")
        return (
            _is_address(hostname)
            or hostname.endswith(".local")
            or _SINGLE_LABEL.fullmatch(hostname) is not None  # localhost, a container's name
            or hostname in self.allowed_hosts
            or hostname in self.machine_names
        )


def _hostname(netloc: str) -> str:
    try:
        return (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(hostname: str) -> bool:
    try:
        ipaddress.ip_address(hostname.partition("%")[0])
    except ValueError:
        return False
    return True
