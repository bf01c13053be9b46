"""Plugins that are single files in a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from remuda.config import Config, ModelConfig, PluginsConfig
from remuda.plugins import Plugins, load_plugins
from remuda.testing import LiveServer, Script, write_script
from remuda.wire import PluginsResponse, encode

Write = Callable[..., Plugins]


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    """Python's list of modules and of places to look for them, as they were."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir()
    return made


def _load(folder: Path, **settings: object) -> Plugins:
    return load_plugins([], config=Config(plugins=PluginsConfig(dir=str(folder), **settings)))  # type: ignore[arg-type]


def _registers(name: str) -> str:
    return f"import remuda\n@remuda.hookimpl\ndef remuda_register_parsers(register):\n    register('{name}', dict)\n"


def test_each_file_is_a_plugin_named_after_it(folder: Path) -> None:
    (folder / "zebra.py").write_text("import _stripes\n" + _registers("z"))
    (folder / "aardvark.py").write_text(_registers("a"))
    (folder / "_stripes.py").write_text("")
    (folder / "notes.txt").write_text("")
    (folder / ".#zebra.py").symlink_to("nowhere")  # as some editors leave it
    plugins = _load(folder)
    assert [(info.name, info.file, info.provides, info.fault) for info in plugins.describe()] == [
        ("aardvark", "aardvark.py", ["parser a"], ""),
        ("zebra", "zebra.py", ["parser z"], ""),
    ]


def test_a_file_is_read_anew_each_time(folder: Path) -> None:
    for name in "ab":
        (folder / "zebra.py").write_text(_registers(name))
        assert _load(folder).parsers.names() == [name]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("json.py", "json.py is named like a module that is installed\nFix: rename it"),
        ("quart.py", "quart.py is named like a module that is installed\nFix: rename it"),
        ("remuda.py", "remuda.py is named like a module that is installed\nFix: rename it"),
        ("my-plugin.py", "my-plugin.py has a name that no module can have\nFix: rename it"),
        ("broken.py", "SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_told_and_the_others_are(folder: Path, file: str, message: str) -> None:
    (folder / file).write_text("def")
    (folder / "zebra.py").write_text(_registers("z"))
    plugins = _load(folder)
    bad, good = plugins.describe()
    assert message in bad.fault
    assert "Fix: " in bad.fault.splitlines()[-1]
    assert good.provides == ["parser z"]
    assert sys.modules["json"].__name__ == "json"


def test_a_file_whose_name_is_no_text_is_told_and_can_be_told_of(folder: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.py")).write_text("")
    except OSError:
        pytest.skip("this file system takes no such names")
    plugins = _load(folder)
    [info] = plugins.describe()
    assert (info.name, info.file) == ("bad?", "bad?.py")
    assert b'"name":"bad?"' in encode(PluginsResponse(plugins.states()))


def test_a_file_named_like_another_plugin(folder: Path) -> None:
    (folder / "zebra.py").write_text("import remuda\n")

    class Point:
        name, value, dist = "zebra", "v", None

        def load(self) -> object:
            return object()

    plugins = load_plugins([Point()], config=Config(plugins=PluginsConfig(dir=str(folder))))  # type: ignore[list-item]
    _, file = plugins.describe()
    assert (file.name, file.fault) == ("zebra.py", "another plugin is named 'zebra'\nFix: rename the file")


ENGINE = """
import remuda
from remuda.runner import EngineBackend
from remuda.testing import ScriptedEngine


class Engine(ScriptedEngine):
    pass


class Backend(EngineBackend):
    engine = "little_engine:Engine"
    formats = frozenset({"little"})


@remuda.hookimpl
def remuda_register_backends(register):
    register("little", "little_engine:Backend")
"""


def test_an_engine_in_a_file_works_in_its_process(folder: Path, tmp_path: Path) -> None:
    (folder / "little_engine.py").write_text(ENGINE)
    weights = write_script(tmp_path / "m.json", Script(pieces=["choo"]))
    config = Config(
        plugins=PluginsConfig(dir=str(folder)), models={"m": ModelConfig(path=str(weights), format="little")}
    )
    with LiveServer(config, load_plugins(config=config)) as server:
        body = {"model": "m", "prompt": "hi", "stream": False}
        reply = httpx.post(f"{server.url}/api/generate", json=body, timeout=30)
        assert reply.json()["response"] == "choo"
