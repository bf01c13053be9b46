"""What the server asks for: an object a request in, an object or a stream out. Nothing here knows HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from typing import Generic, Protocol, TypeVar

import anyio.to_thread
from msgspec import structs

from ..config import Config
from ..errors import EngineError, RemudaError
from ..job import Job
from ..model import Catalog, ModelEntry, ModelFacts
from ..plugins import Plugins
from ..residency import Resident
from ..wire import (
    ChatRequest,
    ChatResponse,
    GenerateRequest,
    GenerateResponse,
    PsModel,
    PsResponse,
    TagsDetails,
    TagsModel,
    TagsResponse,
    local_time,
)
from .chat import chat_responses, chat_single, collect_chat, parse_chat
from .fields import Known
from .flow import Flow
from .generate import collect_generate, generate_responses, generate_single, parse_generate
from .models import configured_models

__all__ = ["Pipeline", "ResponseStream"]

_log = logging.getLogger("remuda.pipeline")


Response = TypeVar("Response", GenerateResponse, ChatResponse)
Response_co = TypeVar("Response_co", GenerateResponse, ChatResponse, covariant=True)


class ResponseStream(Protocol[Response_co]):
    """Responses one by one. Whoever holds it must `aclose` it, read or not."""

    def __aiter__(self) -> AsyncIterator[Response_co]: ...

    async def aclose(self) -> None: ...


class Pipeline:
    """Made once for a server; `close` unloads everything."""

    def __init__(self, config: Config, plugins: Plugins) -> None:
        self.config, self.plugins = config, plugins
        entries = {entry.name.key: entry for entry in (*plugins.models.values(), *configured_models(config.models))}
        self.catalog = Catalog(entries.values())
        self.flow = Flow(config, plugins, self.catalog)
        self._known = Known(self.catalog, frozenset(plugins.formats.names()))

    async def generate(
        self, request: GenerateRequest, *, request_id: str
    ) -> GenerateResponse | ResponseStream[GenerateResponse]:
        """One object, or a stream whose first item is ready. Closing the stream stops the work behind it.

        Raises `RemudaError` before the first item; the stream may raise one later.
        """
        parse = partial(parse_generate, request, self._known, request_id)
        job = await anyio.to_thread.run_sync(parse) if request.images else parse()  # images take their time
        if job.unload:
            await self.flow.resident(job.entry).leave()
            return generate_single(job.name, "unload")
        stream = generate_responses(job.name, self.flow.run(job))
        return await (collect_generate(stream) if _is_whole(request, job) else _primed(stream))

    async def chat(self, request: ChatRequest, *, request_id: str) -> ChatResponse | ResponseStream[ChatResponse]:
        """As `generate`, for a conversation."""
        parse = partial(parse_chat, request, self._known, request_id)
        pictured = any(message.images for message in request.messages or ())
        job = await anyio.to_thread.run_sync(parse) if pictured else parse()
        if job.unload:
            await self.flow.resident(job.entry).leave()
            return chat_single(job.name, "unload")
        stream = chat_responses(job.name, self.flow.run(job))
        return await (collect_chat(stream) if _is_whole(request, job) else _primed(stream))

    async def tags(self) -> TagsResponse:
        """All models, newest first. One whose weights cannot be read is left out, and logged."""
        models = [model for entry in self.catalog.entries() if (model := await self._tag(entry)) is not None]
        models.sort(key=lambda pair: pair[0], reverse=True)
        return TagsResponse([model for _, model in models])

    async def ps(self) -> PsResponse:
        """The models in memory, longest remaining first."""
        return PsResponse([model for each in self.flow.herd.loaded() if (model := await self._running(each))])

    async def close(self) -> None:
        await self.flow.close()

    async def _describe(self, entry: ModelEntry) -> tuple[ModelFacts, str] | None:
        """Facts and digest; None, and a line in the log, when the weights cannot be read."""
        try:
            return await self.flow.facts(entry), await anyio.to_thread.run_sync(self.catalog.digest, entry)
        except RemudaError as error:
            _log.warning("%s is not listed: %s", entry.name, error)
            return None

    async def _tag(self, entry: ModelEntry) -> tuple[int, TagsModel] | None:
        described = await self._describe(entry)
        if described is None:
            return None
        facts, digest = described
        details = TagsDetails(
            **structs.asdict(facts.details),
            context_length=facts.context_length,
            embedding_length=facts.embedding_length,
        )
        return int(facts.modified), TagsModel(
            name=str(entry.name),
            model=str(entry.name),
            modified_at=local_time(facts.modified),
            size=facts.size,
            digest=digest,
            details=details,
            capabilities=facts.capabilities,
        )

    async def _running(self, resident: Resident) -> PsModel | None:
        model = resident.model
        described = await self._describe(resident.entry)
        if model is None or described is None:
            return None
        facts, digest = described
        stats = await model.stats()
        return PsModel(
            name=str(resident.entry.name),
            model=str(resident.entry.name),
            size=stats.size or facts.size,
            digest=digest,
            details=facts.details,
            expires_at=local_time(resident.expires_at),
            size_vram=stats.size_vram,
            context_length=model.context,
            running=stats.running,
            waiting=stats.waiting,
        )


class _Primed(AsyncIterator[Response], Generic[Response]):
    """A stream whose first item is here. Unlike a generator, it can be closed before it was ever asked for an item."""

    def __init__(self, first: Response, rest: AsyncGenerator[Response, None]) -> None:
        self._first: Response | None = first
        self._rest = rest

    async def __anext__(self) -> Response:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()


def _is_whole(request: GenerateRequest | ChatRequest, job: Job) -> bool:
    """Whether the answer is one object: as asked, or because there is only one."""
    return request.stream is False or job.load_only or job.render_only


async def _primed(stream: AsyncGenerator[Response, None]) -> ResponseStream[Response]:
    """`stream` once its first item is there; raises what comes in its place."""
    try:
        first = await anext(stream)
    except StopAsyncIteration:
        raise EngineError("the model gave no answer") from None
    except BaseException:
        await stream.aclose()
        raise
    return _Primed(first, stream)
