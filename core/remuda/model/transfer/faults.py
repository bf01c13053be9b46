"""Failures of connections, and replies that refuse, as errors of Remuda's tree: the one place that knows both sides."""

from __future__ import annotations

import email.utils
import errno
import os
import ssl
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpcore

from .errors import NotInRegistry, RegistryError, Unauthorized, Unreachable
from .url import Url

if TYPE_CHECKING:
    from .http import Streamed

__all__ = ["FAULTS", "refusal", "translated"]

FAULTS: Final = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    ssl.SSLError,
    ConnectionError,
)
"""Whatever a connection may raise."""

_TRANSIENT: Final = (408, 425, 429, 500, 502, 503, 504)
_LONGEST: Final = 400


def translated(error: BaseException, url: Url, silence: float) -> RegistryError:
    """`silence`: the seconds after which it was given up."""
    host = url.authority
    match error:
        case httpcore.ConnectTimeout():
            return Unreachable(f"{host} did not answer in time", transient=True)
        case httpcore.TimeoutException():
            return RegistryError(f"{host} was silent for {silence:g} seconds", transient=True)
        case httpcore.ProxyError():
            return Unreachable(f"the proxy did not connect to {host}: {_printable(str(error))}")
        case httpcore.ConnectError() | ssl.SSLError():
            return _unreachable(error, url)
        case httpcore.ProtocolError() if not _is_cut(error):
            return RegistryError(f"{host} does not speak HTTP as it should", transient=True)
        case _:
            return RegistryError(f"the connection to {host} was cut", transient=True)


async def refusal(reply: Streamed, limit: int) -> RegistryError:
    """Why a reply is not what was asked for. At most `limit` bytes of it are read."""
    if reply.status == 401:
        return Unauthorized()
    if reply.status == 404:
        return NotInRegistry()
    if reply.status < 400:
        return RegistryError(f"{reply.url.authority} answers with the unexpected status {reply.status}")
    try:
        said = _printable((await reply.read(limit, cut=True)).decode(errors="replace"))
    except RegistryError:
        said = ""
    return RegistryError(
        f"{reply.status}: {said or _phrase(reply.status)}",
        reply=reply.status,
        transient=reply.status in _TRANSIENT,
        retry_after=_seconds(reply.headers.get("retry-after", "")),
    )


def _unreachable(error: BaseException, url: Url) -> RegistryError:
    host = url.authority
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unreachable(f"the certificate of {host} was refused: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return Unreachable(f"{host} does not speak TLS as it should; a registry without TLS needs insecure")
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
            said = os.strerror(cause.errno).lower()
            return Unreachable(f"{host} cannot be reached: {said}", transient=True)
    return Unreachable(f"{host} cannot be reached", transient=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    # The pool raises "from None", so that only the context still tells.
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_cut(error: BaseException) -> bool:
    text = str(error)
    return "disconnected" in text or "closed connection" in text


def _seconds(text: str) -> float | None:
    """Of a `Retry-After`: a number or a date."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _printable(text: str) -> str:
    """On one line, and not endless."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return f"{line[:_LONGEST]}..." if len(line) > _LONGEST else line


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower()
    except ValueError:
        return "no reason was given"
