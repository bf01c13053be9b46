"""The one flow of every request for text: find the backend, get the model, render, generate, tell who wants to know.

For a backend whose models take conversations themselves there is nothing to render or to parse (`remuda.converse`).

Dialects make a `Job` and read the events; no dialect has a flow of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import chain
from typing import Final

import anyio.to_thread
from msgspec import structs

from ..backend import Done, GenerateJob, Generates, LoadedModel, LoadWish
from ..config import Config
from ..converse import Converses
from ..dispatch import choose_backend
from ..errors import BadRequest, EngineError, PluginError, Unavailable
from ..hookspecs import Asking
from ..job import Client, Event, Finished, Job, Loaded, Rendered, Waiting
from ..model import Catalog, ModelEntry, ModelFacts
from ..model.entry import REMOTE
from ..output import Text
from ..plugins import Plugins, stray
from ..residency import Asked, Herd
from ..residency.queue import Lane
from ..wire import Options
from .account import Accounts
from .answer import Answer
from .conversing import check_conversation, conversed
from .fields import asking_of
from .filters import filtered
from .front import Front
from .loading import Loading, limits_of
from .prompt import Prompt, Prompter
from .recent import Recent
from .settle import Plan, settle
from .stream import last
from .templates import Chosen, capabilities

__all__ = ["Flow"]

_CLOSING: Final = 3.0
"""Seconds that a backend, which has no model any more, may take to close: the end of the server waits for it."""

_log = logging.getLogger("remuda.pipeline")


class Flow:
    def __init__(self, config: Config, plugins: Plugins, catalog: Catalog) -> None:
        self.config, self.plugins, self.catalog = config, plugins, catalog
        self._loading = Loading(config, plugins, catalog)
        self.herd = Herd(self._loading, limits_of(config))
        self._prompter = Prompter(config, plugins)
        self._run = filtered(plugins, self._events)
        self._formats = plugins.backend_formats()
        self.accounts, self.recent = Accounts(plugins), Recent()
        self.front = Front(config, plugins, catalog, self.accounts) if config.upstreams else None
        """None while there are no upstreams."""

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job; `Finished` last. Closing it stops the work behind it."""
        opened = self.accounts.opened(job.request_id, job.endpoint, job.name, job.entry.name, job.ignored_options)
        with opened as account:
            account.done = Done(reason="load")
            account.backend = self.backend_name(job.entry)
            async with aclosing(self._run(job)) as events:
                while True:
                    try:
                        event = await anext(events)
                    except StopAsyncIteration:
                        return
                    except BaseException as error:
                        if stray(error):
                            raise _given_up(account.backend, error) from error
                        raise
                    if isinstance(event, Finished):
                        account.done, account.load_ns = event.done, event.load_ns
                    yield event

    async def unload(self, job: Job) -> None:
        """Let the job's model go: now if it is idle, else as soon as it is."""
        if job.entry.format != REMOTE:
            await self.herd.leave(job.entry, self.backend_name(job.entry))
            return
        await last(self.elsewhere().answer(job))

    def asked(
        self,
        entry: ModelEntry,
        options: Options,
        facts: ModelFacts,
        lane: Lane,
        asking: Asking,
        keep_alive: float | None,
    ) -> Asked:
        """A request for the model, with the priority that plugins give it."""
        wish = LoadWish(
            context=self.context(options, facts),
            parallel=self.config.limits.parallel,
            options=options,
            automatic=options.num_ctx is None,
        )
        return Asked(
            entry=entry,
            backend=self.backend_name(entry),
            wish=wish,
            lane=lane,
            client=Client(asking.address, asking.key),
            priority=self.plugins.priority(asking),
            keep_alive=keep_alive,
        )

    def reload(self, config: Config) -> None:
        """Go on with another configuration; what is loaded stays, and so do requests that have begun.

        Raises `ConfigError`, having changed nothing.
        """
        if self.front is not None:
            self.front.configure(config)
        elif config.upstreams:
            self.front = Front(config, self.plugins, self.catalog, self.accounts)
            self.front.start()
        self.config = self._loading.config = config
        self._loading.configure()
        self.herd.limits = limits_of(config)

    async def facts(self, entry: ModelEntry) -> ModelFacts:
        return await anyio.to_thread.run_sync(self.catalog.facts, entry)

    async def _facts_for(self, job: Job) -> ModelFacts:
        facts = self.recent.facts(job.name, job.entry)
        if facts is None:
            facts = await self.facts(job.entry)
            self.recent.add_facts(job.name, job.entry, facts)
        return facts

    async def abilities(self, entry: ModelEntry) -> list[str]:
        """What the model can do, by its weights and its template."""
        facts = await self.facts(entry)
        return capabilities(facts, await self._chosen(entry, facts))

    async def template(self, entry: ModelEntry) -> str | None:
        """What prompts for the model are rendered with; None if it has nothing of the kind."""
        chosen = await self._chosen(entry, await self.facts(entry))
        return chosen.template if chosen else None

    async def close(self) -> None:
        await self.herd.close()
        made = self.plugins.backends.made(), self.plugins.templates.made(), self.plugins.formats.made()
        for each in chain.from_iterable(made):
            try:
                async with asyncio.timeout(_CLOSING):
                    await each.close()
            except BaseException as error:  # the others want to be closed all the same
                if not isinstance(error, Exception) and not stray(error):
                    raise
                _log.exception("%s could not be closed", type(each).__name__)

    def elsewhere(self) -> Front:
        """The way to upstreams, for a model that was found there."""
        if self.front is None:
            raise Unavailable("the upstreams of this server have just been taken away")
        return self.front

    async def _events(self, job: Job) -> AsyncGenerator[Event, None]:
        if job.entry.format == REMOTE:
            async with aclosing(self.elsewhere().answer(job)) as events:
                async for event in events:
                    yield event
            return
        began = time.perf_counter_ns()
        facts = await self._facts_for(job)
        if self.converses(job.entry):
            plan = None
            check_conversation(job, facts)
        else:
            plan = await settle(job, facts, self._prompter, self.plugins, self.config)
            job = plan.job
        async with self.herd.use(self._asked(job, facts)) as lease:
            if job.progress:
                async with aclosing(lease.waiting()) as waits:
                    async for wait in waits:
                        yield Waiting(wait.position, wait.loading, wait.size)
            model = await lease.model()
            load_ns = time.perf_counter_ns() - began
            if job.load_only:
                yield Loaded()
                return
            work = conversed(model, job) if plan is None else self._written(plan, facts, model)
            async with aclosing(work) as events:
                async for event in events:
                    if isinstance(event, Done):
                        lease.done = True
                        yield Finished(event, time.perf_counter_ns() - began, load_ns)
                    else:
                        yield event

    async def _written(self, plan: Plan, facts: ModelFacts, model: LoadedModel) -> AsyncGenerator[Event | Done, None]:
        """What a model that continues prompts writes, told apart; or the prompt, if that is all that is wanted."""
        job = plan.job
        limit = min(self.context(job.options, facts), model.context)
        prompt = await self._prompter.render(job, facts, plan.chosen, limit, model)
        if job.render_only:
            yield Rendered(prompt.text, len(prompt.images))
            return
        view = structs.replace(plan.view, prompt=prompt.text)
        answer = Answer(plan.kinds, view)
        asked = _backend_job(plan, prompt, limit, self.config.limits.repeat)
        async with aclosing(_generating(model, job).generate(asked)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Text):
                    for event in answer.feed(piece):
                        yield event
                else:
                    for event in answer.finish():
                        yield event
                    yield structs.replace(piece, dropped_tokens=piece.dropped_tokens + prompt.dropped)

    def converses(self, entry: ModelEntry) -> bool:
        """Whether the model's backend takes conversations themselves. One that cannot be made says so on a load."""
        try:
            return self._loading.backend(self.backend_name(entry)).converses
        except Exception:
            return False

    def context(self, options: Options, facts: ModelFacts) -> int:
        """Tokens of one sequence: what the options say, else the default; never more than was trained for."""
        asked = max(options.num_ctx or self.config.limits.context, 4)
        return min(asked, facts.context_length) if facts.context_length else asked

    def backend_name(self, entry: ModelEntry) -> str:
        """Of the backend that serves the model. Raises `EngineError` if there is none."""
        return choose_backend(entry, self.config.routes, self.plugins.select_backend, self._formats)

    async def _chosen(self, entry: ModelEntry, facts: ModelFacts) -> Chosen | None:
        """None for a template that cannot be read, too: its model can be looked at all the same."""
        job = Job(request_id="", endpoint="/api/show", name=str(entry.name), entry=entry, options=Options())
        try:
            return await self._prompter.own(job, facts)
        except BadRequest:
            return None

    def _asked(self, job: Job, facts: ModelFacts) -> Asked:
        asking = asking_of(job.request_id, job.endpoint, job.name, job.client)
        lane: Lane = "load" if job.load_only or job.render_only else "generate"
        return self.asked(job.entry, job.options, facts, lane, asking, job.keep_alive)


def _given_up(backend: str, error: BaseException) -> EngineError:
    """For an error that is no `Exception`: left as it is, it would end the server and not only the request."""
    _log.error("the backend %r raised %s", backend, type(error).__name__, exc_info=error)
    return EngineError(f"the backend {backend!r} raised {type(error).__name__}; the server's log has the details")


def _generating(model: LoadedModel, job: Job) -> Generates:
    if isinstance(model, Converses) and not isinstance(model, Generates):
        raise PluginError(f"the model '{job.entry.name}' takes conversations: its backend must say `converses = True`")
    if not isinstance(model, Generates):
        raise BadRequest(f'"{job.name}" does not support generate')
    return model


def _backend_job(plan: Plan, prompt: Prompt, limit: int, repeat_limit: int) -> GenerateJob:
    job = plan.job
    return GenerateJob(
        prompt=prompt.text,
        context=job.context,
        options=job.options,
        limit=limit,
        truncate=job.truncate and job.shift is not False,
        shift=job.shift is not False,
        want_context=job.want_context,
        images=prompt.images,
        constraint=plan.constraint_after(prompt.text),
        logprobs=job.logprobs,
        repeat_limit=repeat_limit if job.prompt is None else 0,
        visible=plan.visible,
    )
