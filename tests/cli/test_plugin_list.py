from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import remuda as framework
from remuda.cli import make_cli
from remuda.hookspecs import RegisterFactory, RegisterModel
from remuda.plugins import Plugins
from remuda.testing import LiveServer, Script, ScriptedPlugin

from .conftest import Remuda


@pytest.fixture(autouse=True)
def _nobody(nobody: str) -> None:
    """No server runs, unless a test says so."""


class Good:
    @framework.hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        register("steam", "remuda.testing.scripted:ScriptedBackend")

    @framework.hookimpl
    def remuda_register_models(self, register: RegisterModel) -> None:
        register("haiku:tiny", Path("haiku.gguf"))


class Bad:
    @framework.hookimpl
    def remuda_register_models(self, register: RegisterModel) -> None:
        raise RuntimeError("boiler burst")


class Commanding:
    @framework.hookimpl
    def remuda_register_commands(self, cli: object) -> None:
        raise RuntimeError("no orders")


def test_what_each_provides(remuda: Remuda, plugins: Plugins) -> None:
    plugins.add(Good(), "good", distribution="remuda-good", version="1.2")
    plugins.add(Bad(), "bad")
    result = remuda("plugins")
    assert result.exit_code == 0
    assert [line.rstrip() for line in result.stdout.splitlines()] == [
        "NAME    FROM               PROVIDES",
        "good    remuda-good 1.2    backend steam, model haiku:tiny",
        "bad     -                  BROKEN: see 'remuda plugins bad'",
    ]


def test_a_backend_that_cannot_be_imported_is_broken(remuda: Remuda, plugins: Plugins) -> None:
    class Lost:
        @framework.hookimpl
        def remuda_register_backends(self, register: RegisterFactory) -> None:
            register("lost", "remuda.nowhere:Lost")

    plugins.add(Lost(), "lost")
    assert remuda("plugins").stdout.splitlines()[-1].rstrip().endswith("BROKEN: see 'remuda plugins lost'")
    assert "No module named 'remuda.nowhere'" in remuda("plugins", "lost").stdout


def test_of_many_things_the_list_names_a_few_and_the_card_all(remuda: Remuda, plugins: Plugins) -> None:
    class Zoo:
        @framework.hookimpl
        def remuda_register_models(self, register: RegisterModel) -> None:
            for number in range(100):
                register(f"m{number}", Path("m.gguf"))

    plugins.add(Zoo(), "zoo")
    told = remuda("plugins").stdout.splitlines()[-1].rstrip()
    assert told.endswith("model m0:latest, model m1:latest, model m2:latest, model m3:latest, and 96 more")
    assert "model m99:latest" in remuda("plugins", "zoo").stdout


def test_one_plugin(remuda: Remuda, plugins: Plugins) -> None:
    plugins.add(Good(), "good", distribution="remuda-good", version="1.2")
    *lines, load = remuda("plugins", "good").stdout.splitlines()
    assert lines == [
        "name:      good",
        "from:      remuda-good 1.2",
        "hooks:     remuda_register_backends, remuda_register_models",
        "provides:  backend steam, model haiku:tiny",
    ]
    assert re.fullmatch(r"loaded in: 0\.\d{3} s", load)


def test_a_broken_one_shows_its_traceback(remuda: Remuda, plugins: Plugins) -> None:
    plugins.add(Bad(), "bad")
    page = remuda("plugins", "bad").stdout
    assert "Traceback (most recent call last):" in page
    assert "RuntimeError: boiler burst" in page


def test_one_that_breaks_while_it_adds_commands(remuda: Remuda, plugins: Plugins) -> None:
    plugins.add(Commanding(), "commanding")
    assert "BROKEN" in remuda("plugins").stdout


@pytest.mark.parametrize(("names", "known"), [(["good"], "good"), ([], "none")])
def test_an_unknown_name(remuda: Remuda, plugins: Plugins, names: list[str], known: str) -> None:
    for name in names:
        plugins.add(Good(), name)
    result = remuda("plugins", "nope")
    assert (result.exit_code, result.stderr) == (1, f"Error: no plugin is named 'nope'; there are: {known}\n")


