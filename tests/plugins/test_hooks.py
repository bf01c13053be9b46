"""Each hook, called the way a server calls it. A test here is named after each of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from remuda import ModelEntry, Receipt, hookimpl
from remuda.hookspecs import RegisterFactory, RegisterModel, RegisterRoutes
from remuda.model import parse_name
from remuda.plugins import Plugins

ENTRY = ModelEntry(name=parse_name("m"), weights=Path("w"))


class _Every:
    """A plugin that implements every hook."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.alive = False

    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        register("mine", dict, hint="pip install mine")

    @hookimpl
    def remuda_register_models(self, register: RegisterModel) -> None:
        register("mine:1", Path("weights.gguf"), backend="mine")

    @hookimpl
    def remuda_register_templates(self, register: RegisterFactory) -> None:
        register("mine", dict)

    @hookimpl
    def remuda_register_formats(self, register: RegisterFactory) -> None:
        register("mine", dict)

    @hookimpl
    def remuda_register_parsers(self, register: RegisterFactory) -> None:
        register("mine", dict)

    @hookimpl
    def remuda_register_filters(self, register: RegisterFactory) -> None:
        register("mine", dict)

    @hookimpl
    def remuda_select_backend(self, model: ModelEntry) -> str | None:
        return "mine" if model is ENTRY else None

    @hookimpl
    def remuda_register_routes(self, register: RegisterRoutes) -> None:
        register(lambda pipeline: ("blueprint", pipeline))

    @hookimpl
    def remuda_register_commands(self, cli: click.Group) -> None:
        cli.command("mine")(lambda: None)

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    @hookimpl
    def remuda_lifespan(self, app: Any) -> Any:
        @asynccontextmanager
        async def live() -> AsyncGenerator[None, None]:
            self.alive = True
            yield
            self.alive = False

        return live()


@pytest.fixture
def plugin() -> _Every:
    return _Every()


@pytest.fixture
def plugins(plugin: _Every) -> Plugins:
    made = Plugins()
    assert made.add(plugin, "every").fault == ""
    return made


def test_remuda_register_backends(plugins: Plugins) -> None:
    [offer] = plugins.backends.offers()
    assert (offer.name, offer.hint, offer.source) == ("mine", "pip install mine", "every")


def test_remuda_register_models(plugins: Plugins) -> None:
    [entry] = plugins.models.values()
    assert (str(entry.name), entry.backend, entry.source) == ("mine:1", "mine", "every")


def test_remuda_register_templates(plugins: Plugins) -> None:
    assert plugins.templates.names() == ["mine"]


def test_remuda_register_formats(plugins: Plugins) -> None:
    assert plugins.formats.names() == ["mine"]


def test_remuda_register_parsers(plugins: Plugins) -> None:
    assert plugins.parsers.names() == ["mine"]


def test_remuda_register_filters(plugins: Plugins) -> None:
    assert plugins.filters.names() == ["mine"]


def test_remuda_select_backend(plugins: Plugins) -> None:
    other = ModelEntry(name=parse_name("other"), weights=Path("w"))
    assert plugins.select_backend(ENTRY) == "mine"
    assert plugins.select_backend(other) is None


def test_remuda_register_routes(plugins: Plugins) -> None:
    [(name, make)] = plugins.routes()
    assert name == "every"
    assert make("pipeline") == ("blueprint", "pipeline")


def test_remuda_register_commands(plugins: Plugins) -> None:
    cli = click.Group()
    plugins.register_commands(cli)
    assert "mine" in cli.commands


def test_remuda_request_finished(plugins: Plugins, plugin: _Every) -> None:
    receipt = Receipt(request_id="r", endpoint="/api/generate", model="m")
    plugins.request_finished(receipt)
    assert plugin.receipts == [receipt]


@pytest.mark.anyio
async def test_remuda_lifespan(plugins: Plugins, plugin: _Every) -> None:
    [(name, manager)] = plugins.lifespans(object())
    assert name == "every"
    async with manager:
        assert plugin.alive
    assert not plugin.alive


@pytest.mark.parametrize(
    ("hook", "wrong", "call"),
    [
        ("remuda_select_backend", lambda model: 3, lambda plugins: plugins.select_backend(ENTRY)),
        ("remuda_lifespan", lambda app: "no", lambda plugins: plugins.lifespans(None)),
    ],
)
def test_a_hook_that_returns_the_wrong_type_is_told(hook: str, wrong: Any, call: Callable[[Plugins], Any]) -> None:
    plugins = Plugins()
    info = plugins.add(type("P", (), {hook: staticmethod(hookimpl(wrong))})(), "wrong")
    assert not call(plugins)
    assert "Fix: return" in info.fault
