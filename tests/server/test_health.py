"""`/healthz` and `/readyz`, as whoever watches over the server sees them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from remuda.config import ResidencyConfig, ServerConfig
from remuda.testing import Script

from .library_rig import LibraryRig

Make = Callable[..., LibraryRig]


def _script(folder: Path, script: Script) -> None:
    """What the model `mine` does from now on."""
    (folder / "script.json").write_bytes(msgspec.json.encode(script))


def _ready(rig: LibraryRig) -> httpx.Response:
    return rig.http.get("/readyz")


def _until(said: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_that_needs_nothing_is_ready(library: LibraryRig) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        reply = library.http.get(path)
        assert (reply.status_code, reply.json()) == (200, {"status": status})
        assert reply.headers["content-type"] == "application/json; charset=utf-8"
        head = library.http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        wrong = library.http.post(path)
        assert (wrong.status_code, wrong.json()) == (405, {"error": "method not allowed"})


def test_a_preloaded_model_is_there_when_it_is_ready(make_library: Make) -> None:
    rig = make_library(residency=ResidencyConfig(preload=("mine",)))
    assert rig.http.get("/healthz").status_code == 200
    _until(lambda: _ready(rig).status_code == 200)
    assert [model["name"] for model in rig.http.get("/api/ps").json()["models"]] == ["mine:latest"]


def test_a_preloaded_model_that_fails_keeps_nobody_waiting(
    make_library: Make, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_library(residency=ResidencyConfig(preload=("nowhere", "mine")))
    _until(lambda: _ready(rig).status_code == 200)
    assert [model["name"] for model in rig.http.get("/api/ps").json()["models"]] == ["mine:latest"]
    assert any("nowhere, which residency.preload names" in record.getMessage() for record in caplog.records)


def test_one_that_must_have_written_a_token(make_library: Make) -> None:
    rig = make_library(server=ServerConfig(ready_model="mine"))
    _until(lambda: _ready(rig).status_code == 200)
    [model] = rig.http.get("/api/ps").json()["models"]
    assert model["name"] == "mine:latest"
    rig.post("/api/generate", {"model": "mine", "keep_alive": 0})
    assert _ready(rig).status_code == 200, "once is enough"


def test_a_proof_that_fails_is_tried_again_when_somebody_asks(make_library: Make, tmp_path: Path) -> None:
    rig = make_library(server=ServerConfig(ready_model="later"))
    _until(lambda: "could not write a token" in _ready(rig).json()["error"])
    reply = _ready(rig)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["error"] == (
        "not ready: later (server.ready_model) could not write a token: model 'later' not found"
    )
    rig.put("later")
    _until(lambda: _ready(rig).status_code == 200)


def test_a_server_that_ends_says_so(make_library: Make, tmp_path: Path) -> None:
    """To whoever still has a connection; new ones are not accepted."""
    rig = make_library(server=ServerConfig(drain_timeout=5.0))
    _script(tmp_path, Script(pieces=["a "], repeat=100_000, delay=0.01))
    kept = {path: httpx.Client(base_url=rig.server.url, timeout=10) for path in ("/healthz", "/readyz")}
    for path, client in kept.items():
        assert client.get(path).status_code == 200
    with (
        ThreadPoolExecutor(1) as pool,
        rig.http.stream("POST", "/api/generate", json={"model": "mine", "prompt": "x"}) as reply,
    ):
        lines = reply.iter_lines()
        next(lines)
        stopping = pool.submit(rig.server.stop)
        _until(lambda: rig.server.app.drain.draining)
        for path, client in kept.items():
            late = client.get(path)
            assert (late.status_code, late.headers["retry-after"]) == (503, "5")
            client.close()
        reply.close()
        stopping.result(20)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{rig.server.url}/healthz")
