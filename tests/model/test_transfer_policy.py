"""Which hosts and addresses may be reached (O18)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from remuda.errors import BadRequest, Forbidden
from remuda.model import parse_name
from remuda.model.transfer import RegistryError, TransferPolicy
from remuda.model.transfer.policy import Guard, is_public
from remuda.model.transfer.url import Url

_POLICY = TransferPolicy(key=Path("key"))


def _guard(host: str, *, insecure: bool = False, **changes: Any) -> Guard:
    return Guard(msgspec.structs.replace(_POLICY, **changes), parse_name(f"{host}/library/tiny"), insecure=insecure)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    (
        "127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1 "
        "240.0.0.1 192.0.2.1 198.18.0.1 ::1 :: fe80::1 fec0::1 fc00::1 ff02::1 ff0e::1 2001:db8::1 "
        "::ffff:10.0.0.1 ::ffff:8.8.8.8 ::7f00:1 ::10.0.0.1 2002:7f00:1:: 2002:a00:1::1 2001:0:808:808::1 "
        "64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::1"
    ).split(),
)
def test_addresses_that_lead_inwards(address: str) -> None:
    assert not is_public(ip_address(address))


@settings(max_examples=50, deadline=None)
@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_no_spelling_of_a_private_address_passes(address: IPv4Address) -> None:
    number = int(address)
    wrapped = [
        IPv6Address(f"::ffff:{address}"),
        IPv6Address(f"64:ff9b::{address}"),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address(number),
    ]
    assert not any(is_public(each) for each in [address, *wrapped])
    guard = _guard("registry.example.org")
    first, rest = number >> 24, number & 0xFFFFFF
    for text in (str(address), str(number), hex(number), oct(number).replace("0o", "0"), f"{first}.{rest}"):
        with pytest.raises(Forbidden, match="no public address"):
            guard.check_literal(Url("http", text, 80, "/"))


def test_the_allow_list_names_registries_with_their_port() -> None:
    allow = ("registry.ollama.ai", "*.Example.org", "127.0.0.1:5000")
    for host in ("registry.ollama.ai", "a.b.example.org", "A.EXAMPLE.ORG", "127.0.0.1:5000"):
        _guard(host, allow=allow)
    for host in ("example.org", "registry.ollama.ai:22", "127.0.0.1", "hf.co", "a.example.org.evil.net"):
        with pytest.raises(Forbidden, match=r"registry\.allow"):
            _guard(host, allow=allow)


@pytest.mark.parametrize("host", ["a:b", "a:", "a:0", "a:65536", "a:1:2", "fe80::1"])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(BadRequest, match="invalid model name"):
        _guard(host)


def test_a_private_address_passes_where_the_operator_said_so() -> None:
    addresses = [ip_address("10.1.2.3"), ip_address("8.8.8.8"), ip_address("fe80::1")]
    assert _guard("a.lan").admit("a.lan", 443, addresses) == [ip_address("8.8.8.8")]
    with pytest.raises(Forbidden, match=r"registry\.private"):
        _guard("a.lan").admit("a.lan", 443, addresses[:1])
    for private in ("a.lan", "*.lan", "a.lan:443"):
        assert _guard("a.lan", private=(private,)).admit("a.lan", 443, addresses) == addresses
    with pytest.raises(Forbidden):
        _guard("a.lan", private=("a.lan:5000",)).admit("a.lan", 443, addresses[:1])


def test_a_server_on_loopback_reaches_its_neighbours_if_they_are_called_so() -> None:
    here, elsewhere = ip_address("127.0.0.1"), ip_address("10.0.0.1")

    def admitted(host: str, *, insecure: bool = True, loopback: bool = True, port: int = 5000) -> list[Any]:
        guard = _guard(f"{host}:5000", insecure=insecure, loopback=loopback)
        return guard.admit(host, port, [here, elsewhere])

    assert admitted("localhost") == admitted("127.0.0.1") == [here]
    for refused in (
        {"host": "localhost", "insecure": False},
        {"host": "localhost", "loopback": False},
        {"host": "localhost", "port": 22},
        {"host": "rebound.example.org"},
        {"host": "2130706433"},
    ):
        with pytest.raises(Forbidden):
            admitted(**refused)


def test_redirects() -> None:
    guard = _guard("hf.co", redirects=("*.hf.co", "huggingface.co"))
    source = guard.registry
    for target in ("https://cdn-lfs.hf.co/x", "https://huggingface.co/v2/", "https://hf.co/other"):
        guard.check_redirect(source, Url.parse(target))
    with pytest.raises(RegistryError, match=r"redirects to evil\.net"):
        guard.check_redirect(source, Url.parse("https://evil.net/"))
    with pytest.raises(RegistryError, match="from https to http"):
        guard.check_redirect(source, Url.parse("http://hf.co/"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://Example.org", "https://example.org/"),
        ("http://example.org:80/a b?c=d e&f=%20", "http://example.org/a%20b?c=d%20e&f=%20"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://[2606:4700::1]:8443/", "https://[2606:4700::1]:8443/"),
        ("https://a.example/x?X-Amz-Signature=a%2Fb+c&e=~1!", "https://a.example/x?X-Amz-Signature=a%2Fb+c&e=~1!"),
    ],
)
def test_urls(text: str, told: str) -> None:
    assert str(Url.parse(text)) == told
    assert str(Url.parse(told)) == told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/relative",
        "ftp://a.example/",
        "file:///etc/passwd",
        "https://user:word@a.example/",
        "https://a.example:0/",
        "https://a.example:99999/",
        "https://[::1",
        f"https://{'a' * 70}.example/",
        "https://a.example/" + "x" * 20_000,
    ],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(RegistryError, match="names a URL that"):
        Url.parse(text)
