"""Clients of a server before others are answered as if they talked to those themselves: the whole table."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from faults import Raw
from fronting import Looking, asking, behind, fronted
from fronting_rows import Row, chat_rows, demo_rows, embed_rows, generate_rows
from tiny_embedders import write_tiny_bert

from remuda.config import Config, ModelConfig, RouteConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

from ..conftest import DEMO

LONG = bool(os.environ.get("REMUDA_LONG"))
"""The whole table is asked of a real model."""
MODEL = DEMO if LONG else "plain"
SETTLED: dict[str, Any] = {"temperature": 0, "num_predict": 3, "num_thread": 1}
"""What requests leave open. With more threads each of several servers would want all cores."""
TIMES = {"created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "cached_tokens"}


class Both:
    """The servers that have the models, asked directly, and the ones before them. Replies are asked for once."""

    def __init__(self, owners: dict[str, httpx.Client], fronts: dict[str, httpx.Client]) -> None:
        self.owners, self.fronts = owners, fronts
        self._direct: dict[tuple[str, bytes], Any] = {}

    def direct(self, path: str, body: bytes) -> Any:
        if (path, body) not in self._direct:
            barn = b'"bert"' in body or DEMO.encode() in body
            owner = self.owners["barn" if barn else "attic"]
            self._direct[path, body] = seen(owner.post(path, content=body))
        return self._direct[path, body]


@pytest.fixture(scope="module")
def both(shelved: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The shelf of models, and two servers that have the demo model, one of them an embedder, too."""
    bert = ModelConfig(path=str(write_tiny_bert(tmp_path_factory.mktemp("bert") / "bert.gguf")))
    plugins = load_plugins()
    [weights] = [entry.weights for entry in plugins.models.values() if str(entry.name) == DEMO]
    demo = {DEMO: ModelConfig(path=str(weights), options=SETTLED)}
    with ExitStack() as stack:
        cellar = stack.enter_context(LiveServer(Config(models=demo), plugins))
        barn = stack.enter_context(LiveServer(Config(models={**demo, "bert": bert}), load_plugins()))
        patient = {"first_byte_timeout": 60, "stall_timeout": 60}
        upstreams = {
            "attic": behind(shelved.url, **patient, deny=(DEMO,)),
            "cellar": behind(cellar.url, **patient),
            "barn": behind(barn.url, **patient),
        }
        config = fronted(upstreams, routes=(RouteConfig(model="*", backend="remote"),))
        fronts = {
            "unread": stack.enter_context(asking(config))[1],
            "as jobs": stack.enter_context(asking(config, ("looking", Looking())))[1],
        }
        owners = {
            name: stack.enter_context(httpx.Client(base_url=each.url, timeout=120))
            for name, each in (("attic", shelved), ("barn", barn))
        }
        yield Both(owners, fronts)


def seen(reply: httpx.Response) -> Any:
    """All that a client sees of it, but for the times; pairs instead of objects, for the order of keys."""
    lines = reply.content.split(b"\n")
    headers = sorted({*reply.headers} - {"date", "x-request-id", "x-remuda-upstream"})
    return (
        reply.status_code,
        reply.headers.get("content-type"),
        headers,
        [_read(line) if line else "" for line in lines],
    )


def _read(line: bytes) -> Any:
    return json.loads(line, object_pairs_hook=_settled)


def _settled(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(key, _rounded(key, value)) for key, value in pairs if key not in TIMES]


def _rounded(key: str, value: Any) -> Any:
    if key == "id" and isinstance(value, str):
        return value[:5]  # of a call: made up
    return round(value, 2) if isinstance(value, float) else value


