"""A server whose models are on other servers, and a client that looks closely at what comes through it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from faults import await_true

from remuda.config import Config, RemoteConfig, ServerConfig, UpstreamConfig
from remuda.hookspecs import RegisterFactory, hookimpl
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

__all__ = ["JSON", "NDJSON", "QUICK", "TALK", "Looking", "asking", "behind", "ended", "fronted", "refused", "states"]

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
QUICK = RemoteConfig(cooldown=0.2, probe_interval=60)
"""Nothing but requests decides about health, and what is left alone is soon tried again."""
TALK: dict[str, Any] = {"messages": [{"role": "user", "content": "Tell me a story"}]}


class _Open:
    """Lets everything through, after a look."""

    def wrap(self, job: Any, proceed: Any) -> Any:
        return proceed(job)


class Looking:
    """A plugin with a filter, because of which nothing is handed on unread."""

    @hookimpl
    def remuda_register_filters(self, register: RegisterFactory) -> None:
        register("looking", _Open)


def behind(url: str, **fields: Any) -> UpstreamConfig:
    """An upstream for which nobody waits long."""
    return UpstreamConfig(**{"url": url, "connect_timeout": 2, "first_byte_timeout": 2, "stall_timeout": 2, **fields})


def fronted(upstreams: Mapping[str, str | UpstreamConfig], *, remote: RemoteConfig = QUICK, **settings: Any) -> Config:
    """The configuration of a server before these, which go by address or as they are."""
    made = {name: behind(each) if isinstance(each, str) else each for name, each in upstreams.items()}
    return Config(**{"upstreams": made, "remote": remote, "server": ServerConfig(drain_timeout=0.2), **settings})


@contextmanager
def asking(config: Config, *plugins: tuple[str, object]) -> Iterator[tuple[LiveServer, httpx.Client]]:
    """Such a server, once it has asked each upstream what it has, and a client of it."""
    with (
        LiveServer(config, load_plugins(extra=list(plugins))) as server,
        httpx.Client(base_url=server.url, timeout=30) as http,
    ):
        await_true(lambda: all(each["state"] != "unknown" or each["error"] for each in states(http).values()))
        yield server, http


def states(http: httpx.Client) -> dict[str, dict[str, Any]]:
    """What the front says of its upstreams, by name."""
    return {each["name"]: each for each in http.get("/api/upstreams").json()["upstreams"]}


def ended(reply: httpx.Response) -> list[dict[str, Any]]:
    """The lines of a stream that began: whole, and the last one, only that, says that it is done or what went wrong."""
    assert (reply.status_code, reply.headers["content-type"]) == (200, NDJSON), reply.text
    assert reply.content.endswith(b"\n")
    lines = [json.loads(line) for line in reply.content.split(b"\n")[:-1]]
    assert [bool(line.get("done")) or "error" in line for line in lines] == [False] * (len(lines) - 1) + [True]
    return lines


def refused(reply: httpx.Response, status: int) -> str:
    """The sentence of an error."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"].startswith("application/json")
    body = json.loads(reply.content)
    assert list(body) == ["error"]
    return body["error"]
