"""`/api/blobs/:digest`: files that a client brings before it makes a model of them (Ollama API, "Blobs").

Nothing is held in memory but a few pieces: one batch of them is written, in a thread, while the next one comes in.
What comes faster than the disk takes it waits where it was sent from. A file is seen under its digest once all of its
bytes are there and are the right ones; an upload that ends in any other way leaves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio.to_thread

from ..errors import BadRequest, NotFound, RemudaError
from ..model import Digest, parse_digest
from ..model.store import Incoming
from .client import upstreams_of
from .drain import Drain
from .exchange import Exchange
from .framing import content_length
from .replies import Refused, Reply, error_reply

if TYPE_CHECKING:
    from ..pipeline import Pipeline

__all__ = ["BLOB_ROUTE", "Blobs"]

_PREFIX: Final = "/api/blobs/"
BLOB_ROUTE: Final = f"{_PREFIX}<digest>"
_BATCH: Final = 128 * 1024
"""Bytes written at once, two pieces as Hypercorn brings them; as much again may wait for its turn."""

T = TypeVar("T")


class Blobs:
    """An application of ASGI's kind, but that it takes the exchange itself. Raises `RemudaError` and `ClientGone`."""

    def __init__(self, pipeline: Pipeline, drain: Drain) -> None:
        self._pipeline, self._drain = pipeline, drain

    def takes(self, scope: dict[str, Any]) -> bool:
        """Whether the request is one for this application."""
        path: str = scope["path"]
        return len(path) > len(_PREFIX) and path.startswith(_PREFIX)

    async def __call__(self, scope: dict[str, Any], exchange: Exchange) -> None:
        digest = parse_digest(str(scope["path"])[len(_PREFIX) :])
        if scope["method"] not in {"HEAD", "POST"}:
            raise Refused(405, "method not allowed", {"Allow": "HEAD, POST"})
        if elsewhere := await self._elsewhere(scope):
            await self._at(elsewhere, digest, scope, exchange)
            return
        known = await anyio.to_thread.run_sync(self._pipeline.store.has, digest)
        if scope["method"] == "HEAD":
            missing = NotFound(f'blob "{digest}" not found')
            reply = Reply(status=200) if known else error_reply(missing, exchange.request_id)
        elif known:
            reply = Reply(status=200)
        else:
            reply = Reply(status=201 if await self._take(digest, exchange, content_length(scope)) else 200)
        await self._drain.wait_for(exchange.answer(reply))

    async def _elsewhere(self, scope: dict[str, Any]) -> tuple[str, ...]:
        """The upstreams on which a model is to be made of the file; none is this server."""
        front = self._pipeline.front
        return () if front is None else await front.managed("create", "", upstreams_of(scope))

    async def _at(self, upstreams: tuple[str, ...], digest: Digest, scope: dict[str, Any], exchange: Exchange) -> None:
        """As `__call__`, on upstreams."""
        front = self._pipeline.front
        assert front is not None
        if await self._drain.wait_for(front.has_blob(str(digest), upstreams)):
            reply = Reply(status=200)
        elif scope["method"] == "HEAD":
            reply = error_reply(NotFound(f'blob "{digest}" not found'), exchange.request_id)
        else:
            await front.put_blob(str(digest), content_length(scope), partial(self._pieces, exchange), upstreams)
            reply = Reply(status=201)
        await self._drain.wait_for(exchange.answer(reply))

    async def _pieces(self, exchange: Exchange) -> AsyncGenerator[bytes, None]:
        while piece := await self._drain.wait_for(exchange.piece()):
            yield piece

    async def _take(self, digest: Digest, exchange: Exchange, declared: int | None) -> bool:
        """Whether the blob is new: another upload of the same one may have been faster."""
        async with _opened(self._pipeline.store.incoming()) as incoming:
            await self._write(incoming, exchange)
            if declared is not None and incoming.size != declared:
                raise BadRequest(f"the body has {incoming.size} bytes, and Content-Length says {declared}")
            _, new = await _in_thread(incoming.publish, digest)
            return new

    async def _write(self, incoming: Incoming, exchange: Exchange) -> None:
        """The whole body. No thread works on `incoming` any more when this is left, however it is left."""
        batch: list[bytes] = []
        writing: asyncio.Task[None] | None = None
        try:
            while piece := await self._drain.wait_for(exchange.piece()):
                batch.append(piece)
                if writing is None or writing.done() or sum(map(len, batch)) >= _BATCH:
                    await _settled(writing)
                    writing, batch = asyncio.create_task(_in_thread(_write_all, incoming, batch)), []
            await _settled(writing)
            await _in_thread(_write_all, incoming, batch)
        finally:
            with suppress(RemudaError):
                await _settled(writing)


def _write_all(incoming: Incoming, batch: Sequence[bytes]) -> None:
    for piece in batch:
        incoming.write(piece)


async def _settled(writing: asyncio.Task[None] | None) -> None:
    """Raises what `writing` raised. Does not cancel it, as awaiting it would."""
    if writing is not None:
        await asyncio.wait((writing,))
        writing.result()


async def _in_thread(call: Callable[..., T], *args: Any) -> T:
    """`call(*args)`, which has ended when this returns or raises, a cancellation included."""
    working = asyncio.ensure_future(anyio.to_thread.run_sync(call, *args))
    try:
        return await asyncio.shield(working)
    finally:
        await asyncio.wait((working,))


@asynccontextmanager
async def _opened(incoming: AbstractContextManager[Incoming]) -> AsyncGenerator[Incoming, None]:
    opened = await _in_thread(incoming.__enter__)
    try:
        yield opened
    finally:
        await _in_thread(incoming.__exit__, None, None, None)
