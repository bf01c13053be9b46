"""Clients of the scripted upstream (`upstream`) for the tests of `remuda_remote.client`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from upstream import Upstream

from remuda.config import UpstreamConfig
from remuda_remote.client import UpstreamClient
from remuda_remote.member import Member

__all__ = ["ASK", "KEY", "client_of", "member_of", "read_lines"]

ASK = b'{"model":"tiny","prompt":"hello"}'
KEY = "k-5ecret-5ecret"


def member_of(url: str, **config: Any) -> Member:
    """An upstream called "one", with a key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    return Member(
        name="one", group="one", kind="ollama", url=url, config=UpstreamConfig(url=url, **config), headers=headers
    )


@asynccontextmanager
async def client_of(
    upstream: Upstream | str, *, max_line: int = 100_000, **config: Any
) -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(
        member_of(upstream if isinstance(upstream, str) else upstream.url, **config), max_line=max_line
    )
    try:
        yield client
    finally:
        await client.close()


async def read_lines(client: UpstreamClient, into: list[bytes], body: bytes = ASK, **how: Any) -> None:
    """All lines of one answer, each by itself; those that came before it broke off are in `into`, too."""
    reply = await client.send("POST", "/api/generate", body, **how)
    try:
        async with aclosing(reply.lines()) as blocks:
            async for block in blocks:
                assert block.endswith(b"\n")
                into += block.splitlines(keepends=True)
    finally:
        await reply.aclose()
