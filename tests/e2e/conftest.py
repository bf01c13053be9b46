"""One real server with the demo model for all tests of this folder, beside a second copy of it and a scripted one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from blockbuster import blockbuster_ctx
from loaded import loaded_model

from remuda.config import Config, LimitsConfig, ModelConfig
from remuda.plugins import load_plugins
from remuda.runner import RunnerModel
from remuda.testing import LiveServer, Script, ScriptedPlugin, write_script

from ..conftest import DEMO, needs_demo
from .tables import Table, shelf

COPY = "copy:latest"
"""The same weights under another path: another runner."""
SCRIPTED = "scripted:latest"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(needs_demo)


@pytest.fixture(scope="package")
def shelved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The shelf of small models that the tables ask."""
    with shelf(tmp_path_factory.mktemp("shelf")) as server:
        yield server


@pytest.fixture
def table(request: pytest.FixtureRequest, shelved: LiveServer) -> Iterator[Table]:
    """Asks the models of the shelf, at the `ENDPOINT` of the test's module."""
    with closing(Table(shelved, request.module.ENDPOINT)) as table:
        yield table


@pytest.fixture
def demo(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[Table]:
    """Asks the demo model, at the `ENDPOINT` of the test's module."""
    with closing(Table(server, request.module.ENDPOINT)) as table:
        yield table


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("e2e")
    plugins = load_plugins(extra=[("scripted", ScriptedPlugin())])
    weights = next(entry.weights for entry in plugins.models.values() if str(entry.name) == DEMO)
    (folder / "copy.gguf").symlink_to(weights)
    script = write_script(folder / "script.json", Script(pieces=["tick ", "tock "], repeat=500, delay=0.01))
    models = {
        COPY: ModelConfig(path=str(folder / "copy.gguf")),
        SCRIPTED: ModelConfig(path=str(script), format="scripted"),
    }
    config = Config(models=models, limits=LimitsConfig(parallel=8))
    with LiveServer(config, plugins) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_blocks() -> Iterator[None]:
    """For each test by itself: the servers of this folder live on while other folders' tests run."""
    with blockbuster_ctx(["remuda", "remuda_plugins"]):
        yield


class Client:
    """`/api/generate` the way a plain HTTP client does it."""

    def __init__(self, server: LiveServer, timeout: float = 120) -> None:
        self.server = server
        self._http = httpx.Client(base_url=server.url, timeout=timeout)

    def close(self) -> None:
        self._http.close()

    def ask(self, prompt: str, model: str = DEMO, **fields: Any) -> dict[str, Any]:
        options = {"temperature": 0, "num_predict": 32, **fields.pop("options", {})}
        body = {"model": model, "prompt": prompt, "stream": False, "options": options, **fields}
        reply = self._http.post("/api/generate", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    @contextmanager
    def stream(self, prompt: str, model: str = DEMO, **fields: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """Lines as they come; leaving the block closes the connection."""
        body = {"model": model, "prompt": prompt, **fields}
        with self._http.stream("POST", "/api/generate", json=body) as reply:
            assert reply.status_code == 200
            yield (json.loads(line) for line in reply.iter_lines())

    def counts(self, model: str = DEMO) -> tuple[int, int]:
        """Running and waiting sequences, as the model's own runner counts them."""
        for entry in self._http.get("/api/ps").json()["models"]:
            if entry["name"] == model:
                return entry["running"], entry["waiting"]
        return 0, 0

    def steps(self, model: str = DEMO) -> int:
        """Steps that the model's engine has done."""
        return self.server.call(self.runner(model).stats).steps

    def runner(self, model: str = DEMO) -> RunnerModel:
        """The server's side of the model's process."""
        return loaded_model(self.server, model)


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    with closing(Client(server)) as client:
        yield client
