"""Scripted upstreams as those see them who manage their models."""

from __future__ import annotations

from typing import Any

from upstream import Upstream

from remuda.config import UpstreamConfig
from remuda_remote.client import UpstreamClient
from remuda_remote.member import Member

__all__ = ["Server", "cleared"]


class Server:
    """A scripted upstream, and what this server knows of it. Its client must be closed."""

    def __init__(self, name: str, scripted: Upstream, **settings: Any) -> None:
        self.scripted = scripted
        quick: dict[str, Any] = {"stall_timeout": 5.0, "first_byte_timeout": 5.0, **settings}
        config = UpstreamConfig(url=scripted.url, **quick)
        self.member = Member(name=name, group=name, kind="ollama", url=scripted.url, config=config, headers={})
        self.client = UpstreamClient(self.member, max_line=65536)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [seen.json() for seen in self.scripted.requests]


def cleared(scripted: Upstream) -> None:
    """As if it were new, for the next test."""
    scripted.start()
    scripted.heal()
    scripted.requests.clear()
    scripted.blobs.clear()
    scripted.extra.clear()
    scripted.models, scripted.delay, scripted.gone_away = ["tiny:latest"], 0.0, 0
