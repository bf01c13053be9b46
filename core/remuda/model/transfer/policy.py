"""Which registries may be reached, and at which addresses (`[registry]` of the configuration).

A name in a request makes this server connect to a host of the client's choice, and a registry's redirect to one of the
registry's. So what is judged is the address that is about to be connected to, whatever it was called: numbers in any
base, IPv4 inside IPv6 and DNS names that lead inwards are all the same by then.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Final

from msgspec import Struct

from ...errors import BadRequest, Forbidden
from ..name import ModelName
from .errors import RegistryError
from .url import Url

__all__ = ["Guard", "TransferPolicy", "is_loopback", "is_public"]

_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")


class TransferPolicy(Struct, frozen=True, kw_only=True):
    """How this server deals with registries. The globs are over hosts, or over hosts with their port."""

    allow: tuple[str, ...] = ("*",)
    """Registries, as a name gives them, that may be named at all."""
    private: tuple[str, ...] = ()
    """Hosts that may have an address that is not public."""
    redirects: tuple[str, ...] = ("*",)
    """Hosts that a registry may redirect to."""
    loopback: bool = False
    """This server listens on loopback only: whoever reaches it can reach a plain-text registry on loopback as well."""
    key: Path
    """The ed25519 key (OpenSSH) that signs requests for tokens; made when it is first needed."""
    stall_timeout: float = 30.0
    """Seconds without a byte after which a connection is given up."""
    retries: int = 6
    """How often one part of a transfer is tried again without getting anywhere."""
    version: str = "0"
    """Of Remuda, for the `User-Agent`."""


class Guard:
    """The policy, applied to one registry."""

    def __init__(self, policy: TransferPolicy, name: ModelName, *, insecure: bool) -> None:
        """Raises `BadRequest` for a host that is none and `Forbidden` for one that may not be named."""
        self._policy = policy
        self.registry = _registry_url(name, insecure=insecure)
        self.plain = insecure
        if not _match(policy.allow, name.host.lower()):
            raise Forbidden(f"the registry {name.host} is not among those that registry.allow lists")
        self._neighbour = policy.loopback and insecure and is_loopback(self.registry.host)

    @property
    def trusted(self) -> bool:
        """Whether passwords may go there without TLS: on this machine, or where the operator spoke for the registry."""
        return self._neighbour or _match(self._policy.private, self.registry.host, self.registry.netloc)

    def check_redirect(self, source: Url, target: Url) -> None:
        """Raises `RegistryError`, which names only what the registry said itself."""
        if source.scheme == "https" and target.scheme != "https":
            raise RegistryError(f"{source.netloc} redirects from https to {target.scheme}, which is not followed")
        if target.netloc != self.registry.netloc and not _match(self._policy.redirects, target.host, target.netloc):
            raise RegistryError(
                f"{source.netloc} redirects to {target.host}, which is not among those that registry.redirects lists"
            )

    def check_literal(self, url: Url) -> None:
        """Raises `Forbidden` for an address, in any notation, that may not be connected to; a name passes."""
        address = _literal(url.host)
        if address is not None:
            self.admit(url.host, url.port, [address])

    def admit(
        self, host: str, port: int, addresses: Iterable[IPv4Address | IPv6Address]
    ) -> list[IPv4Address | IPv6Address]:
        """Those of the host's addresses that may be connected to. Raises `Forbidden` if there is none."""
        netloc = f"{host}:{port}"
        if _match(self._policy.private, host, netloc):
            return list(addresses)
        neighbour = self._neighbour and (host, port) == (self.registry.host, self.registry.port)
        admitted = [each for each in addresses if is_public(each) or (neighbour and each.is_loopback)]
        if not admitted and self._policy.loopback and not self.plain and is_loopback(self.registry.host):
            raise Forbidden(
                f"{host} is this machine: pull and push there with insecure, or list it in registry.private"
            )
        if not admitted:
            raise Forbidden(
                f"{host} has no public address; a registry in a private network must be listed in registry.private"
            )
        return admitted


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it leads to the internet, and nowhere else however it is wrapped."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            # The network's own gateway translates these: the only wrapping that hosts with IPv6 alone depend on.
            return is_public(IPv4Address(address.packed[-4:]))
        wrapped = address.ipv4_mapped or address.sixtofour or address.teredo or address in _COMPATIBLE
        if wrapped or address.is_site_local or address.is_reserved:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _registry_url(name: ModelName, *, insecure: bool) -> Url:
    host, colon, port = name.host.lower().partition(":")
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if colon and not 0 < number < 65536:
        raise BadRequest("invalid model name")
    scheme = "http" if insecure else "https"
    path = f"/v2/{name.namespace}/{name.model}"
    return Url(scheme=scheme, host=host, port=number or Url.default_port(scheme), target=path)


def _match(globs: Iterable[str], *texts: str) -> bool:
    return any(fnmatchcase(text, glob.lower()) for glob in globs for text in texts)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        # As every resolver does: `127.1`, `0x7f000001`, `2130706433`.
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def is_loopback(host: str) -> bool:
    """Whether a host says of itself, in so many words, that it is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
