"""What the tests share: `llm` with an empty folder of its own, plugins of `llm` that a test writes, a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ollama import Client

from remuda.config import Config, PluginsConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer
from remuda_llm.plugin import LlmPlugin


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def llm_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys and aliases of whoever runs the tests are neither seen nor touched."""
    folder = tmp_path_factory.mktemp("llm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_USER_PATH", str(folder))
        for variable in [name for name in os.environ if name.endswith("_API_KEY")]:
            patch.delenv(variable)
        yield folder


@pytest.fixture
def installed(llm_folder: Path) -> Iterator[Callable[[object], None]]:
    """`installed(plugin)`: a plugin of `llm` that is there until the test is over."""
    import llm

    llm.load_plugins()
    plugins: list[object] = []

    def add(plugin: object) -> None:
        llm.pm.register(plugin)
        plugins.append(plugin)

    yield add
    for plugin in plugins:
        llm.pm.unregister(plugin)


@pytest.fixture
def serve() -> Iterator[Callable[..., LiveServer]]:
    """`serve(namespace="llm")`: a server with this plugin and these settings, until the test is over."""
    with ExitStack() as stack:

        def start(**settings: Any) -> LiveServer:
            config = Config(plugins=PluginsConfig(settings={"llm": settings}))
            plugins = load_plugins(extra=[("llm", LlmPlugin())], found=_builtin(), config=config)
            return stack.enter_context(LiveServer(config, plugins))

        yield start


@pytest.fixture
def client(serve: Callable[..., LiveServer]) -> Iterator[Callable[..., Client]]:
    """`client(namespace="llm")`: Ollama's own client of such a server."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Client(serve(**settings).url))


def _builtin() -> list[Any]:
    """The entry points of Remuda itself: this plugin's own would make it be there twice."""
    from importlib.metadata import entry_points

    return [point for point in entry_points(group="remuda") if point.dist is not None and point.dist.name == "remuda"]
