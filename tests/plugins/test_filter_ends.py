"""What is left of a request when a filter of it has ended: nothing, whatever the filter has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from remuda import BadRequest, Done, Event, Finished, Job, hookimpl
from remuda.config import Config
from remuda.plugins import Plugins, load_plugins
from remuda.testing import LiveServer, Script, ScriptedPlugin

MakeConfig = Callable[..., Config]
Proceed = Callable[[Job], AsyncGenerator[Event, None]]


class Pump:
    """Reads the answer in a task of its own, which it forgets."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.late: asyncio.Task[int]

    async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        leave = asyncio.Event()

        async def pump() -> None:
            async for event in proceed(job):
                queue.put_nowait(event)

        async def late() -> int:
            await leave.wait()
            return len([event async for event in proceed(job)])

        self.task, self.late = asyncio.create_task(pump()), asyncio.create_task(late())
        yield await queue.get()
        asyncio.get_running_loop().call_later(0.01, leave.set)
        raise BadRequest("enough")


def _plugins(made: Any) -> Plugins:
    register_one = hookimpl(lambda register: register("filter", lambda: made))
    strange = SimpleNamespace(remuda_register_filters=register_one)
    return load_plugins(extra=[("scripted", ScriptedPlugin()), ("strange", strange)])


def _ask(server: LiveServer) -> httpx.Response:
    body = {"model": "m", "prompt": "hi", "stream": False, "options": {"num_predict": -1}}
    return httpx.post(f"{server.url}/api/generate", json=body, timeout=20)


def test_what_it_reads_in_a_task_ends_with_the_request(scripted: MakeConfig) -> None:
    pump = Pump()
    script = Script(pieces=["a"], repeat=100_000, delay=0.005)
    with LiveServer(scripted(m=script), _plugins(pump)) as server:
        assert _ask(server).json() == {"error": "enough"}

        async def ended() -> int:
            await pump.task
            return await pump.late

        assert server.call(ended) == 0
        [model] = server.call(server.pipeline.ps).models
        assert model.running == 0


@pytest.mark.parametrize("last", [Finished(None, 1, 1), Finished(Done(reason="stop"), 1.5, 1)])  # type: ignore[arg-type]
def test_a_last_event_that_holds_nonsense_is_the_filters_fault(scripted: MakeConfig, last: Finished) -> None:
    class Wrong:
        async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
            yield last

    with LiveServer(scripted(m=Script()), _plugins(Wrong())) as server:
        reply = _ask(server)
    message = (
        "the filter 'filter' of plugin 'strange' failed: it yielded a Finished that holds something else than it must"
    )
    assert (reply.status_code, reply.json()) == (500, {"error": message})
