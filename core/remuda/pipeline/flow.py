"""The one flow of every request for text: find the backend, get the model, render, generate, tell who wants to know.

Dialects make a `Job` and read the events; no dialect has a flow of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio.to_thread
from msgspec import structs

from ..backend import Backend, Done, GenerateJob, Generates, LoadedModel, LoadWish
from ..config import Config
from ..dispatch import choose_backend
from ..errors import BadRequest, RemudaError, RequestCancelled
from ..hookspecs import Receipt
from ..job import Event, Finished, Job, Loaded, Rendered
from ..model import Catalog, ModelEntry, ModelFacts
from ..output import Text
from ..plugins import Plugins
from ..residency import Herd, Resident
from .answer import Answer
from .filters import filtered
from .prompt import Prompt, Prompter
from .settle import Plan, settle

__all__ = ["Flow"]

_log = logging.getLogger("remuda.pipeline")


class Flow:
    def __init__(self, config: Config, plugins: Plugins, catalog: Catalog) -> None:
        self.config, self.plugins, self.catalog = config, plugins, catalog
        self.herd = Herd(self._load, config)
        self._prompter = Prompter(config, plugins)
        self._run = filtered(plugins, self._events)
        self._formats = plugins.backend_formats()

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job; `Finished` last. Closing it stops the work behind it."""
        began = time.perf_counter_ns()
        if job.ignored_options:
            _log.warning("request %s: unknown options ignored: %s", job.request_id, ", ".join(job.ignored_options))
        status, reason, backend, finished = RequestCancelled.status, "the client left", "", None
        try:
            backend = self._backend_name(job.entry)
            async with aclosing(self._run(job)) as events:
                async for event in events:
                    finished = event if isinstance(event, Finished) else None
                    yield event
            status, reason = 200, finished.done.reason if finished else "load"
        except RemudaError as error:
            status, reason = error.status, error.message
            raise
        except Exception as error:
            status, reason = 500, repr(error)
            raise
        finally:
            self.plugins.request_finished(_receipt(job, backend, status, reason, finished, began))

    def resident(self, entry: ModelEntry) -> Resident:
        """Where the model is, or would be, loaded."""
        return self.herd.resident(entry, self._backend_name(entry))

    async def facts(self, entry: ModelEntry) -> ModelFacts:
        return await anyio.to_thread.run_sync(self.catalog.facts, entry)

    async def close(self) -> None:
        await self.herd.close()
        for backend in self.plugins.backends.made():
            await backend.close()
        for helper in (*self.plugins.templates.made(), *self.plugins.formats.made()):
            await helper.close()

    async def _events(self, job: Job) -> AsyncGenerator[Event, None]:
        began = time.perf_counter_ns()
        facts = await self.facts(job.entry)
        plan = await settle(job, facts, self._prompter, self.plugins, self.config)
        job = plan.job
        limit = self._context(job, facts)
        wish = LoadWish(context=limit, parallel=self.config.limits.parallel, options=job.options)
        async with self.herd.resident(job.entry, self._backend_name(job.entry)).use(wish, job.keep_alive) as model:
            load_ns = time.perf_counter_ns() - began
            if job.load_only:
                yield Loaded()
                return
            limit = min(limit, model.context)
            prompt = await self._prompter.render(job, facts, plan.chosen, limit, model)
            if job.render_only:
                yield Rendered(prompt.text, len(prompt.images))
                return
            view = structs.replace(plan.view, prompt=prompt.text)
            answer = Answer(plan.kinds, view)
            asked = _backend_job(plan, prompt, limit, self.config.limits.repeat)
            work = _generating(model, job).generate(asked)
            async with aclosing(work) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Text):
                        for event in answer.feed(piece):
                            yield event
                    else:
                        for event in answer.finish():
                            yield event
                        done = structs.replace(piece, dropped_tokens=piece.dropped_tokens + prompt.dropped)
                        yield Finished(done, time.perf_counter_ns() - began, load_ns)

    def _context(self, job: Job, facts: ModelFacts) -> int:
        """Tokens of this job's sequence: what it asks for, else the default; never more than was trained for."""
        asked = max(job.options.num_ctx or self.config.limits.context, 4)
        return min(asked, facts.context_length) if facts.context_length else asked

    def _backend_name(self, entry: ModelEntry) -> str:
        return choose_backend(entry, self.config.routes, self.plugins.select_backend, self._formats)

    async def _load(self, entry: ModelEntry, backend: str, wish: LoadWish) -> LoadedModel:
        made: Backend = self.plugins.backends.get(backend, self.config.backends.get(backend, {}))
        return await made.load(entry, wish)


def _generating(model: LoadedModel, job: Job) -> Generates:
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


def _receipt(job: Job, backend: str, status: int, reason: str, finished: Finished | None, began: int) -> Receipt:
    done = finished.done if finished else Done(reason="")
    return Receipt(
        request_id=job.request_id,
        endpoint=job.endpoint,
        model=job.name,
        backend=backend,
        status=status,
        reason=reason,
        prompt_tokens=done.prompt_tokens,
        output_tokens=done.output_tokens,
        total_ns=time.perf_counter_ns() - began,
        load_ns=finished.load_ns if finished else 0,
        prompt_ns=done.prompt_ns,
        output_ns=done.output_ns,
        ignored_options=job.ignored_options,
    )
