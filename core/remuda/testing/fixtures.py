"""pytest fixtures for a plugin's tests: the whole server with the plugin in it, a client of it, models that do as told.

Name this module in the `conftest.py` of the tests:

    pytest_plugins = ["remuda.testing.fixtures"]

Each fixture makes what the next one uses, and a test, a module or a `conftest.py` replaces one by defining its own of
that name: `remuda_config` -> `remuda_plugins` -> `remuda_server` -> `remuda_client`. All have the scope of a function:
a server starts within some hundredths of a second, and no test sees what another one left in it.

A project need not be installed to be tested: where it is not, its plugins are those that `pyproject.toml` names in the
folder where pytest finds its settings, and the folders of pytest's setting `pythonpath` are those of engines, too.
PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import itertools
import os
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points

import httpx
import msgspec
import pytest
from msgspec import Struct, field

from remuda.config import Config
from remuda.model import Store, parse_name
from remuda.model.create.parts import keep
from remuda.model.manifest import CONFIG, MODEL, Manifest, ModelConfigFile, encode_manifest
from remuda.plugins import ENTRY_POINT_GROUP, Plugins, load_plugins

from .scripted import Script, ScriptedPlugin
from .server import LiveServer

__all__ = ["remuda_client", "remuda_config", "remuda_plugins", "remuda_scripted", "remuda_server"]

_SECONDS = 30.0
"""That a client waits for the next byte."""


class _Project(Struct, rename="kebab"):
    entry_points: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])


class _Settings(Struct):
    """Of a `pyproject.toml` what is wanted here."""

    project: _Project = field(default_factory=_Project)


def pytest_configure(config: pytest.Config) -> None:
    """Engines live in processes of their own, which know nothing of pytest's `pythonpath`."""
    folders = [str(folder) for folder in config.getini("pythonpath")]
    if not folders:
        return
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", os.pathsep.join(folders), prepend=os.pathsep)
    config.add_cleanup(patch.undo)


@pytest.fixture
def remuda_config() -> Config:
    """The configuration of the server: the defaults, whatever files and variables there are on this machine."""
    return Config()


@pytest.fixture
def remuda_plugins(remuda_config: Config, pytestconfig: pytest.Config) -> Plugins:
    """Every installed plugin, each found by its entry point as a user's would be, those of the project that is tested,
    and the backend of the test kit.

    Raises `ConfigError` for settings of a plugin that make no sense.
    """
    points = list(entry_points(group=ENTRY_POINT_GROUP))
    points += _uninstalled(pytestconfig, {point.name for point in points})
    return load_plugins(points, [("scripted", ScriptedPlugin())], config=remuda_config)


@pytest.fixture
def remuda_server(remuda_config: Config, remuda_plugins: Plugins) -> Iterator[LiveServer]:
    """A server on a free port, with an empty folder for models unless the configuration names one."""
    with LiveServer(remuda_config, remuda_plugins) as server:
        yield server


@pytest.fixture
def remuda_client(remuda_server: LiveServer) -> Iterator[httpx.Client]:
    """A client whose `base_url` is the server's. It waits half a minute for the next byte, and no longer."""
    with httpx.Client(base_url=remuda_server.url, timeout=_SECONDS) as client:
        yield client


@pytest.fixture
def remuda_scripted(remuda_server: LiveServer) -> Callable[[Script], str]:
    """Call it with a `Script` to have such a model on the server, at any time; it returns the model's name."""
    numbers = itertools.count(1)

    def make(script: Script) -> str:
        name = f"scripted-{next(numbers)}"
        _store(remuda_server.pipeline.store, name, script)
        return name

    return make


def _uninstalled(config: pytest.Config, installed: set[str]) -> Iterator[EntryPoint]:
    """What the project's `pyproject.toml` names and nobody has installed."""
    file = config.rootpath / "pyproject.toml"
    if not file.is_file():
        return
    settings = msgspec.convert(tomllib.loads(file.read_text("utf-8")), _Settings)
    for name, value in settings.project.entry_points.get(ENTRY_POINT_GROUP, {}).items():
        if name not in installed:
            yield EntryPoint(name, value, ENTRY_POINT_GROUP)


def _store(store: Store, name: str, script: Script) -> None:
    """The script as a stored model's weights: the store may be written to while the server runs."""
    with store.pin() as pins:
        weights = keep(store, pins, MODEL, msgspec.json.encode(script))
        config = keep(store, pins, CONFIG, msgspec.json.encode(ModelConfigFile(model_format="scripted")))
        store.write(parse_name(name), encode_manifest(Manifest(config=config.layer, layers=[weights.layer])))
