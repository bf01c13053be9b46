"""A plugin that holds up the event loop is found out, by name and line; nobody else is blamed."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace

import httpx
import pytest

from remuda.config import Config, PluginsConfig
from remuda.plugins import load_plugins
from remuda.plugins.places import culprit, place_of
from remuda.registry import Offer, Registry
from remuda.server.standstill import Standstill
from remuda.testing import LiveServer

pytestmark = pytest.mark.anyio
SLEEPS = """
import time, remuda

class Model(remuda.Converses):
    context, alive = 100, True

    async def close(self):
        pass

    async def converse(self, job):
        time.sleep(1.0)
        yield remuda.Text("at last")
        yield remuda.Done(reason="stop")

class Sleepers(remuda.Backend):
    formats, converses = frozenset({"sleeps"}), True

    async def load(self, model, wish):
        return Model()

@remuda.hookimpl
def remuda_register_backends(register):
    register("sleepers", Sleepers)

@remuda.hookimpl
def remuda_register_models(register):
    register("sleepy", format="sleeps")
"""
FILTER = """
import remuda
from contextlib import aclosing

class Innocent:
    async def wrap(self, job, proceed):
        async with aclosing(proceed(job)) as events:
            async for event in events:
                yield event

@remuda.hookimpl
def remuda_register_filters(register):
    register("innocent", Innocent)
"""


def test_whoever_blocks_is_named_with_the_line_and_the_fix(tmp_path: Path) -> None:
    (tmp_path / "blocking_sleepers.py").write_text(SLEEPS)
    (tmp_path / "innocent_filter.py").write_text(FILTER)
    config = Config(plugins=PluginsConfig(dir=str(tmp_path), budget=0.2))
    with LiveServer(config, load_plugins(config=config)) as server:
        body = {"model": "sleepy", "messages": [{"role": "user", "content": "?"}], "stream": False}
        reply = httpx.post(f"{server.url}/api/chat", json=body, timeout=20)
        assert reply.json()["message"]["content"] == "at last"
        told = {each["name"]: each["fault"] for each in httpx.get(f"{server.url}/api/plugins").json()["plugins"]}
    assert told["blocking_sleepers"].startswith(
        "converse (blocking_sleepers.py, line 11) has held up the event loop for "
    )
    assert told["blocking_sleepers"].endswith("Fix: do slow work in a thread: anyio.to_thread.run_sync")
    assert [name for name, fault in told.items() if fault] == ["blocking_sleepers"]


def test_nothing_is_watched_where_all_plugins_are_remudas_own() -> None:
    before = set(threading.enumerate())
    with LiveServer(Config(), load_plugins([])):
        assert "remuda-standstill" not in {thread.name for thread in set(threading.enumerate()) - before}


async def test_whoever_forgets_to_stop_it_leaves_no_thread_behind() -> None:
    plugins = load_plugins([], [("somebody", SimpleNamespace())], config=Config(plugins=PluginsConfig(budget=0.05)))

    async def start() -> threading.Thread:
        before = set(threading.enumerate())
        Standstill(plugins).start()
        [thread] = [each for each in set(threading.enumerate()) - before if each.name == "remuda-standstill"]
        return thread

    def live() -> threading.Thread:
        return asyncio.run(start())

    thread = await asyncio.to_thread(live)
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


def test_what_remuda_does_for_a_plugin_is_not_the_plugins() -> None:
    registry: Registry[FrameType] = Registry("thing")
    registry.add(Offer("frame", sys._getframe, "", "mine"))
    here = {"other": "/nowhere", "mine": __file__}
    found = culprit(sys._getframe(), here)
    assert found is not None
    assert found[0] == "mine"
    assert "_is_not_the_plugins (test_standstill.py, line " in found[1]
    assert culprit(registry.get("frame"), here) is None, "called from here, but the frame is the registry's"
    assert culprit(None, here) is None


def test_where_a_plugin_lies() -> None:
    import msgspec

    assert place_of(msgspec) == str(Path(msgspec.__file__ or "").parent)
    assert place_of(SimpleNamespace()) == "", "an object of the standard library says nothing"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for name in ("blocking_sleepers", "innocent_filter"):
        sys.modules.pop(name, None)
