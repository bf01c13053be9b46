"""Where a server listens, and where its clients find it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

__all__ = ["DEFAULT_PORT", "is_loopback", "near_host", "parse_address", "parse_host", "url_of"]

DEFAULT_PORT: Final = 11434


def parse_host(text: str) -> tuple[str, str, int, str]:
    """`OLLAMA_HOST` as `(scheme, host, port, path)`.

    No scheme means http and port 11434; `http://` port 80, `https://` 443; a bad port falls back to the default;
    a bare IPv6 address may lack its brackets; a missing host is every interface for a server (Ollama API,
    "Environment").
    """
    text = text.strip().strip("\"'").strip()
    scheme, separator, rest = text.rpartition("://")
    scheme = scheme if separator else "http"
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    authority, slash, path = rest.partition("/")
    host, colon, port = authority.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or authority.endswith("]"):
        host, port = authority, ""
    number = int(port) if port.isascii() and port.isdigit() else -1
    return scheme, host.strip("[]"), number if 0 <= number <= 65535 else default, slash + path


@lru_cache(1024)
def parse_address(name: str) -> IPv4Address | IPv6Address | None:
    """The IP address that `name` is, an IPv4 one also where it is written as IPv6; None for a host name."""
    try:
        address = ip_address(name)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_loopback(host: str) -> bool:
    """Whether `host`, an address or `localhost`, is reached from this machine only."""
    address = parse_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def near_host(host: str) -> str:
    """Where a client on this machine finds a server that listens on `host`: everywhere means loopback then."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def url_of(host: str, port: int, scheme: str = "http") -> str:
    """The URL, without a path, for a client on this machine."""
    host = near_host(host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
