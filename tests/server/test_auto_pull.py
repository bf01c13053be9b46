"""`auto_pull`: a model that is asked for and is not there comes from its registry first."""

from __future__ import annotations

from typing import Any

import pytest
from registry import Fault, Registry

from remuda.testing import Script

from .library_rig import served


@pytest.fixture
def pulling(make_library: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that pulls what it is asked for, from a registry without TLS."""
    rig = make_library(auto_pull=True)
    transfers = rig.server.pipeline.transfers
    pull = transfers.pull
    monkeypatch.setattr(transfers, "pull", lambda name, **_: pull(name, insecure=True))
    return rig


@pytest.mark.parametrize("endpoint", ["generate", "chat"])
def test_a_model_that_is_missing_is_pulled_first(pulling: Any, registry: Registry, endpoint: str) -> None:
    said = {"prompt": "hi"} if endpoint == "generate" else {"messages": [{"role": "user", "content": "hi"}]}
    name = served(registry)
    lines = pulling.lines(f"/api/{endpoint}", {"model": name, **said})
    at = lines.index({"status": "success"})
    assert lines[0] == {"status": "pulling manifest"}
    assert all("status" in line for line in lines[:at])
    assert [line["done"] for line in lines[at + 1 :]] == [False, False, True]
    second = served(registry, "library/second:latest")
    whole = pulling.post(f"/api/{endpoint}", {"model": second, **said, "stream": False})
    assert whole.status_code == 200
    assert (whole.json().get("response") or whole.json()["message"]["content"]) == "ab"
    count = registry.count()
    assert "status" not in pulling.lines(f"/api/{endpoint}", {"model": name, **said})[0]
    assert registry.count() == count


def test_a_model_that_is_nowhere_is_missing(pulling: Any, registry: Registry) -> None:
    name = registry.name("library/nothing:latest")
    whole = pulling.post("/api/generate", {"model": name, "prompt": "hi", "stream": False})
    assert (whole.status_code, whole.json()) == (404, {"error": f"model '{name}' not found"})
    lines = pulling.lines("/api/generate", {"model": name, "prompt": "hi"})
    assert lines == [{"status": "pulling manifest"}, {"error": f"model '{name}' not found"}]


def test_to_unload_a_model_that_is_missing_pulls_nothing(pulling: Any, registry: Registry) -> None:
    for endpoint in ("generate", "chat"):
        assert pulling.post(f"/api/{endpoint}", {"model": served(registry), "keep_alive": 0}).status_code == 404
    assert not registry.requests


def test_who_leaves_stops_the_pull_before_the_answer(pulling: Any, registry: Registry) -> None:
    name = served(registry, script=Script(pieces=["x" * 100_000]))
    registry.fail("GET blob", Fault(stall=1000), always=True)
    with pulling.http.stream("POST", "/api/generate", json={"model": name, "prompt": "hi"}) as reply:
        lines = reply.iter_lines()
        assert next(lines) == '{"status":"pulling manifest"}'
        registry.await_request("GET blob")
    registry.await_left("GET blob")


def test_nothing_is_pulled_unless_the_configuration_says_so(library: Any, registry: Registry) -> None:
    reply = library.post("/api/generate", {"model": served(registry), "prompt": "hi"})
    assert reply.status_code == 404
    assert not registry.requests


def test_texts_for_a_model_that_is_missing_wait_for_it(pulling: Any, registry: Registry) -> None:
    name = served(registry)
    for path, body in (("/api/embed", {"input": "hi"}), ("/api/embeddings", {"prompt": "hi"})):
        reply = pulling.post(path, {"model": name, **body})
        assert (reply.status_code, reply.json()) == (400, {"error": f'"{name}" does not support embeddings'})
        assert pulling.post(path, {"model": registry.name("library/nothing"), **body}).status_code == 404
    assert name in pulling.names()
