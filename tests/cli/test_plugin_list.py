from __future__ import annotations

from pathlib import Path

import pytest

import remuda as framework
from remuda.hookspecs import RegisterFactory, RegisterModel
from remuda.plugins import Plugins

from .conftest import Remuda


class Good:
    @framework.hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        register("steam", "steam.engine:Steam")

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


def test_one_plugin(remuda: Remuda, plugins: Plugins) -> None:
    plugins.add(Good(), "good", distribution="remuda-good", version="1.2")
    assert remuda("plugins", "good").stdout == (
        "name:      good\n"
        "from:      remuda-good 1.2\n"
        "hooks:     remuda_register_backends, remuda_register_models\n"
        "provides:  backend steam, model haiku:tiny\n"
    )


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
