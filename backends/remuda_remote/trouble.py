"""What aiohttp, TLS and the system raise, told as the faults of `faults`: the only place where they are translated.

No sentence here holds a host, an address, a header or a path. The errors themselves do: nothing of their text is used.
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Final

import aiohttp
import msgspec

from .faults import Broke, Fault, TooSlow, Unreachable

__all__ = ["broken", "said_in", "unanswered"]

_LONGEST: Final = 2000
_OTHER_NAME: Final = frozenset({62, 64})
"""OpenSSL's codes for a certificate of another host name or address."""
_EXPIRED: Final = 10


class _Said(msgspec.Struct):
    message: str = ""


class _Error(msgspec.Struct):
    error: str | _Said = ""


_ERRORS: Final = msgspec.json.Decoder(_Error)


def said_in(body: bytes) -> str:
    """The sentence in an error's body, `{"error": "..."}` or `{"error": {"message": "..."}}`, cut to 2000 characters;
    empty if it holds none."""
    try:
        error = _ERRORS.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return (error if isinstance(error, str) else error.message)[:_LONGEST]


def broken(upstream: str) -> Fault:
    """Whatever ends a reply whose head is here."""
    return Broke(upstream, "broke off in the middle of its answer")


def unanswered(upstream: str, error: BaseException, *, connecting: float, answering: float) -> Fault:
    """What ended a request before the head of its reply; the seconds are the bounds that were set for each."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(upstream, f"took no connection within {connecting:g} s (its connect_timeout)")
        case TimeoutError():
            return TooSlow(upstream, f"did not answer within {answering:g} s")
        case aiohttp.InvalidURL():
            return Unreachable(upstream, "has an address that nothing can be sent to; correct its url")
        case aiohttp.ClientHttpProxyError():
            return Unreachable(upstream, f"cannot be reached: the proxy on the way to it answered {error.status}")
        case aiohttp.ClientResponseError():
            return Broke(upstream, "sent what is no HTTP, or a head that is too long; see its url")
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(upstream, "cannot be reached: its name could not be resolved")
        case aiohttp.ClientConnectorCertificateError():
            return Unreachable(upstream, _certificate(error.certificate_error))
        case aiohttp.ClientConnectorSSLError():
            return Unreachable(upstream, _handshake(str(error)))
        case aiohttp.ClientProxyConnectionError():
            return Unreachable(upstream, f"cannot be reached: the proxy on the way to it {_system(error.os_error)}")
        case aiohttp.ClientConnectorError():
            return Unreachable(upstream, _system(error.os_error))
        case _:
            return Broke(upstream, "closed the connection before it answered")


def _certificate(error: Exception) -> str:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
    if code in _OTHER_NAME:
        return "showed a certificate of another server; correct its url"
    if code == _EXPIRED:
        return "showed a certificate that has expired"
    return "showed a certificate that is not trusted; see its ca_file"


def _handshake(text: str) -> str:
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return "does not speak TLS; if its url should begin with http:, correct it"
    return "broke off the TLS handshake; it may want a certificate, see its client_cert"


def _system(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "refused the connection"
    if isinstance(error, ConnectionError):
        return "closed the connection while it was being made; if that is TLS, it may want a certificate (client_cert)"
    known = error.errno is not None and error.errno > 0
    return f"cannot be reached{f': {os.strerror(error.errno)}' if known and error.errno is not None else ''}"
