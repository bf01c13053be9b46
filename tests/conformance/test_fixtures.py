"""The fixtures of the test kit: a server for a plugin's tests, each part of which a test may replace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from remuda import Receipt, hookimpl
from remuda.config import Config, ModelConfig
from remuda.plugins import Plugins, load_plugins
from remuda.testing import LiveServer, Script, ScriptedPlugin, write_script

pytest_plugins = ["remuda.testing.fixtures"]

MakeModel = Callable[[Script], str]


def _text(client: httpx.Client, model: str) -> str:
    body = {"model": model, "prompt": "Hello"}
    with client.stream("POST", "/api/generate", json=body) as reply:
        lines = [json.loads(line) for line in reply.iter_lines()]
    assert lines[-1]["done"], lines
    return "".join(line["response"] for line in lines)


def _names(client: httpx.Client) -> set[str]:
    return {model["name"] for model in client.get("/api/tags").json()["models"]}


def test_models_are_made_while_the_server_runs(remuda_client: httpx.Client, remuda_scripted: MakeModel) -> None:
    before = _names(remuda_client)
    first = remuda_scripted(Script(pieces=["one", " and"]))
    assert _text(remuda_client, first) == "one and"
    second = remuda_scripted(Script(pieces=["two"]))
    assert _text(remuda_client, second) == "two"
    assert _names(remuda_client) - before == {f"{first}:latest", f"{second}:latest"}


@pytest.mark.parametrize("turn", [1, 2])
def test_no_test_sees_what_another_one_left(remuda_client: httpx.Client, remuda_scripted: MakeModel, turn: int) -> None:
    assert not {name for name in _names(remuda_client) if name.startswith("scripted-")}
    remuda_scripted(Script())


def test_the_folder_of_models_is_gone_with_the_server(remuda_server: LiveServer, remuda_scripted: MakeModel) -> None:
    remuda_scripted(Script())
    folder = remuda_server.pipeline.store.root
    assert folder.is_dir()
    remuda_server.stop()
    assert not folder.exists()


def test_installed_plugins_are_there(remuda_plugins: Plugins) -> None:
    names = {plugin.name for plugin in remuda_plugins.describe() if not plugin.fault}
    assert {"templates", "formats", "scripted"} <= names


class _Listener:
    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)


class TestReplaced:
    """A class, as a module or a conftest.py, has a configuration and plugins of its own."""

    @pytest.fixture
    def listener(self) -> _Listener:
        return _Listener()

    @pytest.fixture
    def remuda_config(self, tmp_path: Path) -> Config:
        weights = write_script(tmp_path / "script.json", Script(pieces=["mine"]))
        return Config(models={"mine": ModelConfig(path=str(weights), format="scripted")})

    @pytest.fixture
    def remuda_plugins(self, remuda_config: Config, listener: _Listener) -> Plugins:
        extra = [("scripted", ScriptedPlugin()), ("listener", listener)]
        return load_plugins(extra=extra, config=remuda_config)

    def test_its_own_are_used(
        self, remuda_server: LiveServer, remuda_client: httpx.Client, listener: _Listener
    ) -> None:
        assert "mine:latest" in _names(remuda_client)
        assert _text(remuda_client, "mine") == "mine"
        remuda_server.stop()
        assert [receipt.model for receipt in listener.receipts] == ["mine"]
