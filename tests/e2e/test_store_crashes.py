"""A server that dies while models change: what was there is there, or what was to be, and the next try succeeds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import random
from typing import Any

import httpx
import pytest
from company_reader import await_store, blobs_of, check_store, text_of
from company_serving import Serving
from registry import MODEL, Fault, Registry, digest_of
from tiny_models import write_tiny_llama

from remuda.config import Config, LimitsConfig, RegistryConfig, StoreConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer, ScriptedPlugin

IMAGE = "application/vnd.ollama.image."
FAILPOINTS = (
    "blob.write", "blob.fsync", "blob.rename", "blob.renamed", "manifest.write", "manifest.rename", "manifest.renamed",
)  # fmt: skip
LATE = {"manifest.renamed"}
"""Where the new model is there already."""
NOT_OF_PULLS = {"blob.write"}
"""Downloads are written by other means."""
DAY = 25 * 3600.0
SIZE = 12_000_000

Serve = Callable[[Path], LiveServer]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Servers in this process on a folder of models."""
    with ExitStack() as stack:

        def make(models: Path) -> LiveServer:
            config = Config(
                store=StoreConfig(path=str(models)),
                registry=RegistryConfig(key=str(tmp_path / "key"), retries=1),
                limits=LimitsConfig(context=256),
            )
            return stack.enter_context(LiveServer(config, load_plugins(extra=[("scripted", ScriptedPlugin())])))

        yield make


