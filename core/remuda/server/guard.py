"""Who may talk to this server: the rules for `Host` and `Origin` (Ollama API, "Environment, host binding, CORS").

A web page may send requests to addresses of this machine. Two gates stand against it. The `Origin` that browsers send
must be this machine's own or one that the settings allow. And where the server listens on loopback only, `Host` must
be a name that no stranger's DNS can give out, or a page could reach the API under its own name (DNS rebinding). A
listener on other addresses is open to the network anyway and checks no `Host`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from ..config import parse_address
from ..errors import ConfigError

__all__ = ["Guard", "Verdict", "split_host"]

_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "0.0.0.0")
_APP_ORIGINS: Final = ("app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*")
_SCHEMES: Final = ("http://", "https://", "app://", "file://", "tauri://", "vscode-webview://", "vscode-file://")
_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal")
_STAINLESS: Final = ("arch", "async", "custom-poll-interval", "helper-method", "lang", "os", "package-version")
_STAINLESS_MORE: Final = ("poll-helper", "retry-count", "runtime", "runtime-version", "timeout")
_ALLOWED_HEADERS: Final = (
    *("Authorization", "Content-Type", "User-Agent", "Accept", "X-Requested-With", "OpenAI-Beta"),
    *(f"x-stainless-{name}" for name in (*_STAINLESS, *_STAINLESS_MORE)),
)
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
    "Access-Control-Allow-Headers": ",".join(_ALLOWED_HEADERS),
    "Access-Control-Max-Age": "43200",
}


class Verdict(Struct, frozen=True):
    """`status` 0 lets the request in; 204 and 403 end it here. `headers` go with whatever reply it gets."""

    status: int = 0
    reason: str = ""
    headers: dict[str, str] = {}


class Guard:
    def __init__(self, origins: Sequence[str], *, loopback: bool) -> None:
        """`origins` are the allowed ones beside this machine's own. Raises `ConfigError` that names a bad entry."""
        own = [
            f"{scheme}://{host}{port}" for host in _LOCAL_HOSTS for scheme in ("http", "https") for port in ("", ":*")
        ]
        for entry in origins:
            if entry.count("*") > 1 or ("*" not in entry and not entry.startswith(_SCHEMES)):
                raise ConfigError(
                    f"server.origins (OLLAMA_ORIGINS) holds {entry!r}: write a whole origin such as "
                    "http://example.com, with at most one *, or * alone"
                )
        self.loopback = loopback
        self._anyone = "*" in origins
        patterns = [tuple(entry.lower().split("*")) for entry in (*origins, *own, *_APP_ORIGINS)]
        self._exact = {pattern[0] for pattern in patterns if len(pattern) == 1}
        self._globs = [pattern for pattern in patterns if len(pattern) == 2]
        self._hostname = socket.gethostname().lower()

    def judge(self, method: str, host: str, origin: str | None) -> Verdict:
        headers: dict[str, str] = {}
        if origin is not None and origin not in {f"http://{host}", f"https://{host}"}:
            if not self._origin_allowed(origin):
                return Verdict(403, "this web origin may not use the server; allow it with OLLAMA_ORIGINS")
            headers = {"Access-Control-Allow-Origin": "*"}
            if not self._anyone:
                headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
            if method == "OPTIONS":
                return Verdict(204, headers=headers | _PREFLIGHT)
        if not self.loopback:
            return Verdict(headers=headers)
        name = split_host(host)[0].lower()
        address = parse_address(name)
        if address is not None and (_is_near(address) or _is_own(address)):
            return Verdict(headers=headers)
        if address is None and (name in {"", "localhost", self._hostname} or name.endswith(_LOCAL_SUFFIXES)):
            return Verdict(204 if method == "OPTIONS" else 0, headers=headers)
        reason = "this host name may not be used for a server on localhost; call it localhost or 127.0.0.1"
        return Verdict(403, reason, headers)

    def _origin_allowed(self, origin: str) -> bool:
        origin = origin.lower()
        return (
            self._anyone
            or origin in self._exact
            or any(
                len(origin) >= len(head) + len(tail) and origin.startswith(head) and origin.endswith(tail)
                for head, tail in self._globs
            )
        )


def split_host(host: str) -> tuple[str, str]:
    """`Host` as name and port, without the brackets of an IPv6 address; either may be empty."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


@lru_cache(1024)
def _is_near(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_private or address.is_unspecified


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """An address can be bound only where it is configured: the standard library has no list of interfaces."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
