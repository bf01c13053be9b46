"""`/api/embed` and `/api/embeddings`: texts to vectors of length 1 (Ollama API, sections 1.9 and 1.10).

`Pipeline.embed` and `Pipeline.embeddings` are `await embed(request, flow, known, request_id, client)` and `await
embeddings(...)` with the same arguments. An unknown model raises a `ModelNotFound` with these routes' own text. A
receipt is emitted for every request whose model was found and whose fields make sense.
"""

from __future__ import annotations

import math
import time
from array import array
from typing import Any, Final, cast

import anyio.to_thread
import msgspec
from msgspec import Struct, field, structs

from ..backend import Done, Embedded, EmbedJob, Embeds
from ..errors import BadRequest, ModelNotFound
from ..hookspecs import Asking
from ..job import NOBODY, Client
from ..model import ModelEntry, ModelFacts
from ..model.entry import REMOTE
from ..residency import Asked
from ..residency.queue import Lane
from ..wire import (
    EmbeddingsRequest,
    EmbeddingsResponse,
    EmbedRequest,
    EmbedResponse,
    Options,
    merge_options,
    parse_keep_alive,
    parse_options,
)
from .fields import Known, asking_of
from .flow import Flow

__all__ = ["embed", "embeddings"]

_MOST: Final = 16_384
"""Inputs of one request: their vectors are held in memory until the last one is there."""
_NUMBERS: Final = msgspec.json.Decoder(list[float])


class _Asked(Struct, frozen=True, kw_only=True):
    """A request that makes sense, of either kind."""

    request_id: str
    client: Client
    endpoint: str
    name: str
    entry: ModelEntry
    upstreams: tuple[str, ...] = ()
    facts: ModelFacts
    options: Options
    given: dict[str, Any] = field(default_factory=dict[str, Any])
    ignored_options: tuple[str, ...]
    keep_alive: float | None
    inputs: list[str]
    truncate: bool
    dimensions: int = 0


class _Vectors(Struct, frozen=True):
    """Durations in nanoseconds."""

    vectors: list[list[float]]
    tokens: int = 0
    load_ns: int = 0
    embed_ns: int = 0


class _Unknown(ModelNotFound):
    """The text is the one that clients of these routes match."""

    def __init__(self, name: str) -> None:
        super(ModelNotFound, self).__init__(f'model "{name}" not found, try pulling it first')


async def embed(
    request: EmbedRequest,
    flow: Flow,
    known: Known,
    request_id: str,
    client: Client = NOBODY,
    upstreams: tuple[str, ...] = (),
) -> EmbedResponse:
    """One vector for each input, in order; none, and a loaded model, where there is no input.

    Raises `RemudaError`. Cancelling stops the work within one micro-batch.
    """
    began = time.perf_counter_ns()
    asked = await anyio.to_thread.run_sync(_parse_embed, request, known, request_id, client)
    made = await _run(structs.replace(asked, upstreams=upstreams), flow, began)
    return EmbedResponse(
        model=asked.name,
        embeddings=made.vectors,
        total_duration=time.perf_counter_ns() - began,
        load_duration=made.load_ns,
        prompt_eval_count=made.tokens,
    )


async def embeddings(
    request: EmbeddingsRequest,
    flow: Flow,
    known: Known,
    request_id: str,
    client: Client = NOBODY,
    upstreams: tuple[str, ...] = (),
) -> EmbeddingsResponse:
    """As `embed`, for one text, which is never cut: one that is too long raises `BadRequest`."""
    began = time.perf_counter_ns()
    asked = await anyio.to_thread.run_sync(_parse_embeddings, request, known, request_id, client)
    made = await _run(structs.replace(asked, upstreams=upstreams), flow, began)
    return EmbeddingsResponse(made.vectors[0] if made.vectors else [])


def _parse_embed(request: EmbedRequest, known: Known, request_id: str, client: Client) -> _Asked:
    inputs, dimensions = _inputs(request.input), max(request.dimensions or 0, 0)
    truncate = request.truncate is not False
    return _parse(request, known, request_id, client, "/api/embed", inputs, truncate, dimensions)


def _parse_embeddings(request: EmbeddingsRequest, known: Known, request_id: str, client: Client) -> _Asked:
    inputs = [request.prompt] if request.prompt else []
    return _parse(request, known, request_id, client, "/api/embeddings", inputs, False, 0)


