"""The routes of the Ollama API, and the handlers behind them: decode, ask the pipeline, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from msgspec import Struct
from quart import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed

from ..errors import NotBuilt
from ..job import Client
from ..remote import DeedKind
from ..wire import (
    CopyRequest,
    CreateRequest,
    DeleteRequest,
    EmbeddingsRequest,
    EmbedRequest,
    PluginsResponse,
    ProgressResponse,
    ShowRequest,
    TransferRequest,
    UpstreamsResponse,
    VersionResponse,
)
from .answers import ANSWERED, decoded
from .client import client_of, upstreams_of
from .deeds import done_elsewhere
from .drain import Drain
from .exchange import current_exchange
from .replies import PLAIN_JSON, empty_response, json_response
from .streams import ndjson_response

if TYPE_CHECKING:
    from ..pipeline import Pipeline, ResponseStream

__all__ = ["native_routes"]

_MANY_VECTORS: Final = 64
"""From so many on, encoding would be felt by the streams beside it."""
_NOT_OFFERED: Final = (
    "/api/me",
    "/api/signout",
    "/api/user/keys/<key>",
    "/api/experimental/web_search",
    "/api/experimental/web_fetch",
    "/api/experimental/model-recommendations",
)
_METHODS: Final = ("GET", "POST", "DELETE")

T = TypeVar("T", bound=Struct)


def native_routes(pipeline: Pipeline, drain: Drain) -> Blueprint:
    """`GET` answers `HEAD` too, but for `/api/ps`, as the protocol has it."""
    routes = Blueprint("ollama", __name__)
    _add_facts(routes, pipeline, drain)
    _add_answers(routes, pipeline, drain)
    _add_library(routes, pipeline, drain)

    async def not_offered(key: str = "") -> Response:
        raise NotBuilt("this server has no cloud accounts and no cloud services; it serves models by itself")

    for path in _NOT_OFFERED:
        routes.add_url_rule(path, view_func=not_offered, methods=_METHODS)
    return routes


def _add_facts(routes: Blueprint, pipeline: Pipeline, drain: Drain) -> None:
    remuda_version = VersionResponse(version("remuda"))

    @routes.get("/")
    async def root() -> Response:
        return Response("Ollama is running", content_type="text/plain; charset=utf-8")

    @routes.get("/api/version")
    async def api_version() -> Response:
        return json_response(remuda_version)

    @routes.get("/api/tags")
    async def tags() -> Response:
        return json_response(await drain.wait_for(pipeline.tags()))

    @routes.get("/api/ps")
    async def ps() -> Response:
        if request.method == "HEAD":
            raise MethodNotAllowed(valid_methods=["GET"])
        return json_response(await drain.wait_for(pipeline.ps()))

    @routes.post("/api/show")
    async def show() -> Response:
        wanted = await read_body(ShowRequest)
        return json_response(await drain.wait_for(pipeline.library.show(wanted, _upstreams())))

    @routes.get("/api/plugins")
    async def plugins() -> Response:
        return json_response(PluginsResponse(pipeline.plugins.states()))

    @routes.get("/api/upstreams")
    async def upstreams() -> Response:
        front = pipeline.front
        return json_response(UpstreamsResponse(front.states() if front is not None else []))


def _add_answers(routes: Blueprint, pipeline: Pipeline, drain: Drain) -> None:
    async def answered() -> Response:
        raise AssertionError("`Answers` takes these")

    for path in ANSWERED:  # that there are such paths, and by which method: for 405, and for a slash too many
        routes.add_url_rule(path, view_func=answered, methods=["POST"])

    @routes.post("/api/embed")
    async def embed() -> Response:
        wanted = await read_body(EmbedRequest)
        request_id = current_exchange().request_id
        work = pipeline.embed(wanted, request_id=request_id, client=_client(), upstreams=_upstreams())
        reply = await drain.wait_for(work)
        if len(reply.embeddings) < _MANY_VECTORS:
            return json_response(reply)
        return await asyncio.to_thread(json_response, reply)

    @routes.post("/api/embeddings")
    async def embeddings() -> Response:
        wanted = await read_body(EmbeddingsRequest)
        request_id = current_exchange().request_id
        work = pipeline.embeddings(wanted, request_id=request_id, client=_client(), upstreams=_upstreams())
        return json_response(await drain.wait_for(work))


def _add_library(routes: Blueprint, pipeline: Pipeline, drain: Drain) -> None:
    async def elsewhere(kind: DeedKind, model: str, body: bytes, *, stream: bool | None = None) -> Response | None:
        whole = stream is False
        return await done_elsewhere(pipeline, drain, kind, model, body, _upstreams(), whole=whole)

    @routes.post("/api/copy")
    async def copy() -> Response:
        wanted, body = await _body(CopyRequest)
        if reply := await elsewhere("copy", wanted.source or "", body):
            return reply
        await drain.wait_for(pipeline.library.copy(wanted))
        return empty_response()

    @routes.delete("/api/delete")
    async def delete() -> Response:
        wanted, body = await _body(DeleteRequest)
        if reply := await elsewhere("delete", wanted.asked, body):
            return reply
        await drain.wait_for(pipeline.library.delete(wanted))
        return empty_response()

    @routes.post("/api/create")
    async def create() -> Response:
        wanted, body = await _body(CreateRequest)
        reply = await elsewhere("create", wanted.asked, body, stream=wanted.stream)
        return reply or await progress(pipeline.library.create(wanted))

    @routes.post("/api/pull")
    async def pull() -> Response:
        wanted, body = await _body(TransferRequest)
        reply = await elsewhere("pull", wanted.asked, body, stream=wanted.stream)
        return reply or await progress(pipeline.library.pull(wanted))

    @routes.post("/api/push")
    async def push() -> Response:
        wanted, body = await _body(TransferRequest)
        reply = await elsewhere("push", wanted.asked, body, stream=wanted.stream)
        return reply or await progress(pipeline.library.push(wanted))

    async def progress(work: Awaitable[ProgressResponse | ResponseStream[ProgressResponse]]) -> Response:
        reply = await drain.wait_for(work)
        if isinstance(reply, Struct):
            return json_response(reply, PLAIN_JSON)
        return ndjson_response(reply, current_exchange(), drain)


def _client() -> Client:
    return client_of(cast(dict[str, Any], request.scope))


def _upstreams() -> tuple[str, ...]:
    return upstreams_of(cast(dict[str, Any], request.scope))


async def read_body(type: type[T]) -> T:
    """The request's body as `type`, whatever its `Content-Type` says. Raises `BadRequest`."""
    return (await _body(type))[0]


async def _body(type: type[T]) -> tuple[T, bytes]:
    """As `read_body`, and the bytes."""
    body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    return await decoded(body, type), body
