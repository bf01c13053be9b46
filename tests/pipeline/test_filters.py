"""Filters as a third party writes them, round a scripted engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from msgspec import structs

from remuda import BadRequest, Receipt, hookimpl
from remuda.config import Config
from remuda.errors import PluginError, RemudaError
from remuda.hookspecs import Filter, RegisterFactory
from remuda.job import Event, Job, Rendered
from remuda.output import Text
from remuda.plugins import Plugins
from remuda.testing.scripted import Script

from .asking import ask, chat, opened, stream

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

Make = Callable[..., Config]
Proceed = Callable[[Job], AsyncGenerator[Event, None]]


class _Plugin:
    def __init__(self, **filters: Filter) -> None:
        self._filters = filters
        self.receipts: list[Receipt] = []

    @hookimpl
    def remuda_register_filters(self, register: RegisterFactory) -> None:
        for name, filter in self._filters.items():
            register(name, lambda made=filter: made)

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)


class _Noted:
    """Writes down what passes; marks requests and answers with its name."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name, self._notes = name, notes

    async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
        self._notes.append(f"{self._name} in")
        last = structs.replace(job.messages[-1], content=f"{job.messages[-1].content}{self._name}")
        try:
            async with aclosing(proceed(structs.replace(job, messages=[*job.messages[:-1], last]))) as events:
                async for event in events:
                    yield Text(f"{event.text}{self._name}") if isinstance(event, Text) else event
        finally:
            self._notes.append(f"{self._name} out")


class _Censor:
    """Refuses a word in what is asked, blackens it in what is answered, and answers another by itself."""

    async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
        if any("secret" in message.content for message in job.messages):
            raise BadRequest("the word secret is not allowed here")
        async with aclosing(proceed(job)) as events:
            async for event in events:
                yield structs.replace(event, text=event.text.replace("b", "*")) if isinstance(event, Text) else event


class _Broken:
    def __init__(self, after: int = 0) -> None:
        self._after = after

    async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
        count = 0
        async with aclosing(proceed(job)) as events:
            async for event in events:
                if count >= self._after:
                    raise ZeroDivisionError("secret details")
                count += 1
                yield event


async def test_the_filter_registered_first_stands_outermost(scripted: Make, plugins: Plugins) -> None:
    notes: list[str] = []
    plugins.add(_Plugin(x=_Noted("X", notes), y=_Noted("Y", notes)), "some")
    async with opened(scripted(m=Script(pieces=["a", "b"])), plugins) as pipeline:
        assert (await ask(pipeline, prompt="hi")).response == "aYXbYX"
        assert notes == ["X in", "Y in", "Y out", "X out"]
        reply = await ask(pipeline, prompt="hi", _debug_render_only=True)
        assert reply.debug_info is not None
        assert reply.debug_info.rendered_template == "hiXY"


async def test_a_filter_changes_and_refuses_on_both_endpoints(scripted: Make, plugins: Plugins) -> None:
    plugin = _Plugin(censor=_Censor())
    plugins.add(plugin, "some")
    async with opened(scripted(m=Script(pieces=["ab", "bc"])), plugins) as pipeline:
        assert (await ask(pipeline, prompt="hi")).response == "a**c"
        assert (await chat(pipeline, "hi")).message.content == "a**c"
        for refused in (
            ask(pipeline, prompt="a secret"),
            chat(pipeline, "a secret"),
            stream(pipeline, prompt="secret"),
        ):
            with pytest.raises(BadRequest, match="not allowed here"):
                await refused
    assert [receipt.status for receipt in plugin.receipts] == [200, 200, 400, 400, 400]


@pytest.mark.parametrize("after", [0, 1])
async def test_a_filter_that_fails_is_named_and_its_details_are_not_told(
    scripted: Make, plugins: Plugins, after: int
) -> None:
    plugin = _Plugin(bad=_Broken(after))
    plugins.add(plugin, "some")
    async with opened(scripted(m=Script()), plugins) as pipeline:
        with pytest.raises(PluginError) as caught:
            await ask(pipeline, prompt="hi")
        assert str(caught.value) == "the filter 'bad' of plugin 'some' failed: ZeroDivisionError"
    assert [receipt.status for receipt in plugin.receipts] == [500]


async def test_a_refusal_of_the_server_passes_through_filters_as_it_is(scripted: Make, plugins: Plugins) -> None:
    plugins.add(_Plugin(x=_Noted("X", [])), "some")
    async with opened(scripted(m=Script(refuse="too big")), plugins) as pipeline:
        with pytest.raises(RemudaError, match=r"^too big$"):
            await ask(pipeline, prompt="hi")


async def test_a_client_that_leaves_ends_the_filters_and_the_work(scripted: Make, plugins: Plugins) -> None:
    notes: list[str] = []
    plugins.add(_Plugin(x=_Noted("X", notes)), "some")
    async with opened(scripted(m=Script(pieces=["a"], repeat=100_000, delay=0.001)), plugins) as pipeline:
        lines = await stream(pipeline, prompt="hi")
        assert (await pipeline.ps()).models[0].running == 1
        await lines.aclose()
        assert notes == ["X in", "X out"]
        assert (await pipeline.ps()).models[0].running == 0


async def test_a_filter_may_answer_without_the_model(scripted: Make, plugins: Plugins) -> None:
    class Own:
        async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
            yield Rendered("by hand")

    plugins.add(_Plugin(own=Own()), "some")
    async with opened(scripted(m=Script()), plugins) as pipeline:
        reply = await ask(pipeline, prompt="hi")
        assert reply.debug_info is not None
        assert (await pipeline.ps()).models == []


async def test_a_filter_that_says_nothing_is_an_error_not_silence(scripted: Make, plugins: Plugins) -> None:
    class Silent:
        async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, Any]:
            return
            yield

    plugins.add(_Plugin(silent=Silent()), "some")
    async with opened(scripted(m=Script()), plugins) as pipeline:
        for refused in (ask(pipeline, prompt="hi"), chat(pipeline, "hi"), stream(pipeline, prompt="hi")):
            with pytest.raises(RemudaError, match="no answer"):
                await refused


async def test_a_filter_that_keeps_back_the_end_is_an_error_not_half_an_answer(
    scripted: Make, plugins: Plugins
) -> None:
    class Half:
        async def wrap(self, job: Job, proceed: Proceed) -> AsyncGenerator[Event, None]:
            async with aclosing(proceed(job)) as events:
                yield await anext(events)

    plugins.add(_Plugin(half=Half()), "some")
    async with opened(scripted(m=Script()), plugins) as pipeline:
        for refused in (ask(pipeline, prompt="hi"), chat(pipeline, "hi")):
            with pytest.raises(RemudaError, match="broke off before its end"):
                await refused


async def test_a_filter_that_cannot_be_made_lets_nothing_pass_unfiltered(scripted: Make, plugins: Plugins) -> None:
    class Broken:
        @hookimpl
        def remuda_register_filters(self, register: RegisterFactory) -> None:
            register("broken", lambda: 1 / 0)

    plugins.add(Broken(), "some")
    async with opened(scripted(m=Script()), plugins) as pipeline:
        with pytest.raises(PluginError, match="the filter 'broken' of plugin 'some' could not be made: ZeroDivision"):
            await ask(pipeline, prompt="hi")
        assert (await pipeline.tags()).models
