"""What plugins bring to the server: blueprints and lifespans. One that fails is reported and does no other harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from quart import Blueprint

from remuda import hookimpl
from remuda.config import Config, PluginsConfig
from remuda.plugins import Plugins, load_plugins
from remuda.server import create_app
from remuda.testing import Script, ScriptedPlugin
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
    assert plugin.fault.splitlines()[-1].startswith("Fix: ")
    rig.assert_alive()


def named(name: str, *routes: tuple[str, str]) -> Any:
    def make(_pipeline: Any) -> Blueprint:
        blueprint = Blueprint(name, __name__)

        async def hello() -> Any:
            return {"from": name}

        for method, path in routes:
            blueprint.add_url_rule(path, view_func=hello, methods=[method])
        return blueprint

    return make


@pytest.mark.parametrize(
    ("routes", "taken"),
    [
        ([("GET", "/api/tags")], "GET /api/tags"),
        ([("POST", "/api/chat")], "POST /api/chat"),
        ([("POST", "/api/blobs/<any>")], "POST /api/blobs/<>"),
        ([("GET", "/free"), ("GET", "/mine")], "GET /mine"),
    ],
)
def test_a_route_that_is_taken_is_told_and_its_blueprint_left_out(make_rig: Any, routes: Any, taken: str) -> None:
    plugins = with_routes(named("first", ("GET", "/mine")), named("second", *routes))
    rig = make_rig(plugins)
    [plugin] = plugins.describe()
    assert plugin.fault == f"its route {taken} is there already\nFix: give the plugin's routes paths of their own"
    assert rig.http.get("/mine").json() == {"from": "first"}
    assert rig.http.get("/free").status_code == 404
    rig.assert_alive()


def test_the_same_path_with_another_method_is_another_route(make_rig: Any) -> None:
    plugins = with_routes(named("first", ("GET", "/mine")), named("second", ("POST", "/mine")))
    rig = make_rig(plugins)
    assert plugins.describe()[0].fault == ""
    assert rig.http.post("/mine").json() == {"from": "second"}


def test_api_plugins(scripted: Any) -> None:
    plugins = load_plugins(
        extra=[("scripted", ScriptedPlugin())], config=Config(plugins=PluginsConfig(disable=("demo",)))
    )
    with LiveServer(scripted(m=Script()), plugins) as server:
        body = {"model": "m", "prompt": "hi", "stream": False}
        assert httpx.post(f"{server.url}/api/generate", json=body, timeout=20).status_code == 200
        assert httpx.head(f"{server.url}/api/plugins").status_code == 200
        told = {each["name"]: each for each in httpx.get(f"{server.url}/api/plugins").json()["plugins"]}
    assert list(told) == [info.name for info in plugins.describe()]
    assert told["demo"]["disabled"]
    assert told["scripted"]["provides"] == ["backend scripted"]
    assert told["scripted"]["load_seconds"] > 0
    keep_alive = told["keep_alive"]
    assert (keep_alive["distribution"], keep_alive["version"]) == ("remuda", version("remuda"))
    [hook] = keep_alive["hooks"]
    assert (hook["name"], hook["faults"], hook["dropped"], hook["state"]) == ("remuda_keep_alive", 0, 0, "working")
    assert hook["calls"] > 0
    assert hook["seconds"] > 0


def test_a_fault_is_told_without_traceback_and_paths(scripted: Any) -> None:
    class Broken:
        @hookimpl
        def remuda_register_parsers(self, register: Any) -> None:
            raise OSError("cannot read /home/me/secret.txt")

    plugins = Plugins()
    plugins.add(Broken(), "broken")
    [state] = plugins.states()
    assert state.fault == "OSError: cannot read the file; Fix: repair or uninstall the plugin"


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


def test_a_lifespan_that_hangs_at_the_end_keeps_nobody(make_rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Plugin:
        def __init__(self, seconds: float) -> None:
            self.seconds = seconds

        @hookimpl
        @asynccontextmanager
        async def remuda_lifespan(self) -> AsyncGenerator[None, None]:
            yield
            await asyncio.sleep(self.seconds)
            seen.append("left")

    monkeypatch.setattr("remuda.server.lifespans._LEAVING", 0.1)
    plugins = Plugins()
    quick, slow = plugins.add(Plugin(0.0), "quick"), plugins.add(Plugin(60.0), "slow")
    make_rig(plugins).server.stop()
    assert (seen, quick.fault) == (["left"], "")
    assert slow.fault.startswith("its remuda_lifespan took more than 0.1 s to leave\nFix: ")


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
