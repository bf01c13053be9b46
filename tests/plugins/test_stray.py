"""What somebody's code raises and is no `Exception`: `sys.exit()`, a panic, a cancellation. A fault like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import httpx
import pytest

from remuda import Backend, Converses, Done, Event, Job, LoadWish, ModelEntry, Receipt, Text, hookimpl
from remuda.config import Config, PluginsConfig
from remuda.plugins import Plugins, load_plugins, stray
from remuda.testing import LiveServer


class Panic(BaseException):
    """As extension modules raise it."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "Panic": lambda: Panic("panicked"),
    "CancelledError": asyncio.CancelledError,
}


def _raise(name: str) -> None:
    raise ERRORS[name]()


class Bot(Converses):
    """Does what the last message says: `WHERE NAME` raises the error of that name there."""

    context = 4096
    alive = True

    async def converse(self, job: Job) -> AsyncGenerator[Text | Done, None]:
        yield Text("hello")
        where, _, name = job.messages[-1].content.partition(" ")
        if where == "backend":
            _raise(name)
        yield Done(reason="stop")

    async def close(self) -> None:
        pass


class Bots(Backend):
    formats = frozenset({"bot"})
    converses = True

    def __init__(self, _settings: object) -> None:
        pass

    async def load(self, model: ModelEntry, wish: LoadWish) -> Bot:
        if (name := model.name.model.partition("-")[2]) != "":
            _raise({each.lower(): each for each in ERRORS}[name])
        return Bot()

    async def close(self) -> None:
        raise SystemExit(3)


class Filters:
    async def wrap(
        self, job: Job, proceed: Callable[[Job], AsyncGenerator[Event, None]]
    ) -> AsyncGenerator[Event, None]:
        where, _, name = job.messages[-1].content.partition(" ")
        async for event in proceed(job):
            if where == "filter":
                _raise(name)
            if where == "task":
                task = asyncio.ensure_future(asyncio.sleep(60))
                task.cancel()
                await task
            yield event


class Strange:
    def __init__(self) -> None:
        self.receipts = 0

    @hookimpl
    def remuda_register_backends(self, register: Any) -> None:
        register("bots", Bots)

    @hookimpl
    def remuda_register_models(self, register: Any) -> None:
        for name in ("bot", *(f"bot-{each.lower()}" for each in ERRORS)):
            register(name, format="bot")

    @hookimpl
    def remuda_register_filters(self, register: Any) -> None:
        register("filters", Filters)

    @hookimpl
    def remuda_register_routes(self, register: Any) -> None:
        def make(_pipeline: object) -> object:
            from quart import Blueprint

            routes = Blueprint("strange", __name__)

            @routes.get("/strange/<name>")
            async def answer(name: str) -> Any:
                _raise(name)

            @routes.get("/stream/<name>")
            async def answer_bit_by_bit(name: str) -> Any:
                async def bits() -> AsyncGenerator[bytes, None]:
                    yield b"a"
                    _raise(name)

                return bits()

            return routes

        register(make)

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.receipts += 1
        raise Panic("panicked")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    config = Config(plugins=PluginsConfig(faults=1000))
    with LiveServer(config, load_plugins([], [("strange", Strange())], config=config)) as made:
        yield made


def _ask(server: LiveServer, said: str = "hi", model: str = "bot", **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": said}], "stream": False, **fields}
    return httpx.post(f"{server.url}/api/chat", json=body, timeout=20)


@pytest.mark.parametrize("name", ERRORS)
def test_it_fails_its_request_and_nothing_else(server: LiveServer, name: str) -> None:
    told = {
        f"filter {name}": f"the filter 'filters' of plugin 'strange' failed: it raised {name}",
        f"backend {name}": f"the backend 'bots' raised {name}; the server's log has the details",
    }
    for said, message in told.items():
        reply = _ask(server, said)
        assert (reply.status_code, reply.json()) == (500, {"error": message})
    lines = _ask(server, f"backend {name}", stream=True).text.splitlines()
    assert lines[-1] == f'{{"error":"{told[f"backend {name}"]}"}}'
    loading = _ask(server, model=f"bot-{name.lower()}")
    assert loading.json() == {"error": f"the backend 'bots' raised {name} while loading"}
    route = httpx.get(f"{server.url}/strange/{name}", timeout=20)
    assert (route.status_code, route.json()["error"].partition(";")[0]) == (500, "internal error")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{server.url}/stream/{name}", timeout=20)
    assert _ask(server).json()["message"]["content"] == "hello"


def test_a_task_of_its_own_that_was_cancelled_does_not_cancel_the_request(server: LiveServer) -> None:
    reply = _ask(server, "task")
    message = "the filter 'filters' of plugin 'strange' failed: it raised CancelledError"
    assert (reply.status_code, reply.json()) == (500, {"error": message})


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "Panic", "CancelledError", "GeneratorExit"])
@pytest.mark.parametrize("where", ["import", "hook"])
def test_one_that_raises_it_at_the_start_is_told_and_left_out(
    install: Callable[..., Any], where: str, name: str
) -> None:
    head = "from asyncio import CancelledError\nimport remuda\nclass Panic(BaseException): pass\n"
    hook = f"@remuda.hookimpl\ndef remuda_configure():\n    raise {name}('here')\n"
    bad = install("bad", head + (f"raise {name}('here')\n" if where == "import" else hook))
    plugins = load_plugins([bad], [("good", Strange())])
    told, good = plugins.describe()
    assert f"\nRuntimeError: it raised {name}: here\nFix: repair or uninstall " in told.fault
    assert good.fault == ""
    assert plugins.backends.names() == ["bots"]


def test_an_observer_goes_on() -> None:
    plugins, strange = Plugins(Config(plugins=PluginsConfig(faults=1000))), Strange()
    plugin = plugins.add(strange, "strange")
    for _ in range(3):
        plugins.request_finished(Receipt(request_id="r", endpoint="/", model="m"))
    assert plugins.settle(10)
    assert strange.receipts == 3
    assert "Panic: panicked\nFix: " in plugin.fault


async def _cancelled() -> bool:
    """What is said of a cancellation from outside."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as error:
        return stray(error)
    return True


async def _judged() -> tuple[bool, ...]:
    task = asyncio.ensure_future(_cancelled())
    await asyncio.sleep(0)
    task.cancel()
    own = asyncio.CancelledError()
    return await task, stray(own), stray(SystemExit()), stray(Panic()), stray(ValueError()), stray(GeneratorExit())


def test_what_it_is_and_is_not() -> None:
    assert asyncio.run(_judged()) == (False, True, True, True, False, False)
