"""What the server asks for: an object a request in, an object or a stream out. Nothing here knows HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
from msgspec import Struct, structs

from ..backend import ModelStats
from ..config import Config, is_loopback
from ..errors import ModelNotFound
from ..job import NOBODY, Client, Job
from ..model import Catalog
from ..model.store import Store
from ..model.transfer import TransferPolicy, Transfers
from ..plugins import Plugins
from ..residency import Resident
from ..wire import (
    ChatRequest,
    ChatResponse,
    EmbeddingsRequest,
    EmbeddingsResponse,
    EmbedRequest,
    EmbedResponse,
    GenerateRequest,
    GenerateResponse,
    ProgressResponse,
    PsModel,
    PsResponse,
    PsWaiting,
    TagsResponse,
    local_time,
    parse_keep_alive,
)
from .chat import chat_responses, chat_single, collect_chat, parse_chat
from .create import Creator
from .embed import embed, embeddings
from .fields import Known
from .flow import Flow
from .front import Front
from .generate import collect_generate, generate_responses, generate_single, parse_generate
from .library import Library, of_loaded
from .models import configured_models
from .readiness import Readiness
from .stream import ResponseStream, last, primed

__all__ = ["Pipeline"]

_log = logging.getLogger("remuda.pipeline")


T = TypeVar("T")
Response = TypeVar("Response", GenerateResponse, ChatResponse)
_Parse = Callable[[Known], Job]
_Asking = GenerateRequest | ChatRequest | EmbedRequest | EmbeddingsRequest


class Pipeline:
    """Made once for a server; `close` unloads everything."""

    def __init__(self, config: Config, plugins: Plugins) -> None:
        self.config, self.plugins = config, plugins
        entries = {entry.name.key: entry for entry in (*plugins.models.values(), *configured_models(config.models))}
        self.store = Store(config.store.root, prune=config.store.prune)
        self.catalog = Catalog(entries.values(), self.store, parsers=frozenset(plugins.parsers.names()))
        self.catalog.set_aliases(config.aliases)
        self._warn_of_routes(config)
        self.transfers = Transfers(self.store, _policy(config))
        self.flow = Flow(config, plugins, self.catalog)
        creator = Creator(self.catalog, self.transfers, plugins, config)
        self.library = Library(self.flow, self.store, self.transfers, creator)
        self._known = Known(self.catalog, frozenset(plugins.formats.names()))
        self._sweeping: asyncio.Task[None] | None = None
        self.readiness = Readiness(config.residency.preload, config.server.ready_model, self._preload, self._prove)

    @property
    def front(self) -> Front | None:
        """The way to upstreams; None while there are none."""
        return self.flow.front

    def start(self) -> None:
        """Begin to clean up the store, to load the models that shall be there and to watch upstreams. Nothing waits for
        it or fails with it."""
        if self.front is not None:
            self.front.start()
        self._sweeping = asyncio.create_task(self._sweep())
        self.readiness.start()

    async def _sweep(self) -> None:
        try:
            await anyio.to_thread.run_sync(self.store.sweep, abandon_on_cancel=True)
        except Exception:
            _log.exception("the store could not be cleaned up")

    async def generate(
        self,
        request: GenerateRequest,
        *,
        request_id: str,
        client: Client = NOBODY,
        upstreams: tuple[str, ...] = (),
        short: bool = False,
    ) -> GenerateResponse | ResponseStream[GenerateResponse | ProgressResponse]:
        """One object, or a stream whose first item is ready. Closing the stream stops the work behind it.

        `upstreams` are those that may serve it, by name, where its model is on upstreams; none named is any.
        With `auto_pull`, a stream for a model that was not there begins with the progress of its pull; with
        `request.progress`, with how long the wait is. A `short` request, of some kilobytes, is checked on the event
        loop if its model was found a moment ago.
        Raises `RemudaError` before the first item; the stream may raise one later.
        """

        async def answer(job: Job) -> GenerateResponse | ResponseStream[GenerateResponse | ProgressResponse]:
            if job.unload:
                await self.flow.unload(job)
                return generate_single(job.name, "unload")
            stream = generate_responses(job.name, self.flow.run(job))
            return await (collect_generate(stream) if _is_whole(request, job) else primed(stream))

        parse = partial(parse_generate, request, request_id=request_id, client=client, upstreams=upstreams)
        return await self._answered(request, parse, answer, load_only=not request.prompt, short=short)

    async def chat(
        self,
        request: ChatRequest,
        *,
        request_id: str,
        client: Client = NOBODY,
        upstreams: tuple[str, ...] = (),
        short: bool = False,
    ) -> ChatResponse | ResponseStream[ChatResponse | ProgressResponse]:
        """As `generate`, for a conversation."""

        async def answer(job: Job) -> ChatResponse | ResponseStream[ChatResponse | ProgressResponse]:
            if job.unload:
                await self.flow.unload(job)
                return chat_single(job.name, "unload")
            stream = chat_responses(job.name, self.flow.run(job))
            return await (collect_chat(stream) if _is_whole(request, job) else primed(stream))

        parse = partial(parse_chat, request, request_id=request_id, client=client, upstreams=upstreams)
        return await self._answered(request, parse, answer, load_only=not request.messages, short=short)

    async def embed(
        self, request: EmbedRequest, *, request_id: str, client: Client = NOBODY, upstreams: tuple[str, ...] = ()
    ) -> EmbedResponse:
        """Raises `RemudaError`. Cancelling stops the work behind it."""
        work = partial(embed, request, self.flow, self._known, request_id, client, upstreams)
        return await self._embedded(request, work, load_only=not request.input)

    async def embeddings(
        self, request: EmbeddingsRequest, *, request_id: str, client: Client = NOBODY, upstreams: tuple[str, ...] = ()
    ) -> EmbeddingsResponse:
        """As `embed`, for one text."""
        work = partial(embeddings, request, self.flow, self._known, request_id, client, upstreams)
        return await self._embedded(request, work, load_only=not request.prompt)

    async def tags(self) -> TagsResponse:
        """As `Library.tags`, with the models of upstreams."""
        tags = await self.library.tags()
        return tags if self.front is None else TagsResponse(await self.front.tags(tags.models))

    async def ps(self) -> PsResponse:
        """The models in memory, longest remaining first, then those of upstreams; and the requests that wait here."""
        running = await asyncio.gather(*map(self._running, self.flow.herd.residents()))
        if self.front is not None:
            running += await self.front.ps()
        waiting = [
            PsWaiting(model=str(each.entry.name), position=each.position, seconds=round(each.seconds, 3))
            for each in self.flow.herd.queued()
        ]
        return PsResponse(running, waiting)

    async def stats(self) -> list[tuple[Resident, ModelStats]]:
        """The models in memory, longest remaining first, with their own counts.

        One that does not answer within two seconds has the last count that is known.
        """
        residents = self.flow.herd.residents()
        return list(zip(residents, await asyncio.gather(*map(_stats_of, residents)), strict=True))

    def reload(self, config: Config) -> None:
        """Go on with another configuration, as far as `remuda.config.reloadable` lets it differ. Loaded models stay.

        Raises `ConfigError`, having changed nothing.
        """
        self.flow.reload(config)
        self.config = config
        self.catalog.set_aliases(config.aliases)
        self.flow.recent.forget()
        self._warn_of_routes(config)

    async def close(self) -> None:
        await self.readiness.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait((self._sweeping,))
        try:
            await self.transfers.close()
        finally:
            await self.flow.close()
            await self.flow.accounts.close()

    async def _answered(
        self,
        request: GenerateRequest | ChatRequest,
        parse: _Parse,
        answer: Callable[[Job], Awaitable[Response | ResponseStream[Response | ProgressResponse]]],
        *,
        load_only: bool,
        short: bool,
    ) -> Response | ResponseStream[Response | ProgressResponse]:
        """The answer to a job, its model pulled before if the configuration wants it."""
        name, blocking = request.model or "", partial(parse, self._known)
        try:
            if short and (entry := self.flow.recent.entry(name)) is not None:
                job = parse(structs.replace(self._known, entry=entry))
            else:
                mark = self.flow.recent.mark
                job = await self._looked_for(partial(anyio.to_thread.run_sync, blocking), name)
                self.flow.recent.add(mark, name, job.entry)
        except ModelNotFound:
            if not self._pulls(request, load_only):
                raise
        else:
            return await answer(job)
        pulled = self.library.pulled(name)
        if request.stream is False:
            await last(pulled)
            return await answer(await anyio.to_thread.run_sync(blocking))
        return await primed(_then(pulled, blocking, answer))

    async def _embedded(
        self, request: EmbedRequest | EmbeddingsRequest, work: Callable[[], Awaitable[T]], *, load_only: bool
    ) -> T:
        try:
            return await self._looked_for(work, request.model or "")
        except ModelNotFound:
            if not self._pulls(request, load_only):
                raise
        await last(self.library.pulled(request.model or ""))
        return await work()

    async def _looked_for(self, work: Callable[[], Awaitable[T]], name: str) -> T:
        """`work()`, once more where upstreams turn out to have the model that it did not find."""
        try:
            return await work()
        except ModelNotFound:
            if self.front is None or not await self.front.look(name):
                raise
        return await work()

    def _warn_of_routes(self, config: Config) -> None:
        """A backend may be missing only because its plugin is broken: no reason to serve nothing at all."""
        known = self.plugins.backends.names()
        for number, route in enumerate(config.routes):
            if route.backend not in known:
                there = ", ".join(known) or "none"
                _log.error("routes[%d].backend: there is no backend %r; there are: %s", number, route.backend, there)

    async def _preload(self, name: str) -> None:
        await self.generate(GenerateRequest(model=name, stream=False), request_id="preload")

    async def _prove(self, name: str) -> None:
        await self._preload(name)
        raw = not self.flow.converses(await anyio.to_thread.run_sync(self._known.model, name))
        request = GenerateRequest(model=name, prompt="a", raw=raw, stream=False, options={"num_predict": 1})
        await self.generate(request, request_id="readyz")

    def _pulls(self, request: _Asking, load_only: bool) -> bool:
        """Whether a missing model is to be pulled; to unload it there is no need."""
        return self.config.auto_pull and not (load_only and parse_keep_alive(request.keep_alive) == 0)

    async def _running(self, resident: Resident) -> PsModel:
        details, size, digest = await anyio.to_thread.run_sync(of_loaded, self.catalog, resident.entry)
        stats = await _stats_of(resident)
        return PsModel(
            name=str(resident.entry.name),
            model=str(resident.entry.name),
            size=stats.size or resident.size or size,
            digest=digest,
            details=details,
            expires_at=local_time(resident.expires_at),
            size_vram=stats.size_vram,
            context_length=resident.context,
            running=stats.running,
            waiting=resident.waiting + stats.waiting,
            state=resident.state,
        )


async def _then(
    pulled: AsyncGenerator[ProgressResponse, None],
    parse: Callable[[], Job],
    answer: Callable[[Job], Awaitable[Response | ResponseStream[Response | ProgressResponse]]],
) -> AsyncGenerator[Response | ProgressResponse, None]:
    async with aclosing(pulled):
        async for line in pulled:
            yield line
    reply = await answer(await anyio.to_thread.run_sync(parse))
    if isinstance(reply, Struct):
        yield reply
        return
    async with aclosing(reply):
        async for item in reply:
            yield item


async def _stats_of(resident: Resident) -> ModelStats:
    return await resident.model.stats() if resident.model is not None else ModelStats()


def _policy(config: Config) -> TransferPolicy:
    registry = config.registry
    return TransferPolicy(
        allow=registry.allow,
        private=registry.private,
        redirects=registry.redirects,
        loopback=is_loopback(config.server.host),
        key=Path(registry.key).expanduser(),
        stall_timeout=registry.stall_timeout,
        retries=registry.retries,
        version=version("remuda"),
    )


def _is_whole(request: GenerateRequest | ChatRequest, job: Job) -> bool:
    """Whether the answer is one object: as asked, or because there is only one."""
    return request.stream is False or ((job.load_only or job.render_only) and not job.progress)
