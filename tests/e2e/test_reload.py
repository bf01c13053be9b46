"""A server whose configuration changes while it runs: `remuda serve`, a file, and SIGHUP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from faults import Front, await_true, runners
from herding import Serve, remuda_serve

from remuda.testing import Script, write_script

QUICK = Script(pieces=["a", " b"], embeds=2)
TALE = Script(pieces=["tick ", "tock "], repeat=100_000, delay=0.01)
SLOW = Script(pieces=["a"], load_delay=1.5)


class Place:
    """The folder of a server: its models, its store and its configuration file."""

    def __init__(self, folder: Path, **scripts: Script) -> None:
        self.file = folder / "remuda.toml"
        self._fixed = f'[store]\npath = "{folder / "models"}"\n'
        for name, script in scripts.items():
            path = write_script(folder / f"{name}.json", script)
            self._fixed += f'[models.{name}]\npath = "{path}"\nformat = "scripted"\n'

    def write(self, text: str = "") -> None:
        self.file.write_text(f"{text}\n{self._fixed}")

    @contextmanager
    def serving(self, text: str = "") -> Iterator[tuple[Serve, Front]]:
        self.write(text)
        with remuda_serve(self.file) as server:
            front = Front(server.url)
            yield server, front
            front.close()
            assert server.end() == 0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, quick=QUICK, other=QUICK, tale=TALE, slow=SLOW)


def _left(front: Front, model: str) -> float:
    return datetime.fromisoformat(front.ps()[model]["expires_at"]).timestamp() - time.time()


def _post(front: Front, path: str, **body: Any) -> httpx.Response:
    return httpx.post(front.url + path, json={"stream": False, **body}, timeout=30)


def test_what_can_act_at_once_does_and_nothing_loaded_is_touched(place: Place) -> None:
    before = '[residency]\nmax_loaded = 1\n[limits]\nkeep_alive = "10m"\n'
    after = """
        aliases = { "gpt-4" = "tale" }
        [residency]
        max_loaded = 2
        [[residency.models]]
        model = "quick*"
        keep_alive = "20m"
        [limits]
        keep_alive = "1h"
        parallel = 7
        [server]
        drain_timeout = 1.5
        [[routes]]
        model = "other*"
        backend = "llamacpp"
    """
    with place.serving(before) as (server, front), ThreadPoolExecutor(1) as pool:
        with front.stream("tale") as lines:
            next(lines)
            [pid] = runners(server.popen.pid)
            assert _left(front, "tale") == pytest.approx(600, abs=5)
            waiting = pool.submit(front.told, "quick")
            front.await_waiting(1)
            assert front.ask("gpt-4").status_code == 404
            place.write(after)
            log = "\n".join(server.reload())
            assert waiting.result(30) == "a b"  # there is room for two now
            assert set(front.ps()) == {"tale", "quick"}
            assert _left(front, "tale") == pytest.approx(3600, abs=5)
            assert _left(front, "quick") == pytest.approx(1200, abs=5)
            assert front.told("gpt-4", options={"num_predict": 2}) == "tick tock "
            refused = front.ask("other")
            assert refused.status_code == 500
            assert "response" in next(lines)
            assert pid in runners(server.popen.pid)
        for key in ("aliases", "residency.max_loaded", "residency.models", "limits.keep_alive", "routes"):
            assert key in log
        for key in ("limits.parallel", "server.drain_timeout"):
            assert key in server.said("needs a restart to act: ")
        place.write(before)
        server.reload()
        assert front.ask("gpt-4").status_code == 404
        assert front.told("other") == "a b"
        assert len(runners(server.popen.pid)) == 1


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("[residency\nmax_loaded = 2", "is not TOML"),
        ("[residency]\nmax_loaded = -1", "residency.max_loaded"),
        ("[limits]\nkeep_alive = 'soon'", "limits.keep_alive"),
        ("[residency]\nmax_loadde = 2", "max_loadde"),
        ('aliases = { "gpt 4" = "quick" }', "aliases"),
    ],
)
def test_a_broken_file_changes_nothing(shared: tuple[Place, Serve, Front], broken: str, reason: str) -> None:
    place, server, front = shared
    [pid] = runners(server.popen.pid)
    place.write(broken)
    log = server.reload()
    [line] = [line for line in log if "the configuration was" in line]
    assert " ERROR " in line
    assert "not reloaded" in line
    assert reason in line
    assert front.told("gpt-5") == "a b"
    assert runners(server.popen.pid) == {pid}
    place.file.unlink()
    assert "not reloaded: cannot read" in server.reload()[-1]
    assert front.told("gpt-5") == "a b"
    assert runners(server.popen.pid) == {pid}


ALIASES = 'aliases = { "gpt-5" = "quick", "gpt-6" = "nowhere" }'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Serve, Front]]:
    """A server that has aliases, and has `quick` loaded."""
    place = Place(tmp_path_factory.mktemp("shared"), quick=QUICK)
    with place.serving(ALIASES) as (server, front):
        assert front.told("quick") == "a b"
        yield place, server, front


def test_an_alias_is_asked_as_its_model_is(shared: tuple[Place, Serve, Front]) -> None:
    _, server, front = shared
    talk = [{"role": "user", "content": "hi"}]
    assert _post(front, "/api/generate", model="gpt-5", prompt="hi").json()["response"] == "a b"
    assert _post(front, "/api/chat", model="gpt-5", messages=talk).json()["message"]["content"] == "a b"
    assert _post(front, "/api/embed", model="gpt-5", input="hi").json()["embeddings"] == [pytest.approx([0.01, 1], 1)]
    assert (
        _post(front, "/api/show", model="gpt-5").json()["details"]
        == (_post(front, "/api/show", model="quick").json()["details"])
    )
    assert _post(front, "/api/generate", model="gpt-5", prompt="hi").json()["model"] == "gpt-5"
    assert set(front.ps()) == {"quick"}
    assert len(runners(server.popen.pid)) == 1
    assert [model["name"] for model in front.get("/api/tags").json()["models"] if "gpt" in model["name"]] == []
    assert _post(front, "/api/generate", model="gpt-6", prompt="hi").status_code == 404


def test_an_alias_can_be_neither_deleted_nor_replaced(shared: tuple[Place, Serve, Front]) -> None:
    _, _, front = shared
    deleted = httpx.request("DELETE", f"{front.url}/api/delete", json={"model": "gpt-5"}, timeout=30)
    replies = [
        deleted,
        _post(front, "/api/pull", model="gpt-5"),
        _post(front, "/api/create", **{"model": "gpt-5", "from": "quick"}),
        _post(front, "/api/push", model="gpt-5"),
        _post(front, "/api/copy", source="quick", destination="gpt-5"),
    ]
    for reply in replies:
        assert reply.status_code == 400
        assert "alias of 'quick:latest'" in reply.json()["error"]
    assert front.told("gpt-5") == "a b"


def test_it_is_ready_when_what_it_needs_is_loaded(place: Place) -> None:
    text = '[residency]\npreload = ["slow", "missing", "quick"]\n[server]\nready_model = "other"\n'
    with place.serving(text) as (server, front):
        assert front.get("/healthz").json() == {"status": "ok"}
        reply = front.get("/readyz")
        assert reply.status_code == 503
        assert reply.json() == {"error": "not ready: still loading slow, missing, quick"}
        await_true(lambda: front.get("/readyz").status_code == 200)
        assert front.get("/readyz").json() == {"status": "ready"}
        assert set(front.ps()) == {"slow", "quick", "other"}
        assert {entry["state"] for entry in front.ps().values()} == {"ready"}
        assert len(runners(server.popen.pid)) == 3
        assert "could not be loaded" in server.said("missing, which residency.preload names")
