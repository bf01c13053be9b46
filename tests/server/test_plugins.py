"""What plugins bring to the server: blueprints and lifespans. One that fails is reported and does no other harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quart import Blueprint

from remuda import hookimpl
from remuda.config import Config
from remuda.plugins import Plugins
from remuda.server import create_app
from remuda.testing.server import LiveServer


def with_routes(*makers: Any) -> Plugins:
    class Plugin:
        @hookimpl
        def remuda_register_routes(self, register: Any) -> None:
            for make in makers:
                register(make)

    plugins = Plugins()
    plugins.add(Plugin(), "dialect")
    return plugins


def dialect(pipeline: Any) -> Blueprint:
    routes = Blueprint("dialect", __name__)

    @routes.get("/dialect")
    async def hello() -> Any:
        return {"models": len((await pipeline.tags()).models)}

    @routes.get("/broken")
    async def broken() -> Any:
        raise KeyError("secret")

    return routes


def broken(_pipeline: Any) -> Blueprint:
    raise ValueError("this maker is broken")


def test_blueprint_is_made_with_the_pipeline(make_rig: Any) -> None:
    rig = make_rig(with_routes(dialect))
    assert rig.http.get("/dialect").json() == {"models": 0}
    reply = rig.http.get("/broken")
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert rig.http.get("/dialect", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("bad", [broken, lambda _: None, dialect])
def test_bad_maker_is_reported_and_skipped(make_rig: Any, bad: Any) -> None:
    plugins = with_routes(dialect, bad)
    rig = make_rig(plugins)
    assert rig.http.get("/dialect").status_code == 200
    (plugin,) = plugins.describe()
    assert "Traceback" in plugin.fault
    assert plugin.fault.splitlines()[-1].startswith("Fix: ")
    rig.assert_alive()


def test_lifespans_are_entered_and_left_whatever_others_do(make_rig: Any) -> None:
    seen: list[str] = []

    def plugin(name: str, enter: bool = True, leave: bool = True) -> Any:
        class Plugin:
            @hookimpl
            @asynccontextmanager
            async def remuda_lifespan(self, app: Any) -> AsyncGenerator[None, None]:
                seen.append(f"enter {name} {app.config.server.host}")
                if not enter:
                    raise ValueError("cannot enter")
                yield
                seen.append(f"leave {name}")
                if not leave:
                    raise ValueError("cannot leave")

        return Plugin()

    plugins = Plugins()
    plugins.add(plugin("a"), "a")
    plugins.add(plugin("b", enter=False), "b")
    plugins.add(plugin("c", leave=False), "c")
    rig = make_rig(plugins)
    assert seen == ["enter c 127.0.0.1", "enter b 127.0.0.1", "enter a 127.0.0.1"]
    rig.assert_alive()
    rig.server.stop()
    assert seen[3:] == ["leave a", "leave c"]
    faults = {each.name: each.fault for each in plugins.describe()}
    assert faults["a"] == ""
    assert "cannot enter" in faults["b"]
    assert "cannot leave" in faults["c"]


def test_models_are_unloaded_before_lifespans_are_left(make_rig: Any) -> None:
    seen: list[int] = []

    class Plugin:
        @hookimpl
        @asynccontextmanager
        async def remuda_lifespan(self) -> AsyncGenerator[None, None]:
            yield
            seen.append(rig.standin.closed)

    plugins = Plugins()
    plugins.add(Plugin(), "late")
    rig = make_rig(plugins)
    rig.server.stop()
    assert seen == [1]


def test_apps_share_nothing() -> None:
    first, second = (create_app(Config(), Plugins()) for _ in range(2))
    first.drain.begin()
    assert not second.drain.draining
    assert first.pipeline is not second.pipeline


def test_lifespan_under_any_asgi_server(no_blocking: None) -> None:
    seen: list[str] = []

    class Plugin:
        @hookimpl
        @asynccontextmanager
        async def remuda_lifespan(self) -> AsyncGenerator[None, None]:
            seen.append("enter")
            yield
            seen.append("leave")

    plugins = Plugins()
    plugins.add(Plugin(), "one")
    app = create_app(Config(), plugins)
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        seen.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert seen == ["enter", "lifespan.startup.complete", "leave", "lifespan.shutdown.complete"]
    assert app.drain.draining


def test_live_server_raises_what_kept_it_from_starting() -> None:
    server = LiveServer()

    async def startup() -> None:
        raise RuntimeError("no")

    server.app.startup = startup  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no"):
        server.start()


def test_live_server_calls_on_its_own_loop(make_rig: Any) -> None:
    rig = make_rig()

    async def loop() -> Any:
        return asyncio.get_running_loop()

    assert rig.server.call(loop) is rig.server.call(loop)