def test_with_the_costs_of_a_running_server(
    remuda: Remuda, plugins: Plugins, scripted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noisy:
        @framework.hookimpl
        def remuda_priority(self) -> int:
            raise RuntimeError("no idea")

    theirs = Plugins()
    theirs.add(ScriptedPlugin(), "scripted")
    theirs.add(Noisy(), "noisy")
    plugins.add(Noisy(), "noisy")
    plugins.add(Good(), "good")
    with LiveServer(scripted(m=Script()), theirs) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        for _ in range(2):
            theirs.priority(framework.Asking(request_id="", endpoint="", model="", address="", key=""))
        rows = [line.split() for line in remuda("plugins").stdout.splitlines()]
        card = remuda("plugins", "noisy").stdout.splitlines()
    assert rows[0] == ["NAME", "FROM", "CALLS", "FAULTS", "SECONDS", "PROVIDES"]
    assert rows[1][:4] == ["noisy", "-", "2", "2"]
    assert rows[2][:5] == ["good", "-", "-", "-", "-"]
    start = card.index("In the running server:")
    assert card[start + 2].split() == ["NAME", "CALLS", "FAULTS", "DROPPED", "SECONDS", "STATE"]
    assert card[start + 3].split()[:4] == ["remuda_priority", "2", "2", "0"]
    assert "RuntimeError: no idea; Fix: repair or uninstall the plugin" in card


def test_json(remuda: Remuda, plugins: Plugins) -> None:
    plugins.add(Good(), "good", distribution="remuda-good", version="1.2")
    plugins.add(Bad(), "bad")
    [good, bad] = json.loads(remuda("plugins", "--json").stdout)["plugins"]
    assert (good["name"], good["provides"], good["fault"]) == ("good", ["backend steam", "model haiku:tiny"], "")
    assert bad["fault"] == "RuntimeError: boiler burst; Fix: repair or uninstall the plugin"
    assert [each["name"] for each in json.loads(remuda("plugins", "bad", "--json").stdout)["plugins"]] == ["bad"]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command line with the plugins that are installed and configured, in a folder with one that is a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugs").mkdir()
    (tmp_path / "plugs" / "whistling.py").write_text(WHISTLING)
    return lambda *args: CliRunner().invoke(make_cli(), args)


WHISTLING = """
import click, msgspec, remuda

class Settings(msgspec.Struct):
    sound: str = "toot"

@remuda.hookimpl
def remuda_configure(settings):
    global SETTINGS
    SETTINGS = settings(Settings)

@remuda.hookimpl
def remuda_register_commands(cli):
    cli.command("whistle")(lambda: click.echo(SETTINGS.sound))
"""


def test_every_command_finds_the_same_plugins(real: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("remuda.toml").write_text(
        "[plugins]\ndir = 'plugs'\ndisable = ['demo']\n[plugins.settings.whistling]\nsound = 'hoo'\n"
    )
    table = real("plugins").stdout
    assert re.search(r"^whistling +whistling.py +remuda_configure, remuda_register_commands *$", table, re.MULTILINE)
    assert re.search(r"^demo +remuda \S+ +disabled *$", table, re.MULTILINE)
    assert real("whistle").stdout == "hoo\n"
    assert "whistle" in real("--help").stdout
    Path("remuda.toml").unlink()
    assert "whistling" not in real("plugins").stdout
    assert "whistling" in real("plugins", "--plugins-dir", "plugs").stdout
    monkeypatch.setenv("REMUDA_PLUGINS_DIR", "plugs")
    assert real("whistle").stdout == "toot\n"


def test_help_works_with_a_broken_configuration(real: Callable[..., Any]) -> None:
    Path("remuda.toml").write_text("[plugins]\ndir = 'plugs'\n[plugins.settings.whistling]\nsuond = 'hoo'\n")
    message = "plugins.settings.whistling.suond is not a setting: is plugins.settings.whistling.sound meant?"
    message += " (file remuda.toml)"
    shown = real("--help")
    assert (shown.exit_code, "List the models" in shown.stdout) == (0, True)
    assert shown.stderr == f"Warning: commands of plugins are not listed: {message}\n"
    for command in (["whistle"], ["plugins"], ["config", "--check"], ["serve", "--port", "0"]):
        refused = real(*command)
        assert refused.exit_code == 1
        assert refused.stderr.splitlines()[-1] == f"Error: {message}"
    named = real("serve", "--port", "0", "--plugins-dir", "none")
    assert named.stderr.splitlines()[-1].endswith("(--plugins-dir)")
