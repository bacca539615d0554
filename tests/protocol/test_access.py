from __future__ import annotations

import pytest

from voiced.protocol.access import AccessPolicy

OPEN = AccessPolicy(
    allowed_hosts=frozenset({"voice.example.org"}),
    allowed_origins=frozenset({"https://panel.example.org"}),
    machine_names=frozenset({"server7.lan.example"}),
)
CLOSED = AccessPolicy(token="s3cret")


def status(
    policy: AccessPolicy,
    *,
    target: str = "/v1/ws",
    host: str | None = "localhost:8765",
    origin: str | None = None,
    authorization: str | None = None,
) -> int:
    refusal = policy.check(target, host=host, origin=origin, authorization=authorization)
    return 101 if refusal is None else int(refusal.status)


@pytest.mark.parametrize(
    "host",
    [
        *["localhost", "localhost:8765", "127.0.0.1:1", "[::1]:8765", "[fe80::1]", "192.168.1.7"],
        *["kitchen.local", "KITCHEN.LOCAL:8765", "kitchen.local.", "voiced", "voiced:8765"],
        *["voice.example.org", "server7.lan.example:8765"],
    ],
)
def test_known_hosts_are_let_in(host: str) -> None:
    assert status(OPEN, host=host) == 101


@pytest.mark.parametrize(
    "host", [None, "", "evil.com", "evil.com:8765", "local.evil.com", "127.0.0.1.evil.com", "]["]
)
def test_foreign_hosts_are_refused(host: str | None) -> None:
    assert status(OPEN, host=host) == 403


def test_the_right_token_opens_under_any_host() -> None:
    assert status(CLOSED, host="evil.com", authorization="Bearer s3cret") == 101
    assert status(CLOSED, host="evil.com") == 403
    assert status(OPEN, host="evil.com", authorization="Bearer anything") == 403


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        (None, "localhost", 101),
        ("http://localhost:3000", "localhost:8765", 101),
        ("http://192.168.1.7", "192.168.1.7:8765", 101),
        ("https://panel.example.org", "localhost", 101),
        ("HTTPS://panel.EXAMPLE.org", "localhost", 101),
        ("https://evil.com", "localhost", 403),
        ("null", "localhost", 403),
        ("", "localhost", 403),
        ("http://localhost.evil.com", "localhost", 403),
        ("http://[::1", "localhost", 403),
    ],
)
def test_origins(origin: str | None, host: str, expected: int) -> None:
    assert status(OPEN, origin=origin, host=host) == expected


@pytest.mark.parametrize(
    "target",
    ["/v1/ws?token=x", "/v1/ws?a=1&access_token=", "/v1/ws?API_KEY=x", "/v1/models?key=1"],
)
def test_a_token_in_the_url_is_refused(target: str) -> None:
    assert status(OPEN, target=target) == 400


def test_the_token_itself_anywhere_in_the_url_is_refused() -> None:
    assert status(CLOSED, target="/v1/ws?x=s3cret", authorization="Bearer s3cret") == 400


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, 101),
        ("Bearer s3cret", 101),
        ("bearer s3cret", 101),
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        ("Basic s3cret", 401),
        ("s3cret", 401),
        ("Bearer s3cret\udcff", 401),
    ],
)
def test_a_wrong_token_is_refused_and_none_may_follow_later(
    authorization: str | None, expected: int
) -> None:
    assert status(CLOSED, authorization=authorization) == expected


def test_without_a_token_any_key_is_accepted() -> None:
    assert status(OPEN, authorization="Bearer sk-whatever") == 101
    assert OPEN.is_authorized(None)
    assert not CLOSED.is_authorized(None)
