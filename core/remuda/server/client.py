"""Who a client is, as far as a queue needs to know to be fair: its address, and a fingerprint of the key it sends. And
which upstreams it wants to be served by.

Nobody checks the key, and a client may send another one each time: within an address keys tell users apart, no more.
Headers such as `X-Forwarded-For` are not looked at, for anybody can write them.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final

from ..config import parse_address
from ..errors import BadRequest
from ..job import Client
from ..wire import UPSTREAM_HEADER
from .framing import headers_of

__all__ = ["client_of", "upstreams_of"]

_DIGITS: Final = 16
"""Hex digits of a fingerprint."""
_MOST_UPSTREAMS: Final = 64
_UPSTREAM: Final = re.compile(r"[A-Za-z0-9_.-]{1,80}|\*")
_NET: Final = 64
"""Bits of an IPv6 address that say which net it is in. One host may use all the addresses of a net."""


def client_of(scope: dict[str, Any]) -> Client:
    """The client of an ASGI scope. Nothing is known of one that comes through a Unix socket without a key."""
    host = (scope.get("client") or ("",))[0] or ""
    return Client(address=_address(host), key=_fingerprint(scope))


def upstreams_of(scope: dict[str, Any]) -> tuple[str, ...]:
    """The upstreams named in `X-Remuda-Upstream`, commas between them; none is any. Raises `BadRequest`."""
    lines = headers_of(scope, UPSTREAM_HEADER.lower().encode())
    if not lines:
        return ()
    names = tuple(dict.fromkeys(name.strip() for line in lines for name in line.split(",") if name.strip()))
    if not names or len(names) > _MOST_UPSTREAMS or not all(_UPSTREAM.fullmatch(name) for name in names):
        raise BadRequest(
            f"{UPSTREAM_HEADER} must name upstreams as `remuda upstreams` lists them, with commas between them, or be *"
        )
    return names


@lru_cache(1024)
def _address(host: str) -> str:
    """`host`, or the net that an IPv6 host owns. On a link all hosts share one net: there each counts for itself."""
    address = parse_address(host)
    if not isinstance(address, IPv6Address) or address.is_link_local or address.is_loopback:
        return host if address is None else str(address)
    return str(IPv6Network((int(address), _NET), strict=False))


def _fingerprint(scope: dict[str, Any]) -> str:
    parts = (text.partition(" ") for text in headers_of(scope, b"authorization"))
    bearers = [token.strip() for scheme, _, token in parts if scheme.lower() == "bearer"]
    key = next(filter(None, [*bearers, *headers_of(scope, b"x-api-key")]), "")
    return hashlib.sha256(key.encode("latin-1")).hexdigest()[:_DIGITS] if key else ""
