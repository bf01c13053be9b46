"""Serves some clients before others, by the fingerprint of their key or by their address.

    [[plugins.settings.fast_lane.lanes]]
    key = "50ab5ab5b5ab0d91"
    priority = 10

    [[plugins.settings.fast_lane.lanes]]
    address = "192.0.2.0/24"
    priority = -10

The first lane that a client fits in decides. `printf %s "$KEY" | sha256sum | cut -c-16` tells a key's fingerprint.
Keys are not checked by the server: a client that guesses one has its priority. Behind a proxy all clients have its
address.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated

from msgspec import Meta, Struct

from remuda import Asking, hookimpl
from remuda.hookspecs import ReadSettings


class Lane(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For clients that have the key, if one is given, and an address in the network, if one is given."""

    priority: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]
    key: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$")] = ""
    address: str = ""

    def __post_init__(self) -> None:
        _network(self.address)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lanes: tuple[Lane, ...] = ()


_lanes: list[tuple[Lane, IPv4Network | IPv6Network | None]] = []


@hookimpl
def remuda_configure(settings: ReadSettings) -> None:
    _lanes[:] = [(lane, _network(lane.address)) for lane in settings(Settings).lanes]


@hookimpl
def remuda_priority(asking: Asking) -> int | None:
    for lane, network in _lanes:
        if lane.key in {"", asking.key} and (network is None or _within(asking.address, network)):
            return lane.priority
    return None


def _network(text: str) -> IPv4Network | IPv6Network | None:
    """Raises `ValueError` for a text that is none."""
    return ip_network(text, strict=False) if text else None


def _within(address: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:  # a client that has none: a socket in the file system
        return False
