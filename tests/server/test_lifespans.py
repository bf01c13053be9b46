"""Lifespans of plugins that do what none should: the server starts, serves and ends, and the fault is told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from remuda import hookimpl
from remuda.config import Config, PluginsConfig
from remuda.plugins import Plugin, Plugins

SHORT = Config(plugins=PluginsConfig(start_timeout=0.4))


class Panic(BaseException):
    pass


def added(plugins: Plugins, lifespan: Any) -> Plugin:
    class Strange:
        @hookimpl
        def remuda_lifespan(self, app: Any) -> Any:
            return lifespan(app)

    return plugins.add(Strange(), "strange")


class FailsAtOnce:
    """Its methods are no coroutines."""

    def __init__(self, _app: Any) -> None:
        pass

    def __aenter__(self) -> Any:
        raise ValueError("at once")

    def __aexit__(self, *_: object) -> Any:
        raise AssertionError


@asynccontextmanager
async def exits(_app: Any) -> AsyncGenerator[None, None]:
    sys.exit(3)
    yield


@asynccontextmanager
async def panics(_app: Any) -> AsyncGenerator[None, None]:
    raise Panic("within")
    yield


@asynccontextmanager
async def cancels(_app: Any) -> AsyncGenerator[None, None]:
    raise asyncio.CancelledError
    yield


@pytest.mark.parametrize(
    ("lifespan", "message"),
    [(FailsAtOnce, "at once"), (exits, "SystemExit: 3"), (panics, "Panic: within"), (cancels, "CancelledError")],
)
def test_one_that_cannot_be_entered_is_told_and_the_server_starts(make_rig: Any, lifespan: Any, message: str) -> None:
    plugins = Plugins()
    plugin = added(plugins, lifespan)
    make_rig(plugins).assert_alive()
    assert message in plugin.fault
    assert plugin.fault.endswith("\nFix: repair its remuda_lifespan")


@pytest.mark.parametrize("error", [SystemExit(3), Panic("late"), ValueError("late"), asyncio.CancelledError()])
def test_one_that_cannot_be_left_is_told_and_the_others_are_left(make_rig: Any, error: BaseException) -> None:
    seen: list[str] = []

    class Good:
        @hookimpl
        @asynccontextmanager
        async def remuda_lifespan(self) -> AsyncGenerator[None, None]:
            yield
            seen.append("left")

    @asynccontextmanager
    async def bad(_app: Any) -> AsyncGenerator[None, None]:
        yield
        raise error

    plugins = Plugins()
    plugins.add(Good(), "good")
    plugin = added(plugins, bad)
    make_rig(plugins).server.stop()
    assert seen == ["left"]
    assert type(error).__name__ in plugin.fault


@pytest.mark.parametrize("kind", ["anyio", "asyncio"])
def test_a_task_group_that_fails_is_not_the_servers(make_rig: Any, kind: str) -> None:
    over = []

    async def work(again: asyncio.Event) -> None:
        await again.wait()
        raise ValueError("in the background")

    @asynccontextmanager
    async def busy(app: Any) -> AsyncGenerator[None, None]:
        app.again = asyncio.Event()
        try:
            if kind == "anyio":
                async with anyio.create_task_group() as group:
                    group.start_soon(work, app.again)
                    yield
            else:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(work(app.again))
                    yield
        finally:
            over.append(asyncio.current_task())

    plugins = Plugins()
    plugin = added(plugins, busy)
    rig = make_rig(plugins)

    async def fail() -> None:
        rig.server.app.again.set()
        while not over:
            await asyncio.sleep(0)

    rig.server.call(fail)
    rig.assert_alive()
    rig.server.stop()
    assert "in the background" in plugin.fault
    assert plugin.fault.endswith("\nFix: repair its remuda_lifespan")


def test_one_that_does_not_let_itself_be_cancelled_is_left_behind(
    make_rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remuda.server.lifespans._LEAVING", 0.1)
    ends: list[asyncio.Event] = []

    async def hang() -> None:
        ends.append(asyncio.Event())
        for _ in range(2):  # the end of the loop is the second to cancel it
            try:
                await ends[-1].wait()
                return
            except asyncio.CancelledError:
                continue

    @asynccontextmanager
    async def enters_late(_app: Any) -> AsyncGenerator[None, None]:
        await hang()
        yield

    @asynccontextmanager
    async def leaves_late(_app: Any) -> AsyncGenerator[None, None]:
        yield
        await hang()

    class Late:
        def __init__(self, lifespan: Any) -> None:
            self.lifespan = lifespan

        @hookimpl
        def remuda_lifespan(self, app: Any) -> Any:
            return self.lifespan(app)

    plugins = Plugins(SHORT)
    entering = plugins.add(Late(enters_late), "entering")
    leaving = plugins.add(Late(leaves_late), "leaving")
    rig = make_rig(plugins)
    rig.assert_alive()
    assert entering.fault.startswith("its remuda_lifespan took more than 0.4 s to enter\nFix: ")

    async def shutdown() -> None:
        await rig.server.app.shutdown()
        for end in ends:  # so that the loop can end
            end.set()

    rig.server.call(shutdown)
    assert leaving.fault.startswith("its remuda_lifespan took more than 0.1 s to leave\nFix: ")