def cases(path: str, *, stride: int = 1) -> Iterator[tuple[str, bytes]]:
    """Names and bodies. Without `REMUDA_LONG` a request asks either for a stream or for one object, in turn."""
    rows: list[Row] = {"/api/generate": generate_rows, "/api/chat": chat_rows}.get(path, lambda _: [])(MODEL)
    rows += [row for where, row in [*embed_rows("bert"), *demo_rows(DEMO)] if where == path]
    for number, (name, body) in enumerate(rows[:: 1 if LONG else stride]):
        if isinstance(body, bytes):
            yield name, body
        elif "stream" in body or path not in {"/api/generate", "/api/chat"}:
            yield name, json.dumps(body).encode()
        else:
            for stream in (True, False) if LONG else (number % 2 == 0,):
                yield f"{name}, stream={stream}", json.dumps({**body, "stream": stream}).encode()


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/api/show"])
@pytest.mark.parametrize("way", ["unread", "as jobs"])
def test_a_client_sees_the_same(both: Both, way: str, path: str) -> None:
    """Of what is handed on unread every third request: nothing that looks into them could tell them apart."""
    other: dict[str, Any] = {}
    for name, body in cases(path, stride=3 if way == "unread" else 1):
        direct, front = both.direct(path, body), seen(both.fronts[way].post(path, content=body))
        if front != direct:
            other[name] = direct, front
    assert not other


def test_requests_went_both_ways(both: Both) -> None:
    """Only a reply that is handed on unread says who gave it."""
    asked = {"model": "plain", "prompt": "hi", "stream": False}
    who = {
        way: http.post("/api/generate", json=asked).headers.get("x-remuda-upstream")
        for way, http in both.fronts.items()
    }
    assert who == {"unread": "attic", "as jobs": None}


@pytest.mark.parametrize("way", ["direct", "unread", "as jobs"])
def test_what_is_sent_at_a_time_are_whole_lines(both: Both, shelved: LiveServer, way: str) -> None:
    url = shelved.url if way == "direct" else str(both.fronts[way].base_url)
    with Raw(url) as raw:
        head, _, body = raw.post(model="plain").until(b"\r\n0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    chunks: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        chunks.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    assert chunks.pop() == b""
    assert all(chunk.endswith(b"\n") for chunk in chunks)
    lines = [json.loads(line) for chunk in chunks for line in chunk.splitlines()]
    assert [line["response"] for line in lines] == ["one", " two", " three", ""]


def test_a_conversation_goes_on_through_its_context(both: Both) -> None:
    asked = {"model": "plain", "stream": False}
    told = {
        way: [http.post("/api/generate", json={**asked, "prompt": "hi"}).json()["context"]]
        for way, http in {**both.fronts, "direct": both.owners["attic"]}.items()
    }
    for way, http in {**both.fronts, "direct": both.owners["attic"]}.items():
        again = http.post("/api/generate", json={**asked, "prompt": "go", "context": told[way][0]}).json()
        told[way].append(again["context"])
    assert told["unread"] == told["as jobs"] == told["direct"]
    assert len(told["direct"][1]) > len(told["direct"][0]) > 3


def test_lists_are_the_same_but_for_where_models_are(both: Both) -> None:
    there = {model["name"]: model for model in both.fronts["unread"].get("/api/tags").json()["models"]}
    for name, owner in both.owners.items():
        for model in owner.get("/api/tags").json()["models"]:
            told = {**there[model["name"]]}
            assert told.pop("upstreams") == (["cellar", "barn"] if model["name"] == DEMO else [name])
            assert told == model or model["name"] == DEMO
        loaded = {model["name"] for model in owner.get("/api/ps").json()["models"]}

        def seen(name: str = name) -> set[str]:
            front = both.fronts["unread"].get("/api/ps").json()["models"]
            return {model["name"] for model in front if model["upstream"] == name}

        deadline = time.monotonic() + 5
        while seen() != loaded and time.monotonic() < deadline:  # what the front says may be a second old
            time.sleep(0.1)
        assert seen() == loaded
    assert both.fronts["unread"].get("/api/version").json() == both.owners["attic"].get("/api/version").json()