def _parse(
    request: EmbedRequest | EmbeddingsRequest,
    known: Known,
    request_id: str,
    client: Client,
    endpoint: str,
    inputs: list[str],
    truncate: bool,
    dimensions: int,
) -> _Asked:
    """Blocking. Raises `BadRequest`, `ModelNotFound` and what else `Known.model` and `Catalog.facts` raise."""
    keep_alive, name = parse_keep_alive(request.keep_alive), request.model or ""
    given, ignored = parse_options(request.options or {})
    try:
        entry = known.model(name)
    except ModelNotFound:
        raise _Unknown(name) from None
    return _Asked(
        request_id=request_id,
        client=client,
        endpoint=endpoint,
        name=name,
        entry=entry,
        facts=known.catalog.facts(entry),
        options=merge_options((entry.options, given)),
        given=given,
        ignored_options=tuple(ignored),
        keep_alive=keep_alive,
        inputs=inputs,
        truncate=truncate,
        dimensions=dimensions,
    )


def _inputs(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in cast(list[Any], value)):
        raise BadRequest("invalid input type")
    inputs = cast(list[str], value)
    if len(inputs) > _MOST:
        raise BadRequest(f"input holds {len(inputs)} texts; send at most {_MOST} in one request")
    return inputs


async def _run(asked: _Asked, flow: Flow, began: int) -> _Vectors:
    """Do it, and tell who wants to know how it went."""
    name, ignored = asked.entry.name, asked.ignored_options
    with flow.accounts.opened(asked.request_id, asked.endpoint, asked.name, name, ignored) as account:
        account.backend = flow.backend_name(asked.entry)
        made = await _vectors(asked, flow, began)
        reason = "" if asked.inputs else "load"
        account.done = Done(reason=reason, prompt_tokens=made.tokens, prompt_ns=made.embed_ns)
        account.load_ns = made.load_ns
    return made


def _asking(asked: _Asked) -> Asking:
    return asking_of(asked.request_id, asked.endpoint, asked.name, asked.client)


def _wanted(asked: _Asked, flow: Flow) -> Asked:
    lane: Lane = "embed" if asked.inputs else "load"
    return flow.asked(asked.entry, asked.options, asked.facts, lane, _asking(asked), asked.keep_alive)


async def _vectors(asked: _Asked, flow: Flow, began: int) -> _Vectors:
    if asked.entry.format == REMOTE:
        return await _elsewhere(asked, flow)
    if not asked.inputs and asked.keep_alive == 0:
        await flow.herd.leave(asked.entry, flow.backend_name(asked.entry))
        return _Vectors([])
    async with flow.herd.use(_wanted(asked, flow)) as lease:
        model = await lease.model()
        ready = time.perf_counter_ns()
        if not asked.inputs:
            return _Vectors([], load_ns=ready - began)
        if not isinstance(model, Embeds) or not model.embeds:
            raise BadRequest(f'"{asked.name}" does not support embeddings')
        limit = min(flow.context(asked.options, asked.facts), model.context)
        embedded = await model.embed(EmbedJob(inputs=asked.inputs, limit=limit, truncate=asked.truncate))
        lease.done = True
        embed_ns = time.perf_counter_ns() - ready
    vectors = await anyio.to_thread.run_sync(_normalised, embedded, asked.dimensions)
    return _Vectors(vectors, embedded.tokens, load_ns=ready - began, embed_ns=embed_ns)


async def _elsewhere(asked: _Asked, flow: Flow) -> _Vectors:
    """As `_vectors`, of a model of upstreams: these load and unload as they see fit."""
    began = time.perf_counter_ns()
    job = EmbedJob(inputs=asked.inputs, limit=0, truncate=asked.truncate)
    embedded = await flow.elsewhere().embed(
        _asking(asked), asked.entry.name, asked.upstreams, job, asked.given, asked.keep_alive
    )
    vectors = await anyio.to_thread.run_sync(_normalised, embedded, asked.dimensions)
    return _Vectors(vectors, embedded.tokens, embed_ns=time.perf_counter_ns() - began)


def _normalised(embedded: Embedded, dimensions: int) -> list[list[float]]:
    """Vectors of length 1 of the first `dimensions` numbers of each, or of all; raises `BadRequest` for no numbers."""
    return [_unit(data, dimensions) for data in embedded.vectors]


def _unit(data: bytes, dimensions: int) -> list[float]:
    vector = array("f")
    vector.frombytes(data)
    if not math.isfinite(math.hypot(*vector)):
        raise BadRequest("embedding contains NaN or Inf values")
    vector = vector[: dimensions or None]
    length = math.hypot(*vector) or 1.0
    scaled = array("f", [number / length for number in vector])
    # Nine digits tell a float32 from all others; what a float64 would add is noise. All at once, because a number at a
    # time takes twice as long, and a call may have a hundred thousand of them.
    return _NUMBERS.decode(f"[{','.join(['%.9g'] * len(scaled)) % tuple(scaled)}]")
