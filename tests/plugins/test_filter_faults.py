"""A filter that breaks its promise: its request fails with an error that names it, and nothing passes unfiltered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import httpx
import pytest
from msgspec import structs

from remuda import BadRequest, Done, Event, Finished, Job, Message, Text, hookimpl
from remuda.config import Config, PluginsConfig
from remuda.plugins import Plugins, load_plugins
from remuda.testing import LiveServer, Script, ScriptedPlugin

from .conftest import Clock

MakeConfig = Callable[..., Config]
Proceed = Callable[[Job], AsyncGenerator[Event, None]]
PIECES = ["a", "b", "c"]


def _said(job: Job) -> str:
    return job.messages[-1].content


class Wild:
    """Does what the prompt says."""

    def wrap(self, job: Job, proceed: Proceed) -> Any:
        if _said(job) == "no generator":
            return self.coroutine()
        if _said(job) == "nothing":
            return None
        return self.walk(job, proceed)

    async def coroutine(self) -> None:
        pass

    async def walk(self, job: Job, proceed: Proceed) -> AsyncGenerator[Any, None]:
        said = _said(job)
        if said == "hang before":
            await asyncio.sleep(60)
        if said == "answer":
            yield Text("by hand")
            yield Finished(Done(reason="stop"), 1, 0)
            return
        if said == "refuse":
            raise BadRequest("not here")
        if said == "wrong job":
            job = 3  # type: ignore[assignment]
        async with aclosing(proceed(job)) as events:
            async for event in events:
                if said == "hang between":
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(60)
                if said == "block":
                    time.sleep(0.6)  # noqa: ASYNC251 -- this is the fault
                if said == "raise":
                    raise ZeroDivisionError("details")
                if said == "string":
                    yield "text"
                if said == "wrong text":
                    yield Text(3)  # type: ignore[arg-type]
                if said == "half":
                    return
                if said == "no end" and isinstance(event, Finished):
                    return
                yield event
        if said == "more":
            yield Text("more")


class _Plugin:
    def __init__(self, **filters: Any) -> None:
        self.filters = filters

    @hookimpl
    def remuda_register_filters(self, register: Any) -> None:
        for name, filter in self.filters.items():
            register(name, lambda made=filter: made)


def _plugins(settings: PluginsConfig, **filters: Any) -> Plugins:
    extra = [("scripted", ScriptedPlugin()), ("strange", _Plugin(**filters))]
    return load_plugins(extra=extra, config=Config(plugins=settings))


def _ask(server: LiveServer, prompt: str, **fields: Any) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": False, **fields}
    return httpx.post(f"{server.url}/api/chat", json=body, timeout=20)


def _word(reply: httpx.Response) -> str:
    return reply.json()["message"]["content"] if reply.status_code == 200 else reply.json()["error"]


@pytest.fixture
def wild(scripted: MakeConfig) -> Iterator[LiveServer]:
    plugins = _plugins(PluginsConfig(budget=0.5, faults=1000), wild=Wild())
    with LiveServer(scripted(m=Script(pieces=PIECES)), plugins) as server:
        yield server


TOO_LONG = "it took more than 0.5 s between two events (plugins.budget)"
FAULTS = {
    "hang before": TOO_LONG,
    "hang between": TOO_LONG,
    "block": TOO_LONG,
    "raise": "ZeroDivisionError",
    "string": "it yielded a str",
    "wrong text": "it yielded a Text that holds something else than it must",
    "half": "it gave no answer",
    "no end": "it broke off before its end",
    "more": "it went on after the last event",
    "no generator": "its wrap returned a coroutine and no async generator",
    "nothing": "its wrap returned a NoneType and no async generator",
    "wrong job": "it called proceed with a int",
}


def test_each_fault_fails_its_request_and_names_the_filter(wild: LiveServer) -> None:
    for prompt, message in FAULTS.items():
        reply = _ask(wild, prompt)
        assert (reply.status_code, _word(reply)) == (500, f"the filter 'wild' of plugin 'strange' failed: {message}")
        assert all(model.running == 0 for model in wild.call(wild.pipeline.ps).models)
    assert (_ask(wild, "refuse").status_code, _word(_ask(wild, "refuse"))) == (400, "not here")
    assert _word(_ask(wild, "answer")) == "by hand"
    assert _word(_ask(wild, "hi")) == "abc"
    [state] = [each for each in wild.app.plugins.states() if each.name == "strange"]
    assert (state.filters[0].faults, state.filters[0].calls) == (len(FAULTS), len(FAULTS) + 4)
    fix = "Fix: do slow work elsewhere, or raise plugins.budget"
    assert state.fault == f"the filter 'wild' of plugin 'strange': {TOO_LONG}; {fix}"


def test_what_waits_for_the_model_or_the_client_is_not_the_filters_time(scripted: MakeConfig) -> None:
    plugins = _plugins(PluginsConfig(budget=0.7), wild=Wild(), second=Wild())
    with LiveServer(scripted(m=Script(pieces=PIECES, delay=0.4)), plugins) as server:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        with httpx.stream("POST", f"{server.url}/api/chat", json=body, timeout=20) as reply:
            lines = list(reply.iter_lines())
    assert len(lines) == 4
    assert all(cost.faults == 0 for state in plugins.states() for cost in state.filters)


def test_a_filter_that_hangs_ends_the_work_behind_it(scripted: MakeConfig) -> None:
    plugins = _plugins(PluginsConfig(budget=0.5), wild=Wild())
    with LiveServer(scripted(m=Script(pieces=["a"], repeat=100_000, delay=0.001)), plugins) as server:
        assert _ask(server, "hang between", options={"num_predict": -1}).status_code == 500
        [model] = server.call(server.pipeline.ps).models
        assert model.running == 0


def test_after_faults_in_a_row_requests_are_refused_and_then_one_is_tried(scripted: MakeConfig, clock: Clock) -> None:
    plugins = _plugins(PluginsConfig(faults=2), wild=Wild())
    with LiveServer(scripted(m=Script(pieces=PIECES)), plugins) as server:
        assert [_ask(server, "raise").status_code for _ in range(2)] == [500, 500]
        refused = _word(_ask(server, "hi"))
        assert refused == (
            "the filter 'wild' of plugin 'strange' failed several times in a row: what it should see is refused for "
            "a while; 'remuda plugins strange' tells more"
        )
        [gauge] = [cost for state in plugins.states() for cost in state.filters]
        assert (gauge.state, gauge.dropped) == ("resting", 1)
        clock.now += 60
        assert _word(_ask(server, "hi")) == "abc"
        assert _word(_ask(server, "hi")) == "abc"


def test_an_optional_filter_is_left_out_while_it_is_out_of_order(scripted: MakeConfig) -> None:
    class Optional(Wild):
        optional = True

    plugins = _plugins(PluginsConfig(faults=1), wild=Optional())
    with LiveServer(scripted(m=Script(pieces=PIECES)), plugins) as server:
        assert _ask(server, "raise").status_code == 500
        assert _word(_ask(server, "raise")) == "abc"


class Meddler:
    """Changes in place whatever can be changed, and passes on what there was before."""

    async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
        passed = structs.replace(job, messages=[*job.messages], given={**job.given}, context=[*job.context])
        job.messages.append(Message("user", "meddled"))
        job.given["stop"] = ["meddled"]
        job.entry.options["num_predict"] = 1
        job.context.append(3)
        async with aclosing(proceed(passed)) as events:
            async for event in events:
                yield event


class Witness:
    def __init__(self) -> None:
        self.seen: list[Job] = []

    async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
        self.seen.append(job)
        async with aclosing(proceed(job)) as events:
            async for event in events:
                yield event


def test_what_a_filter_changes_in_place_reaches_nobody(scripted: MakeConfig) -> None:
    before, after = Witness(), Witness()
    plugins = _plugins(PluginsConfig(), before=before, meddler=Meddler(), after=after)
    with LiveServer(scripted(m=Script(pieces=PIECES)), plugins) as server:
        assert [_word(_ask(server, "hi", options={"seed": 1})) for _ in range(2)] == ["abc", "abc"]
    for job in (*before.seen, *after.seen):
        assert [message.content for message in job.messages] == ["hi"]
        assert (job.given, job.context, job.entry.options) == ({"seed": 1}, [], {})
