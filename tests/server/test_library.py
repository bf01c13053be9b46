"""The routes about having models, over real sockets, with a real store and a registry that fails on command."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from registry import CONFIG, Fault, Registry
from stored import manifest_path, tree
from tiny_models import write_tiny_llama

from remuda.model import Digest
from remuda.testing import Script

from .library_rig import served

JSON = "application/json; charset=utf-8"


def test_a_model_from_a_file_to_its_end(library: Any, tmp_path: Path) -> None:
    data = write_tiny_llama(tmp_path / "tiny.gguf").read_bytes()
    digest = str(Digest.of(data))
    assert library.http.post(f"/api/blobs/{digest}", content=data).status_code == 201
    body = {"model": "tiny", "files": {"tiny.gguf": digest}, "system": "be tiny", "parameters": {"num_ctx": 64}}
    lines = library.lines("/api/create", body)
    assert lines[0] == {"status": "parsing GGUF"}
    assert lines[-1] == {"status": "success"}
    [model] = [each for each in library.http.get("/api/tags").json()["models"] if each["name"] == "tiny:latest"]
    assert model["details"]["family"] == "llama"
    assert model["size"] >= len(data)
    shown = library.post("/api/show", {"model": "Tiny"})
    assert (shown.status_code, shown.headers["content-type"]) == (200, JSON)
    assert shown.json()["system"] == "be tiny"
    assert shown.json()["capabilities"] == ["completion"]
    assert shown.json()["model_info"]["general.architecture"] == "llama"
    assert str(tmp_path) not in shown.text
    copied = library.post("/api/copy", {"source": "tiny", "destination": "other:v1"})
    assert (copied.status_code, copied.content) == (200, b"")
    assert "content-type" not in copied.headers
    assert copied.headers["content-length"] == "0"
    gone = library.http.request("DELETE", "/api/delete", json={"model": "tiny"})
    assert (gone.status_code, gone.content) == (200, b"")
    assert "content-type" not in gone.headers
    assert library.names() >= {"other:v1"}
    assert "tiny:latest" not in library.names()
    assert library.http.request("DELETE", "/api/delete", json={"name": "other:v1"}).status_code == 200
    assert not [name for name in tree(library.store.root) if "sha256" in name]


def test_create_as_one_object(library: Any) -> None:
    reply = library.post("/api/create", {"model": "x", "from": "mine", "system": "new", "stream": False})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json() == {"status": "success"}
    assert library.post("/api/generate", {"model": "x", "prompt": "hi", "stream": False}).json()["response"] == "a"


@pytest.mark.parametrize(
    ("path", "method"),
    [
        *((f"/api/{word}", "POST") for word in ("show", "copy", "pull", "push", "create", "embed", "embeddings")),
        ("/api/delete", "DELETE"),
    ],
)
def test_methods_and_bodies(library: Any, path: str, method: str) -> None:
    other = "DELETE" if method == "POST" else "POST"
    for wrong in (other, "GET"):
        reply = library.http.request(wrong, path)
        assert (reply.status_code, reply.json(), reply.headers["allow"]) == (
            405,
            {"error": "method not allowed"},
            method,
        )
    empty = library.http.request(method, path)
    assert (empty.status_code, empty.json()) == (400, {"error": "missing request body"})
    for body in (b"[]", b"{", b'{"model":1}' if "copy" not in path else b'{"source":1}'):
        reply = library.http.request(method, path, content=body)
        assert reply.status_code == 400
        assert reply.json()["error"].startswith("invalid")
    assert not library.store.root.exists()


EVIL = ["../../etc/passwd", "a/../../b", "/etc/passwd", "/nope/nothing", "..\\..\\x", "a\0b", "x" * 5_000_000]


@pytest.mark.parametrize("name", EVIL, ids=lambda name: name[:20])
def test_names_that_would_be_paths(library: Any, name: str) -> None:
    """The same refusal whether or not there is such a file, and nothing read or written."""
    library.typed = name[:200]
    for path, body in (
        ("/api/show", {"model": name}),
        ("/api/copy", {"source": name, "destination": "y"}),
        ("/api/copy", {"source": "mine", "destination": name}),
        ("/api/create", {"model": name, "from": "mine"}),
        ("/api/pull", {"model": name}),
        ("/api/push", {"model": name}),
        ("/api/embed", {"model": name, "input": "x"}),
        ("/api/generate", {"model": name, "prompt": "x"}),
    ):
        reply = library.post(path, body)
        assert reply.status_code == 400, path
        assert "invalid" in reply.json()["error"]
    assert library.http.request("DELETE", "/api/delete", json={"model": name}).status_code == 400
    assert not library.store.root.exists()


def test_a_base_is_a_name_and_never_a_file(library: Any, tmp_path: Path) -> None:
    """Byte for byte the same answers for files that are there and files that are not."""
    there = tmp_path / "there.gguf"
    write_tiny_llama(there)
    for field in ("from", "files"):
        replies: set[tuple[int, bytes]] = set()
        for path in ("/etc/passwd", "/nope", str(there), str(there) + "x"):
            value: Any = path if field == "from" else {"x.gguf": path}
            library.typed = path
            reply = library.post("/api/create", {"model": "x", field: value})
            replies.add((reply.status_code, reply.content))
        [(status, _)] = replies
        assert status == 400
    assert not library.store.root.exists()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("DELETE", "/api/delete", {"model": "x"}, 404, "model 'x' not found"),
        ("DELETE", "/api/delete", {"model": ""}, 400, "model is required"),
        ("DELETE", "/api/delete", {"model": "a b"}, 400, 'name "a b" is invalid'),
        ("POST", "/api/copy", {"source": "x", "destination": "y"}, 404, 'model "x" not found'),
        ("POST", "/api/copy", {"source": "", "destination": "y"}, 400, 'source "" is invalid'),
        ("POST", "/api/copy", {"source": "mine", "destination": ":"}, 400, 'destination ":" is invalid'),
        ("POST", "/api/show", {"model": "x"}, 404, "model 'x:latest' not found"),
        ("POST", "/api/show", {}, 400, "model is required"),
        ("POST", "/api/pull", {}, 400, "model is required"),
        ("POST", "/api/pull", {"model": "a b"}, 400, "invalid model name"),
        ("POST", "/api/pull", {"model": "x:cloud"}, 403, "ollama cloud is disabled"),
        ("POST", "/api/push", {}, 400, "model is required"),
        ("POST", "/api/create", {}, 400, "model is required"),
        ("POST", "/api/create", {"model": "x"}, 400, "neither 'from' or 'files' was specified"),
        ("DELETE", "/api/delete", {"model": "mine"}, 400, "take it out of the configuration"),
        ("POST", "/api/pull", {"model": "MINE"}, 400, "choose another name"),
        ("POST", "/api/push", {"model": "mine"}, 400, "copy it to a name of your own"),
    ],
)
def test_refusals(library: Any, method: str, path: str, body: dict[str, Any], status: int, error: str) -> None:
    for stream in (True, False):
        reply = library.http.request(method, path, json={**body, "stream": stream})
        assert reply.status_code == status
        assert error in reply.json()["error"]


def test_a_corrupt_store_stops_nothing(library: Any) -> None:
    library.put("x")
    library.put("y")
    manifest_path(library.store, "x").write_bytes(b"{")
    assert "x:latest" not in library.names()
    assert library.post("/api/generate", {"model": "x", "prompt": "hi"}).status_code == 500
    assert library.post("/api/generate", {"model": "y", "prompt": "hi", "stream": False}).json()["response"] == "ab"
    assert library.http.request("DELETE", "/api/delete", json={"model": "x"}).status_code == 200


def test_pull(library: Any, registry: Registry) -> None:
    name = served(registry)
    lines = library.lines("/api/pull", {"model": name, "insecure": True})
    statuses = [line["status"] for line in lines]
    assert statuses[0] == "pulling manifest"
    assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert library.post("/api/generate", {"model": name, "prompt": "hi", "stream": False}).json()["response"] == "ab"
    again = library.post("/api/pull", {"name": name, "insecure": True, "stream": False})
    assert (again.status_code, again.headers["content-type"]) == (200, "application/json")
    assert again.json() == {"status": "success"}


def test_a_pull_of_nothing(library: Any, registry: Registry) -> None:
    body = {"model": registry.name("library/nothing:latest"), "insecure": True}
    first, second = library.lines("/api/pull", body)
    assert first == {"status": "pulling manifest"}
    assert second == {"error": "pull model manifest: file does not exist"}
    whole = library.post("/api/pull", {**body, "stream": False})
    assert (whole.status_code, whole.json()) == (500, second)


@pytest.mark.parametrize(
    "manifest",
    [
        *(b"null", b"[]", b"{}", b'{"layers":null}', b"{" * 100_000, b"\xff"),
        *(
            json.dumps({"config": {"digest": digest, "mediaType": CONFIG, "size": size}, "layers": []}).encode()
            for digest, size in (("", 1), ("sha256:", 1), ("sha256:../../x", 1), (str(Digest.of(b"")), -1))
        ),
    ],
    ids=lambda data: repr(data)[:30],
)
def test_a_hostile_manifest_is_one_error_line(
    library: Any, registry: Registry, manifest: bytes, tmp_path: Path
) -> None:
    registry.add_manifest("library/bad:latest", manifest)
    before = {path for path in tmp_path.rglob("*") if "models" not in path.parts}
    library.typed = "sha256:../../x"
    lines = library.lines("/api/pull", {"model": registry.name("library/bad:latest"), "insecure": True})
    assert [list(line) for line in lines] == [["status"], ["error"]]
    assert {path for path in tmp_path.rglob("*") if "models" not in path.parts} == before
    assert library.http.get("/api/version").status_code == 200


def test_who_leaves_a_pull_stops_it(library: Any, registry: Registry) -> None:
    name = served(registry, script=Script(pieces=["x" * 100_000]))
    registry.fail("GET blob", Fault(stall=1000), always=True)
    with library.http.stream("POST", "/api/pull", json={"model": name, "insecure": True}) as reply:
        lines = reply.iter_lines()
        assert next(lines) == '{"status":"pulling manifest"}'
        registry.await_request("GET blob")
    registry.await_left("GET blob")

    async def idle() -> bool:
        return await library.server.app.drain.idle(5)

    assert library.server.call(idle)
    assert name not in library.names()


def test_who_leaves_a_pull_does_not_stop_it_for_others(library: Any, registry: Registry) -> None:
    name = served(registry, script=Script(pieces=["x" * 100_000]))
    gate = threading.Event()
    registry.fail("GET blob", Fault(stall=1000, until=gate))
    body = {"model": name, "insecure": True}
    with library.http.stream("POST", "/api/pull", json=body) as first:
        first_lines = first.iter_lines()
        next(first_lines)
        registry.await_request("GET blob")
        with httpx.stream("POST", f"{library.server.url}/api/pull", json=body, timeout=20) as second:
            second_lines = second.iter_lines()
            while '"completed"' not in next(second_lines):
                pass  # the second one waits for the same download now
            first.close()
            gate.set()
            assert list(second_lines)[-1] == '{"status":"success"}'
    weights = [each.path for each in registry.seen("GET blob") if each.sent > 1000]
    assert len(weights) == len(set(weights))
    assert library.post("/api/show", {"model": name}).status_code == 200


def test_push(library: Any, registry: Registry) -> None:
    name = registry.name("library/mine:v1")
    library.post("/api/copy", {"source": "mine", "destination": name})
    lines = library.lines("/api/push", {"model": name, "insecure": True})
    statuses = [line["status"] for line in lines]
    assert (statuses[0], statuses[-2], statuses[-1]) == ("retrieving manifest", "pushing manifest", "success")
    assert registry.manifests["library/mine:v1"] == manifest_path(library.store, name).read_bytes()


def test_a_push_of_nothing(library: Any, registry: Registry) -> None:
    body = {"model": registry.name("library/nothing:latest"), "insecure": True}
    lines = library.lines("/api/push", body)
    assert lines[0] == {"status": "retrieving manifest"}
    assert list(lines[-1]) == ["error"]
    assert not registry.requests


def test_many_at_once(library: Any) -> None:
    """Copies, deletions and lists beside each other: every reply is one of those that are possible."""
    library.put("x")
    failures: list[str] = []

    def work(number: int) -> None:
        with httpx.Client(base_url=library.server.url, timeout=20) as http:
            for _ in range(10):
                copied = http.post("/api/copy", json={"source": "x", "destination": f"y{number % 2}"})
                listed = http.get("/api/tags")
                deleted = http.request("DELETE", "/api/delete", json={"model": f"y{number % 2}"})
                if copied.status_code != 200 or listed.status_code != 200 or deleted.status_code not in {200, 404}:
                    failures.append(f"{copied.text} {deleted.text}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert library.post("/api/generate", {"model": "x", "prompt": "hi", "stream": False}).json()["response"] == "ab"
