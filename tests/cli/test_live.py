"""The commands against the real server, with an engine that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from remuda.config import Config
from remuda.plugins import Plugins, load_plugins
from remuda.testing.scripted import Script, ScriptedPlugin, write_script
from remuda.testing.server import LiveServer

from .conftest import Remuda


@pytest.fixture
def plugins() -> Plugins:
    return load_plugins((), [("scripted", ScriptedPlugin())])


def test_run_list_and_ps(
    remuda: Remuda, plugins: Plugins, scripted: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    with LiveServer(scripted(talker=Script(pieces=["Well", ", ", "well."])), plugins) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert remuda("ps").stdout.splitlines()[1:] == []
        said = remuda("run", "talker", "hello", "--keepalive", "-1", "--verbose")
        assert (said.exit_code, said.stdout) == (0, "Well, well.\n")
        assert "eval count:           3 token(s)\n" in said.stderr
        assert remuda("list").stdout.splitlines()[1].startswith("talker:latest    ")
        [loaded] = remuda("ps", "TALK").stdout.splitlines()[1:]
        assert loaded.split()[0] == "talker:latest"
        assert loaded.rstrip().endswith("100% CPU     4096       Forever")
        unknown = remuda("run", "walker", "hello")
        assert (unknown.exit_code, unknown.stdout) == (1, "")
        assert unknown.stderr == "Error: model 'walker' not found; there are: talker:latest\n"


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], None]:
    """Makes REMUDA_CONFIG name a file with one model, `talker`."""

    def write(script: Script) -> None:
        path = write_script(tmp_path / "talker.json", script)
        config = tmp_path / "remuda.toml"
        config.write_text(f'[models.talker]\npath = "{path}"\nformat = "scripted"\n')
        monkeypatch.setenv("REMUDA_CONFIG", str(config))

    return write


@pytest.mark.usefixtures("nobody")
def test_without_a_server_run_brings_its_own(remuda: Remuda, configured: Callable[[Script], None]) -> None:
    configured(Script(pieces=["Here ", "I am."]))
    before = set(threading.enumerate())
    result = remuda("run", "talker", "hello")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Here I am.\n", "")
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive(), thread
    assert remuda("list").exit_code == 1


@pytest.mark.usefixtures("nobody")
def test_its_own_server_fails_as_any_other(remuda: Remuda, configured: Callable[[Script], None]) -> None:
    configured(Script(pieces=["Here ", "I ", "am."], fault="kill", fault_at=2))
    result = remuda("run", "talker", "hello")
    assert (result.exit_code, result.stdout) == (1, "Here I ")
    assert "Error: model runner has unexpectedly stopped" in result.stderr
    result = remuda("run", "walker", "hello")
    assert result.stderr == "Error: model 'walker' not found; there are: talker:latest\n"


@pytest.mark.usefixtures("nobody")
def test_a_bad_configuration_is_an_error_of_run(
    remuda: Remuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "remuda.toml"
    path.write_text("[server]\nprot = 1\n")
    monkeypatch.setenv("REMUDA_CONFIG", str(path))
    result = remuda("run", "talker", "hello")
    assert result.exit_code == 1
    assert "prot" in result.stderr
