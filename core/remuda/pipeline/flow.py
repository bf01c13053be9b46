"""The one flow of every request for text: find the backend, get the model, render, generate, tell who wants to know.

Dialects make a `Job` and read the events; no dialect has a flow of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio.to_thread
from msgspec import Struct

from ..backend import Backend, Done, GenerateJob, Generates, LoadedModel, LoadWish, Text
from ..config import Config
from ..dispatch import choose_backend
from ..errors import BadRequest, RemudaError, RequestCancelled
from ..hookspecs import Receipt
from ..model import Catalog, ModelEntry, ModelFacts
from ..plugins import Plugins
from ..residency import Herd, Resident
from .job import Job

__all__ = ["Event", "Finished", "Flow", "Loaded", "Rendered"]

_log = logging.getLogger("remuda.pipeline")


class Loaded(Struct, frozen=True):
    """The model is ready: the only event of a job that only loads."""


class Rendered(Struct, frozen=True):
    """The only event of a job that only renders."""

    prompt: str


class Finished(Struct, frozen=True):
    """The last event: what the backend told, and durations of the whole in nanoseconds."""

    done: Done
    total_ns: int
    load_ns: int


Event = Text | Finished | Loaded | Rendered


class Flow:
    def __init__(self, config: Config, plugins: Plugins, catalog: Catalog) -> None:
        self.config, self.plugins, self.catalog = config, plugins, catalog
        self.herd = Herd(self._load, config)
        self._formats = plugins.backend_formats()

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job; `Finished` last. Closing it stops the work behind it."""
        began = time.perf_counter_ns()
        if job.ignored_options:
            _log.warning("request %s: unknown options ignored: %s", job.request_id, ", ".join(job.ignored_options))
        status, reason, backend, finished = RequestCancelled.status, "the client left", "", None
        try:
            backend = self._backend_name(job.entry)
            async with aclosing(self._events(job, backend, began)) as events:
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
        for engine in self.plugins.templates.made():
            await engine.close()

    async def _events(self, job: Job, backend: str, began: int) -> AsyncGenerator[Event, None]:
        facts = await self.facts(job.entry)
        if "completion" not in facts.capabilities:
            raise BadRequest(f'"{job.name}" does not support {job.endpoint.rpartition("/")[2]}')
        limit = self._context(job, facts)
        wish = LoadWish(context=limit, parallel=self.config.limits.parallel, options=job.options)
        async with self.herd.resident(job.entry, backend).use(wish, job.keep_alive) as model:
            load_ns = time.perf_counter_ns() - began
            if job.load_only:
                yield Loaded()
                return
            prompt = await self._render(job, facts)
            if job.render_only:
                yield Rendered(prompt)
                return
            async with aclosing(_generating(model, job).generate(_backend_job(job, prompt, limit, model))) as events:
                async for event in events:
                    if isinstance(event, Done):
                        yield Finished(event, time.perf_counter_ns() - began, load_ns)
                    else:
                        yield event

    async def _render(self, job: Job, facts: ModelFacts) -> str:
        if job.prompt is not None:
            return job.prompt
        template = job.entry.template or facts.chat_template
        if not template:
            return job.messages[-1].content
        variables = {
            "messages": [{"role": message.role, "content": message.content} for message in job.messages],
            "add_generation_prompt": True,
            "bos_token": facts.bos_token,
            "eos_token": facts.eos_token,
        }
        engine = self.plugins.templates.get("jinja")
        return await engine.render(template, variables, timeout=self.config.limits.template_timeout)

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


def _backend_job(job: Job, prompt: str, limit: int, model: LoadedModel) -> GenerateJob:
    return GenerateJob(
        prompt=prompt,
        context=job.context,
        options=job.options,
        limit=min(limit, model.context),
        truncate=job.truncate,
        shift=job.shift,
        want_context=job.want_context,
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
