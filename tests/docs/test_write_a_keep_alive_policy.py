"""The policy of docs/how-to/write-a-keep-alive-policy.md."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from msgspec import structs

from remuda.config import Config, load_config
from remuda.hookspecs import Usage
from remuda.plugins import Plugins
from remuda.testing import LiveServer, Script

from .conftest import blocks

PAGE = "docs/how-to/write-a-keep-alive-policy.md"
GB = 10**9
SMALL = Usage(model="m:latest", policy="budget", asked=None, default=300.0, size=GB)


@pytest.fixture
def policies(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    module = ModuleType("remuda_budget")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    [block] = blocks("policy", PAGE)
    exec(compile(block.code, block.page, "exec", dont_inherit=True), vars(module))
    assert plugins.add(module, "budget").fault == ""
    return plugins


@pytest.mark.parametrize(
    ("usage", "seconds"),
    [
        (SMALL, 20 * 60.0),
        (structs.replace(SMALL, size=8 * GB), 150.0),
        (structs.replace(SMALL, size=8 * GB, load_seconds=10.0), 300.0),
        (structs.replace(SMALL, size=GB // 1000), 8 * 3600.0),
        (structs.replace(SMALL, size=0), 300.0),
        (structs.replace(SMALL, asked=7.0), 7.0),
        (structs.replace(SMALL, policy="fixed"), 300.0),
        (structs.replace(SMALL, policy="another"), None),
    ],
)
def test_the_policy_shown_keeps_small_models_longer(policies: Plugins, usage: Usage, seconds: float | None) -> None:
    assert policies.keep_alive(usage) == seconds


def test_the_configuration_shown_asks_for_it(
    policies: Plugins, scripted: Callable[..., Config], tmp_path: Path
) -> None:
    path = tmp_path / "remuda.toml"
    [block] = blocks("config", PAGE)
    path.write_text(block.code)
    script = Script(size=20 * GB)
    models = scripted(**{"m": script, "embed-m": script}).models
    config = structs.replace(load_config(path, {}), models=models)
    with LiveServer(config, policies) as server:
        for model in models:
            body = {"model": model, "prompt": "hi", "stream": False}
            assert httpx.post(f"{server.url}/api/generate", json=body).status_code == 200
        told = httpx.get(f"{server.url}/api/ps").json()["models"]
        left = {each["name"]: datetime.fromisoformat(each["expires_at"]).timestamp() - time.time() for each in told}
    assert 50 < left["m:latest"] < 90
    assert 3590 < left["embed-m:latest"] < 3601
