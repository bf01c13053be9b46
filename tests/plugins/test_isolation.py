"""One plugin hangs, raises or dawdles; the others, the event loop and the requests go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from msgspec import structs

from remuda import Receipt, hookimpl
from remuda.config import Config, PluginsConfig
from remuda.model import ModelEntry, parse_name
from remuda.model.entry import NO_WEIGHTS
from remuda.plugins import Plugins, load_plugins
from remuda.plugins.observer import MOST
from remuda.testing import LiveServer, Script, ScriptedPlugin

from .conftest import Clock

Install = Callable[..., Any]
MakeConfig = Callable[..., Config]

SHORT = PluginsConfig(start_timeout=0.4, budget=0.4, faults=2, cooldown=60.0)
ENTRY = ModelEntry(name=parse_name("m"), weights=NO_WEIGHTS)
RECEIPT = Receipt(request_id="r", endpoint="/api/generate", model="m")

HEAD = "import remuda\nfrom strangers_gate import gate\n"


class _Odd:
    @hookimpl
    def remuda_register_parsers(self, register: Any) -> None:
        register("odd", dict)


def _hanging(hook: str, arguments: str = "") -> str:
    return f"{HEAD}@remuda.hookimpl\ndef {hook}({arguments}):\n    gate.wait()\n"


def _ask(server: LiveServer, **fields: Any) -> httpx.Response:
    body = {"model": "m", "prompt": "hi", "stream": False, **fields}
    return httpx.post(f"{server.url}/api/generate", json=body, timeout=20)


GIVEN_UP = "took more than 0.4 s to start and was given up"
LIFESPAN = """
from contextlib import asynccontextmanager
import asyncio, remuda

@remuda.hookimpl
@asynccontextmanager
async def remuda_lifespan(app):
    await asyncio.sleep(60)
    yield
