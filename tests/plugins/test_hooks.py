"""Each hook, called the way a server calls it. A test here is named after each of them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec import Struct, structs

from remuda import ModelEntry, Receipt, hookimpl
from remuda.config import Config, PluginsConfig
from remuda.hookspecs import Asking, ReadSettings, RegisterFactory, RegisterModel, RegisterRoutes, Usage
from remuda.model import parse_name
from remuda.plugins import Plugins

ENTRY = ModelEntry(name=parse_name("m"), weights=Path("w"))
USAGE = Usage(model="m:latest", policy="mine", asked=None, default=300.0)
ASKING = Asking(request_id="r", endpoint="/api/chat", model="m", address="192.0.2.7", key="0123456789abcdef")
RECEIPT = Receipt(request_id="r", endpoint="/api/generate", model="m")


class Steam(Struct, frozen=True):
    pressure: float = 8.0


class _Every:
    """A plugin that implements every hook."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.alive = False
        self.called: list[str] = []
        self.steam = Steam()

    @hookimpl
    def remuda_configure(self, settings: ReadSettings) -> None:
        self.called.append("configure")
        self.steam = settings(Steam)

    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        self.called.append("backends")
        register("mine", dict, hint="pip install mine")

    @hookimpl
    def remuda_register_models(self, register: RegisterModel) -> None:
        register("mine:1", Path("weights.bin"), format="ggml", model_type="gpt-j", backend="mine")

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
    def remuda_keep_alive(self, usage: Usage) -> float | None:
        return usage.default * 2 if usage.policy == "mine" else None

    @hookimpl
    def remuda_priority(self, asking: Asking) -> int | None:
        return 7 if asking.key == ASKING.key else None

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
    made = Plugins(Config(plugins=PluginsConfig(settings={"every": {"pressure": 9}})))
    assert made.add(plugin, "every").fault == ""
    return made


def test_remuda_configure(plugins: Plugins, plugin: _Every) -> None:
    assert plugin.steam == Steam(pressure=9.0)
    assert plugin.called == ["configure", "backends"]


def test_remuda_register_backends(plugins: Plugins) -> None:
    [offer] = plugins.backends.offers()
    assert (offer.name, offer.hint, offer.source) == ("mine", "pip install mine", "every")


def test_remuda_register_models(plugins: Plugins) -> None:
    [entry] = plugins.models.values()
    assert (str(entry.name), entry.backend, entry.source) == ("mine:1", "mine", "every")
    assert (entry.weights, entry.format, entry.model_type) == (Path("weights.bin"), "ggml", "gpt-j")


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


def test_remuda_keep_alive(plugins: Plugins) -> None:
    assert plugins.keep_alive(USAGE) == 600.0
    assert plugins.keep_alive(structs.replace(USAGE, policy="another")) is None


def test_remuda_priority(plugins: Plugins) -> None:
    assert plugins.priority(ASKING) == 7
    assert plugins.priority(structs.replace(ASKING, key="")) == 0


def test_remuda_register_routes(plugins: Plugins) -> None:
    [(name, make)] = plugins.routes()
    assert name == "every"
    assert make("pipeline") == ("blueprint", "pipeline")


def test_remuda_register_commands(plugins: Plugins) -> None:
    cli = click.Group()
    plugins.register_commands(cli)
    assert "mine" in cli.commands


def test_remuda_request_finished(plugins: Plugins, plugin: _Every) -> None:
    plugins.request_finished(RECEIPT)
    assert plugins.settle(10)
    assert plugin.receipts == [RECEIPT]


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
        *(
            ("remuda_keep_alive", lambda usage, value=value: value, lambda plugins: plugins.keep_alive(USAGE))
            for value in (True, "5m", -1, -0.1, -math.inf, math.nan, [300])
        ),
        *(
            ("remuda_priority", lambda asking, value=value: value, lambda plugins: plugins.priority(ASKING))
            for value in (True, "high", 1.0, math.nan, 1_000_001, -1_000_001, 10**5000)
        ),
    ],
)
def test_a_hook_that_returns_the_wrong_type_is_told(hook: str, wrong: Any, call: Callable[[Plugins], Any]) -> None:
    plugins = Plugins()
    info = plugins.add(_with(hook, wrong), "wrong")
    assert not call(plugins)
    assert f"{hook} returned " in info.fault
    assert "Fix: return" in info.fault


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(0, 0.0), (1.5, 1.5), (math.inf, math.inf), (1e300, math.inf), (10**5000, math.inf)],
    ids=["none", "fraction", "for ever", "very long", "longer than any float"],
)
def test_a_keep_alive_is_seconds(said: Any, seconds: float) -> None:
    plugins = Plugins()
    info = plugins.add(_with("remuda_keep_alive", lambda: said), "steady")
    kept = plugins.keep_alive(USAGE)
    assert (kept, type(kept), info.fault) == (seconds, float, "")


@pytest.mark.parametrize("urgency", [-1_000_000, 0, 1_000_000])
def test_a_priority_is_a_whole_number(urgency: int) -> None:
    plugins = Plugins()
    info = plugins.add(_with("remuda_priority", lambda: urgency), "steady")
    assert (plugins.priority(ASKING), info.fault) == (urgency, "")


def test_without_plugins_nobody_decides() -> None:
    assert Plugins().keep_alive(USAGE) is None
    assert Plugins().priority(ASKING) == 0


def _finish(plugins: Plugins) -> None:
    plugins.request_finished(RECEIPT)
    assert plugins.settle(10)


CALLS: dict[str, tuple[Any, Callable[[Plugins], Any]]] = {
    "remuda_select_backend": ("mine", lambda plugins: plugins.select_backend(ENTRY)),
    "remuda_keep_alive": (60.0, lambda plugins: plugins.keep_alive(USAGE)),
    "remuda_priority": (7, lambda plugins: plugins.priority(ASKING)),
    "remuda_request_finished": (None, _finish),
}


@pytest.mark.parametrize("hook", CALLS)
def test_one_that_always_fails_is_told_once_and_the_next_is_asked(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    good, call = CALLS[hook]
    asked: list[int] = []

    def fail() -> Any:
        asked.append(len(asked))
        raise RuntimeError(f"failure {len(asked)}")

    plugins = Plugins()
    plugins.add(_with(hook, lambda: good), "good")
    bad = plugins.add(_with(hook, fail), "bad")
    assert [call(plugins) for _ in range(3)] == [good] * 3
    assert asked == [0, 1, 2]
    assert "failure 1" in bad.fault
    assert "failure 2" not in bad.fault
    [record] = caplog.records
    assert "plugin 'bad'" in record.getMessage()


@pytest.mark.parametrize("hook", [hook for hook, (answer, _) in CALLS.items() if answer is not None])
def test_one_that_holds_up_the_event_loop_is_named_once(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    good, call = CALLS[hook]

    def linger() -> Any:
        end = time.monotonic() + 0.06
        while time.monotonic() < end:
            pass
        return good

    plugins = Plugins()
    slow = plugins.add(_with(hook, linger), "slow")
    assert [call(plugins) for _ in range(2)] == [good] * 2
    assert slow.fault == ""
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"plugin 'slow': {hook} took " in record.getMessage()


def test_one_that_is_quick_is_not_named(plugins: Plugins, caplog: pytest.LogCaptureFixture) -> None:
    for _, call in CALLS.values():
        call(plugins)
    assert not caplog.records


def _with(hook: str, function: Callable[..., Any]) -> object:
    """A plugin with nothing but this hook."""
    return type("P", (), {hook: staticmethod(hookimpl(function))})()