class Bystander:
    """What a client asks of one server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)

    def __enter__(self) -> Bystander:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """The last line, if there are lines."""
        reply = self._http.post(path, json=fields)
        return json.loads(reply.content.splitlines()[-1]) if reply.content else {}

    def system(self, name: str) -> str:
        return self.post("/api/show", model=name)["system"]

    def says(self, name: str) -> str:
        """The beginning of what the model says, which is up to its weights."""
        body = {"model": name, "prompt": "hi", "stream": False, "options": {"num_predict": 1}}
        return self.post("/api/generate", **body)["response"]

    def names(self) -> set[str]:
        return {model["name"] for model in self._http.get("/api/tags").json()["models"]}


def offer(registry: Registry, word: str, name: str = "library/m:latest") -> str:
    """Let the registry have a model that says this word."""
    script = json.dumps({"pieces": [word, " tick"]}).encode()
    config = json.dumps({"model_format": "scripted", "model_type": word}).encode()
    layers = {MODEL: script, f"{IMAGE}system": word.encode(), f"{IMAGE}license": b"Do what you like."}
    registry.add_model(name, layers, config)
    return registry.name(name)


@pytest.mark.parametrize("kind", ["pull", "create"])
def test_killed_at_each_failpoint(kind: str, serve: Serve, registry: Registry, tmp_path: Path) -> None:
    before = tmp_path / "before"
    name = offer(registry, "old")
    with Bystander(serve(before).url) as client:
        assert client.post("/api/pull", model=name, insecure=True) == {"status": "success"}
        assert client.post("/api/copy", source=name, destination="other") == {}
        assert client.post("/api/create", model="other", **{"from": "other", "system": "new"})["status"] == "success"
    offer(registry, "new")
    if kind == "pull":
        path, body = "/api/pull", {"model": name, "insecure": True}
    else:
        path, body = "/api/create", {"model": name, "from": "other", "template": "{{ .Prompt }}!"}

    def die(failpoint: str) -> Path:
        models = tmp_path / failpoint
        shutil.copytree(before, models)
        with Serving(models, tmp_path / f"home {failpoint}", REMUDA_FAILPOINTS=f"{failpoint}=kill") as server:
            with pytest.raises(httpx.TransportError):
                httpx.post(server.url + path, json=body, timeout=30)
            assert server.await_end() == -signal.SIGKILL
        return models

    points = [point for point in FAILPOINTS if kind != "pull" or point not in NOT_OF_PULLS]
    with ThreadPoolExecutor(2) as pool:
        for point, models in zip(points, pool.map(die, points), strict=True):
            word = "new" if point in LATE else "old"
            found = check_store(models, unfinished=True)
            assert set(found) == {name, "other:latest"}, point
            assert text_of(models, found[name], "system") == word, point
            make_older(models)
            with Bystander(serve(models).url) as client:
                assert await_store(models).keys() == found.keys(), point
                assert client.names() >= found.keys()
                if point in {points[0], points[-1]}:
                    assert client.says(name) == (word if kind == "pull" else "old"), point
                assert client.system(name) == word, point
                assert client.post(path, **body) == {"status": "success"}, point
                assert client.system(name) == "new", point
                assert text_of(models, await_store(models)[name], "system") == "new", point


def make_older(models: Path) -> None:
    """As if a day had gone by."""
    for path in models.rglob("*"):
        stat = path.stat()
        os.utime(path, (stat.st_atime - DAY, stat.st_mtime - DAY))


def test_killed_while_a_large_model_is_pulled(serve: Serve, registry: Registry, tmp_path: Path) -> None:
    """Of what has come nothing has to come again, but for what was not noted yet."""
    models = tmp_path / "models"
    data = os.urandom(SIZE // 2) + bytes(SIZE // 2)
    registry.add_model("library/large:latest", {MODEL: data}, b'{"model_format":"scripted"}')
    registry.fail("GET blob", Fault(trickle=0.0003), always=True)
    name = registry.name("library/large:latest")
    body = {"model": name, "insecure": True}
    note = models / "blobs" / f"{digest_of(data).replace(':', '-')}-partial-0"
    noted = 0
    for moment in (0.0, 0.3 * random(), 0.3 * random()):
        with Serving(models, tmp_path / "home") as server, ThreadPoolExecutor(1) as pool:
            pull = pool.submit(httpx.post, server.url + "/api/pull", json=body, timeout=30)
            while not note.exists() or json.loads(note.read_bytes())["Completed"] == noted:
                assert not pull.done(), pull.result().text
                time.sleep(0.005)
            time.sleep(moment)
            server.kill()
            with pytest.raises(httpx.TransportError):
                pull.result()
        noted = json.loads(note.read_bytes())["Completed"]
        assert check_store(models, unfinished=True) == {}
    registry.fail("GET blob")
    with Bystander(serve(models).url) as client:
        assert client.post("/api/pull", **body) == {"status": "success"}
        assert await_store(models).keys() == {name}
        assert name in client.names()
    assert registry.sent("GET blob") <= 1.3 * SIZE


def test_deleted_while_it_answers(serve: Serve, registry: Registry, tmp_path: Path) -> None:
    """The answer goes on to its end; the model is gone at once, and its blobs with it."""
    models = tmp_path / "models"
    script = json.dumps({"pieces": ["tick ", "tock "], "repeat": 20, "delay": 0.02}).encode()
    registry.add_model("library/slow:latest", {MODEL: script}, json.dumps({"model_format": "scripted"}).encode())
    name = registry.name("library/slow:latest")
    server = serve(models)
    with Bystander(server.url) as client, httpx.Client(base_url=server.url, timeout=30) as http:
        assert client.post("/api/pull", model=name, insecure=True) == {"status": "success"}
        body = {"model": name, "prompt": "hi", "options": {"num_predict": 40}}
        with http.stream("POST", "/api/generate", json=body) as reply:
            lines = reply.iter_lines()
            texts = [json.loads(next(lines))["response"]]
            assert httpx.request("DELETE", f"{server.url}/api/delete", json={"model": name}).status_code == 200
            assert name not in client.names()
            rest = [json.loads(line) for line in lines]
        assert rest[-1]["done"]
        assert "".join(texts + [line["response"] for line in rest]) == "tick tock " * 20
        assert await_store(models) == {}
        assert "not found" in client.post("/api/generate", model=name, prompt="hi")["error"]


def test_deleted_while_its_weights_are_in_use(serve: Serve, tmp_path: Path) -> None:
    """The same with a real engine, which reads the file for as long as it answers."""
    models = tmp_path / "models"
    server = serve(models)
    data = write_tiny_llama(tmp_path / "tiny.gguf").read_bytes()
    digest = digest_of(data)
    with Bystander(server.url) as client, httpx.Client(base_url=server.url, timeout=60) as http:
        assert http.post(f"/api/blobs/{digest}", content=data).status_code == 201
        assert client.post("/api/create", model="tiny", files={"tiny.gguf": digest}) == {"status": "success"}
        body = {"model": "tiny", "prompt": "hi", "options": {"num_predict": 200, "num_ctx": 256, "temperature": 0}}
        whole = http.post("/api/generate", json={**body, "stream": False}).json()["response"]
        with http.stream("POST", "/api/generate", json=body) as reply:
            lines = reply.iter_lines()
            first = json.loads(next(lines))["response"]
            assert httpx.request("DELETE", f"{server.url}/api/delete", json={"model": "tiny"}).status_code == 200
            rest = [json.loads(line) for line in lines]
        assert rest[-1]["done"]
        assert first + "".join(line["response"] for line in rest) == whole
        assert await_store(models) == {}


def test_two_pull_the_same_and_one_leaves(serve: Serve, registry: Registry, tmp_path: Path) -> None:
    """The registry is asked once for the bytes; the one who stays gets them all."""
    models = tmp_path / "models"
    go = threading.Event()
    registry.add_model("library/m:latest", {MODEL: os.urandom(300_000)}, b'{"model_format":"scripted"}')
    registry.fail("GET blob", Fault(stall=100_000, until=go))
    body = {"model": registry.name("library/m:latest"), "insecure": True}
    server = serve(models)
    with (
        httpx.Client(base_url=server.url, timeout=30) as leaver,
        httpx.Client(base_url=server.url, timeout=30) as stayer,
        stayer.stream("POST", "/api/pull", json=body) as staying,
    ):
        theirs = staying.iter_lines()
        with leaver.stream("POST", "/api/pull", json=body) as leaving:
            for lines in (theirs, leaving.iter_lines()):
                while "completed" not in json.loads(next(lines)):
                    """Until the client has seen that something came."""
            assert registry.count("GET manifest") == 2
        go.set()
        assert json.loads(list(theirs)[-1]) == {"status": "success"}
    [manifest] = await_store(models).values()
    assert registry.count("GET blob") == len(blobs_of(manifest))
    assert registry.sent("GET blob") == sum(layer["size"] for layer in (manifest["config"], *manifest["layers"]))