"""
MAKER = HEAD + "@remuda.hookimpl\ndef remuda_register_routes(register):\n    register(lambda pipeline: gate.wait())\n"
AT_START = {
    "importing": (HEAD + "gate.wait()\n", f"the plugin 'importing' {GIVEN_UP}"),
    "maker": (MAKER, f"the plugin 'maker' {GIVEN_UP}"),
    "entering": (LIFESPAN, "its remuda_lifespan took more than 0.4 s to enter"),
    **{
        hook: (_hanging(hook), f"{hook} took more than 0.4 s and was given up")
        for hook in ("remuda_configure", "remuda_register_backends", "remuda_register_routes", "remuda_lifespan")
    },
}


def test_those_that_hang_at_the_start_are_given_up_and_all_else_goes_on(install: Install, scripted: MakeConfig) -> None:
    config = structs.replace(scripted(m=Script(pieces=["yes"])), plugins=SHORT)
    points = [install(name, code) for name, (code, _) in AT_START.items()]
    plugins = load_plugins(points, config=config)
    for name, good in {"odd": _Odd(), "scripted": ScriptedPlugin()}.items():
        plugins.add(good, name, distribution="remuda")
    with LiveServer(config, plugins) as server:
        assert _ask(server).json()["response"] == "yes"
        told = {each["name"]: each["fault"] for each in httpx.get(f"{server.url}/api/plugins").json()["plugins"]}
    faults = {info.name: info.fault for info in plugins.describe()}
    for name, (_, message) in AT_START.items():
        first, fix = faults[name].splitlines()
        assert (first, fix.startswith("Fix: do slow work ")) == (message, True)
        assert told[name] == f"{first}; {fix}"
    assert told["scripted"] == ""
    assert told["odd"].endswith(
        "the parser 'odd' of plugin 'odd' is a dict and no remuda.ParserKind: its factory must return one; "
        "Fix: repair or uninstall the plugin"
    )
    assert plugins.backends.names() == ["scripted"]


def test_commands_that_hang_are_given_up(install: Install) -> None:
    import click

    plugins = load_plugins([install("bad", _hanging("remuda_register_commands"))], config=Config(plugins=SHORT))
    plugins.register_commands(click.Group())
    assert "remuda_register_commands took more than 0.4 s" in plugins.describe()[0].fault


ANSWERS: dict[str, Callable[[Plugins], Any]] = {
    "remuda_select_backend": lambda plugins: plugins.select_backend(ENTRY),
    "remuda_priority": lambda plugins: plugins.priority(Any),  # type: ignore[arg-type]
    "remuda_keep_alive": lambda plugins: plugins.keep_alive(Any),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("hook", ANSWERS)
def test_a_question_that_is_not_answered_goes_to_the_next_plugin(
    install: Install, gate: threading.Event, hook: str
) -> None:
    answer = "mine" if hook == "remuda_select_backend" else 7
    plugins = Plugins(Config(plugins=SHORT))
    plugins.add(SimpleNamespace(**{hook: hookimpl(lambda: answer)}), "good", distribution="remuda")
    plugins.load(install("bad", _hanging(hook)).load, "bad")
    ask = ANSWERS[hook]
    began = time.monotonic()
    assert ask(plugins) == answer
    assert 0.4 <= time.monotonic() - began < 5
    began = time.monotonic()
    assert [ask(plugins) for _ in range(20)] == [answer] * 20
    assert time.monotonic() - began < 0.4 * 20
    bad = next(each for each in plugins.states() if each.name == "bad")
    assert (bad.hooks[0].calls, bad.hooks[0].faults, bad.hooks[0].dropped, bad.hooks[0].state) == (1, 1, 20, "stuck")
    assert f"{hook} took more than 0.4 s (plugins.budget)" in bad.fault
    assert bad.fault.endswith("Fix: do slow work elsewhere")


def test_a_hook_that_fails_again_and_again_is_left_alone_and_tried_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    class Bad:
        @hookimpl
        def remuda_select_backend(self) -> str:
            asked.append(1)
            if len(asked) < 3:
                raise ValueError("no idea")
            return "mine"

    plugins = Plugins(Config(plugins=PluginsConfig(faults=2, cooldown=60.0, budget=60.0)))
    plugins.add(Bad(), "bad")
    assert [plugins.select_backend(ENTRY) for _ in range(10)] == [None] * 10
    assert len(asked) == 2
    assert (
        "plugin 'bad': remuda_select_backend failed 2 times in a row and is left alone for 60 s; "
        "the last time: ValueError: no idea" in caplog.messages
    )
    clock.now += 60
    assert plugins.states()[0].hooks[0].state == "trying"
    assert [plugins.select_backend(ENTRY) for _ in range(2)] == ["mine"] * 2


class _Observer:
    def __init__(self, gate: threading.Event | None = None) -> None:
        self.gate, self.seen, self.began = gate, list[str](), threading.Event()

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.began.set()
        if self.gate is not None:
            self.gate.wait()
        self.seen.append(receipt.request_id)


def test_an_observer_that_sleeps_delays_nobody(
    scripted: MakeConfig, plugins: Plugins, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    sleeper, awake = _Observer(gate), _Observer()
    plugins.add(sleeper, "sleeper")
    plugins.add(awake, "awake")
    with LiveServer(scripted(m=Script(pieces=["yes"])), plugins) as server:
        for _ in range(3):
            assert _ask(server).json()["response"] == "yes"
        assert sleeper.began.wait(10)
        assert sleeper.seen == []
        gate.set()
    assert sleeper.seen == awake.seen
    assert len(awake.seen) == 3


def test_an_observer_that_hangs_is_told_while_it_does(gate: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    plugins, sleeper = Plugins(Config(plugins=PluginsConfig(budget=0.05))), _Observer(gate)
    plugin = plugins.add(sleeper, "sleeper")
    plugins.request_finished(RECEIPT)
    assert sleeper.began.wait(10)
    while plugins.states()[0].hooks[0].state != "stuck":
        time.sleep(0.01)
    told = "remuda_request_finished takes more than 0.05 s (plugins.budget) and holds up its next receipts"
    assert plugin.fault == f"{told}\nFix: do slow work elsewhere"
    plugins.request_finished(RECEIPT)
    assert len(caplog.messages) == 1
    gate.set()
    assert plugins.settle(10)
    assert plugins.states()[0].hooks[0].state == "working"


def test_what_waits_for_an_observer_is_bounded_and_the_newest_dropped(
    gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    plugins, sleeper = Plugins(Config(plugins=PluginsConfig(budget=60))), _Observer(gate)
    plugins.add(sleeper, "sleeper")
    plugins.request_finished(RECEIPT)
    assert sleeper.began.wait(10)
    for number in range(MOST + 5):
        plugins.request_finished(structs.replace(RECEIPT, request_id=str(number)))
    assert plugins.settle(0.01) is False
    [message] = caplog.messages
    assert message.startswith("plugin 'sleeper': 1000 receipts wait for remuda_request_finished, and more are dropped.")
    gate.set()
    assert plugins.settle(30)
    assert sleeper.seen == ["r", *map(str, range(MOST))]
    assert plugins.states()[0].hooks[0].dropped == 5


def test_an_observer_that_takes_too_long_or_raises_is_left_alone() -> None:
    class Slow:
        @hookimpl
        def remuda_request_finished(self, receipt: Receipt) -> None:
            time.sleep(0.02)

    class Bad:
        @hookimpl
        def remuda_request_finished(self, receipt: Receipt) -> None:
            raise ValueError("no")

    plugins = Plugins(Config(plugins=PluginsConfig(budget=0.01, faults=2)))
    slow, bad = plugins.add(Slow(), "slow"), plugins.add(Bad(), "bad")
    for _ in range(5):
        plugins.request_finished(RECEIPT)
    assert plugins.settle(10)
    costs = [each.hooks[0] for each in plugins.states()]
    assert [(cost.calls, cost.faults, cost.dropped, cost.state) for cost in costs] == [(2, 2, 3, "resting")] * 2
    assert "and plugins.budget is 0.01 s\nFix: do slow work elsewhere" in slow.fault
    assert "ValueError: no" in bad.fault


def test_the_end_does_not_wait_long_for_an_observer_that_hangs(
    scripted: MakeConfig, plugins: Plugins, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remuda.pipeline.account._FAREWELL", 0.05)
    plugins.add(_Observer(gate), "sleeper")
    with LiveServer(scripted(m=Script(pieces=["yes"])), plugins) as server:
        assert _ask(server).status_code == 200
