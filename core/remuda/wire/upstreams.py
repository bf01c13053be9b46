"""The servers behind this one: how a request names them, and `/api/upstreams` on the wire. All of it Remuda's own."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

__all__ = ["ALL", "HERE", "UPSTREAM_HEADER", "UpstreamState", "UpstreamsResponse"]

UPSTREAM_HEADER: Final = "X-Remuda-Upstream"
"""The header that names upstreams, separated by commas."""

ALL: Final = "*"
"""All upstreams that may, among those names."""

HERE: Final = "here"
"""The server itself, among those names: no upstream may be called so."""


class UpstreamState(Struct, frozen=True, kw_only=True):
    """One upstream at this moment."""

    name: str
    kind: str
    state: str
    """`up`, `down` (left alone after failures), `trying` (the next request decides) or `unknown` (not yet asked)."""
    running: int = 0
    """Requests that it works on for us."""
    waiting: int = 0
    """Requests that wait here until it, or another one, has a place."""
    models: list[str] = field(default_factory=list[str])
    """Public names of what it offers."""
    loaded: list[str] = field(default_factory=list[str])
    """Of these, what it has in memory, as far as it says."""
    requests: int = 0
    failures: int = 0
    """Since the start, of each."""
    error: str = ""
    """Its last failure; empty once it is well."""


class UpstreamsResponse(Struct, frozen=True):
    """In the order of the configuration."""

    upstreams: list[UpstreamState]
