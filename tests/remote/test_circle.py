"""A server whose upstream is itself."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from msgspec import structs

from remuda.config import UpstreamConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer


@pytest.fixture(scope="module")
def circle() -> Iterator[LiveServer]:
    with LiveServer(plugins=load_plugins()) as server:
        upstream = UpstreamConfig(url=server.url, models={"round": "round"})
        config = structs.replace(server.pipeline.config, upstreams={"self": upstream})

        async def reload() -> None:
            server.pipeline.reload(config)

        server.call(reload)
        yield server


def test_a_request_that_goes_in_circles_ends(circle: LiveServer) -> None:
    with httpx.Client(base_url=circle.url, timeout=10) as client:
        reply = client.post("/api/generate", json={"model": "round", "prompt": "a"})
        assert (reply.status_code, "lead back to it" in reply.json()["error"]) == (508, True)
        assert client.get("/api/tags").status_code == 200
        assert client.get("/api/ps").status_code == 200
        assert client.post("/api/chat", json={"model": "none", "messages": []}).status_code == 404
        [upstream] = client.get("/api/upstreams").json()["upstreams"]
        assert (upstream["running"], upstream["state"], upstream["failures"]) == (0, "up", 0)


@pytest.mark.parametrize(
    ("said", "status"), [("8", 404), ("9", 508), ("0", 404), ("-1", 404), ("x", 404), ("9" * 99, 404)]
)
def test_what_is_no_number_of_hops_is_none(circle: LiveServer, said: str, status: int) -> None:
    headers = {"X-Remuda-Hops": said}
    reply = httpx.post(f"{circle.url}/api/show", json={"model": "none"}, headers=headers, timeout=10)
    assert reply.status_code == status
