"""What a request must look like before anything reads it: HTTP versions, targets, lengths.

h11 already refuses what is no HTTP at all (RFC 9112). The cases here are valid to it, yet two readers of one connection
could understand them differently (request smuggling), or they speak of something that this server does not do.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ..errors import BadRequest
from .guard import split_host
from .replies import Refused

__all__ = ["MAX_HEADERS", "check_framing", "content_length", "headers_of"]

MAX_HEADERS: Final = 16 * 1024
"""Bytes. h11 has the same bound only for headers that come in pieces."""
_KNOWN: Final = "remuda.headers"
"""Key of a scope under which its headers are found by name."""
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def headers_of(scope: dict[str, Any], name: bytes) -> list[str]:
    """All values of one header, whose name in a scope is in small letters. Not to be changed."""
    known: dict[bytes, list[str]] | None = scope.get(_KNOWN)
    if known is None:
        known = scope[_KNOWN] = {}
        for key, value in scope["headers"]:
            known.setdefault(key, []).append(value.decode("latin-1").strip())
    return known.get(name) or []


def content_length(scope: dict[str, Any]) -> int | None:
    """The declared size of the body in bytes. Raises `BadRequest` when it is no number, or several."""
    values = {value for text in headers_of(scope, b"content-length") for value in text.split(",")}
    if not values:
        return None
    text = values.pop().strip()
    if values or not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadRequest("Content-Length must be one whole number")
    return int(text)


def check_framing(scope: dict[str, Any]) -> dict[str, Any]:
    """The scope to go on with, its path in origin form. Raises `RemudaError` for what must not go on."""
    if scope["http_version"] not in {"1.0", "1.1"}:
        raise Refused(505, "this server speaks HTTP/1.1 only")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
        raise Refused(431, f"the request's headers are larger than {MAX_HEADERS} bytes")
    if scope["method"] == "CONNECT":
        raise Refused(405, "method not allowed", {"Allow": "GET, HEAD, POST, DELETE"})
    if headers_of(scope, b"transfer-encoding"):
        if headers_of(scope, b"content-length"):
            raise BadRequest("a request has either Content-Length or Transfer-Encoding, never both")
        if scope["http_version"] == "1.0":
            raise BadRequest("Transfer-Encoding needs HTTP/1.1")
    content_length(scope)
    hosts = headers_of(scope, b"host")
    if len(hosts) > 1:
        raise BadRequest("a request has one Host header")
    path = str(scope["path"])
    if path.startswith("/") or (path == "*" and scope["method"] == "OPTIONS"):
        return scope
    return _origin_form(scope, hosts[0] if hosts else "")


def _origin_form(scope: dict[str, Any], host: str) -> dict[str, Any]:
    """`http://authority/path` is legal (RFC 9112, 3.2.2), but its authority overrides a `Host` that was checked."""
    raw = bytes(scope.get("raw_path") or b"").decode("latin-1")
    try:
        target = urlsplit(raw)
    except ValueError:
        raise BadRequest("the request target is not a valid URL") from None
    scheme = target.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not target.netloc:
        raise BadRequest("the request target must be a path")
    if _authority(target.netloc, scheme) != _authority(host, scheme):
        raise BadRequest("the request target and the Host header name different servers")
    return {**scope, "path": unquote(target.path) or "/", "raw_path": (target.path or "/").encode("latin-1")}


def _authority(text: str, scheme: str) -> tuple[str, str]:
    name, port = split_host(text.lower())
    return name, port or _DEFAULT_PORTS[scheme]
