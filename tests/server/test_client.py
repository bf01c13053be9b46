"""Who a client is."""

from __future__ import annotations

import hashlib
import logging

import pytest

from remuda.errors import BadRequest
from remuda.job import Client
from remuda.server.client import client_of, upstreams_of

BEARER = (b"authorization", b"Bearer secret")
API_KEY = (b"x-api-key", b" other ")


def _key(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _scope(host: str, *headers: tuple[bytes, bytes]) -> dict[str, object]:
    return {"type": "http", "client": (host, 50000), "headers": list(headers)}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fd00::5", "fd00::/64"),
        ("::1", "::1"),
        ("fe80::1", "fe80::1"),
        ("fe80::2%eth0", "fe80::2%eth0"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_the_address_is_that_of_a_host(host: str, address: str) -> None:
    assert client_of(_scope(host)) == Client(address, "")


@pytest.mark.parametrize("scope", [{}, {"client": None}, {"client": ("", None)}, {"client": (None, None)}])
def test_a_client_without_an_address(scope: dict[str, object]) -> None:
    assert client_of({**scope, "headers": [BEARER]}) == Client("", _key(b"secret"))


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([BEARER], _key(b"secret")),
        ([(b"authorization", b"bearer  secret ")], _key(b"secret")),
        ([(b"authorization", b"BEARER \xff\x00\xfe")], _key(b"\xff\x00\xfe")),
        ([API_KEY], _key(b"other")),
        ([API_KEY, BEARER], _key(b"secret")),
        ([BEARER, API_KEY], _key(b"secret")),
        ([BEARER, (b"authorization", b"Bearer second")], _key(b"secret")),
        ([(b"authorization", b"Basic c2VjcmV0"), API_KEY], _key(b"other")),
        ([(b"authorization", b"Bearer "), API_KEY], _key(b"other")),
        ([(b"authorization", b"Basic c2VjcmV0")], ""),
        ([(b"authorization", b"Bearer")], ""),
        ([(b"authorization", b"")], ""),
        ([(b"x-api-key", b" ")], ""),
        ([(b"cookie", b"secret")], ""),
    ],
)
def test_the_key_is_a_fingerprint_of_what_was_sent(headers: list[tuple[bytes, bytes]], key: str) -> None:
    assert client_of(_scope("192.0.2.7", *headers)) == Client("192.0.2.7", key)


def test_the_key_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client = client_of(_scope("192.0.2.7", BEARER))
    assert "secret" not in repr(client)
    assert len(client.key) == 16
    assert not caplog.records


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        ([], ()),
        (["attic"], ("attic",)),
        ([" attic , cellar-2,attic"], ("attic", "cellar-2")),
        (["attic", "*"], ("attic", "*")),
    ],
)
def test_upstreams_are_named_in_a_header(headers: list[str], names: tuple[str, ...]) -> None:
    raw = [(b"x-remuda-upstream", header.encode()) for header in headers]
    assert upstreams_of(_scope("192.0.2.7", *raw)) == names


@pytest.mark.parametrize(
    "header", ["", ",", "a b", "http://10.0.0.1", "a\x00", "x" * 81, ",".join(map(str, range(65)))]
)
def test_what_is_no_name_of_an_upstream_is_refused(header: str) -> None:
    with pytest.raises(BadRequest, match="X-Remuda-Upstream"):
        upstreams_of(_scope("192.0.2.7", (b"x-remuda-upstream", header.encode())))
