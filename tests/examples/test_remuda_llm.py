"""The example `remuda-llm`, installed from its wheel: its own tests pass there, and the server has its models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from company_serving import Serving

from .conftest import EXAMPLES, Venv

README = EXAMPLES / "remuda-llm" / "README.md"
SERVE = ("-m", "remuda", "serve", "--port", "0", "--config")


@pytest.fixture(scope="module")
def llm(installed: Callable[[str], Venv]) -> Venv:
    return installed("remuda-llm")


@pytest.fixture
def server(llm: Venv, tmp_path: Path) -> Iterator[Serving]:
    """With the settings that the README shows, and with no key of anybody's."""
    [settings] = re.findall(r"^```toml\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    config, keys = tmp_path / "remuda.toml", tmp_path / "llm"
    config.write_text(settings)
    command = (*SERVE, str(config))
    models, home = tmp_path / "models", tmp_path / "home"
    with Serving(models, home, command=command, python=str(llm.python), LLM_USER_PATH=str(keys)) as serving:
        yield serving
        assert serving.terminate() == 0


def test_its_own_tests_pass(llm: Venv) -> None:
    """The suite for backends among them, with real models of two plugins of `llm`."""
    told = llm.run_tests()
    counted = re.search(r"(\d+) passed", told)
    assert counted is not None
    assert int(counted[1]) > 100, told
    assert "failed" not in told


def test_what_runs_there_is_the_wheels_code(llm: Venv) -> None:
    told = llm.run("-c", "import remuda_llm; print(remuda_llm.__file__)").strip()
    assert told.startswith(str(llm.folder))


def test_the_server_has_its_models_through_its_entry_point(server: Serving, tmp_path: Path) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        names = {model["name"] for model in client.get("/api/tags").json()["models"]}
        asked = {"model": "llm/echo", "messages": [{"role": "user", "content": "hi"}], "stream": False}
        reply = client.post("/api/chat", json=asked).json()
    assert {"llm/echo:latest", "llm/smollm2:latest"} <= names
    assert not [name for name in names if "gpt" in name], "there is no key for them"
    assert json.loads(reply["message"]["content"])["prompt"] == "hi"
    assert list((tmp_path / "llm").iterdir()) == [], "llm keeps no log of requests here"
