"""Pull, push, create, copy and delete on upstreams: side by side, their lines in the order in which they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from typing import Final, Protocol, TypeVar

import anyio
import msgspec
from msgspec import Struct, structs

from remuda.errors import BadRequest, EngineError, RemudaError, Unavailable, UpstreamError
from remuda.model import ModelName, parse_name
from remuda.model.source import without_source
from remuda.remote import SILENT, Deed, DeedKind
from remuda.wire import CopyRequest, CreateRequest, DeleteRequest, ProgressResponse, TransferRequest, decode, encode

from .client import Reply, UpstreamClient, said_in
from .faults import Broke, Fault, Refused
from .targets import Named, chosen, may, name_there

__all__ = ["Managed", "Route", "ended", "failure", "manage", "refusal"]

Route = Callable[[ModelName], tuple[str, ...]]
"""The upstreams, or groups, that the route of a public name allows; none is all."""

_WAYS: Final[dict[DeedKind, tuple[str, str]]] = {
    "pull": ("POST", "/api/pull"),
    "push": ("POST", "/api/push"),
    "create": ("POST", "/api/create"),
    "copy": ("POST", "/api/copy"),
    "delete": ("DELETE", "/api/delete"),
}
_SUCCESS: Final = "success"
_AHEAD: Final = 16
"""Lines of all upstreams that may wait for whoever reads them."""
_REFUSAL: Final = 64 * 1024
"""Bytes of a refusal that are read."""
_LONGEST: Final = 2000
"""Characters of an upstream's sentence."""


class Managed(Named, Protocol):
    @property
    def client(self) -> UpstreamClient: ...


U = TypeVar("U", bound=Managed)


class _Line(Struct):
    """A line of progress as upstreams write it."""

    status: str = ""
    digest: str = ""
    total: int = 0
    completed: int = 0
    error: str | None = None


class _End(Struct):
    """The last that is heard of one upstream."""

    upstream: str
    error: Exception | None


class _Failed(Fault):
    """The upstream took a deed on, and ended with an error of its own."""

    def __init__(self, upstream: str, said: str) -> None:
        super().__init__(upstream, f"failed: {said[:_LONGEST]}")

    def error(self) -> RemudaError:
        return EngineError(str(self))


_LINES: Final = msgspec.json.Decoder(_Line)


async def manage(
    deed: Deed, upstreams: Sequence[U], *, route: Route, done: Callable[[U], Awaitable[None]]
) -> AsyncGenerator[ProgressResponse, None]:
    """As `Remote.manage`. `upstreams` are all there are; `done` is awaited for each where the deed succeeded, before
    that is told.

    Raises `BadRequest`, before anything is done, for a model in the deed that an upstream must not be given.
    """
    targets = [(each, _request(deed, each, route)) for each in chosen(upstreams, deed.upstreams)]
    lines: asyncio.Queue[ProgressResponse | _End] = asyncio.Queue(_AHEAD)
    work = [asyncio.create_task(_do(deed, upstream, body, lines, done)) for upstream, body in targets]
    ends: dict[str, Fault | None] = {}
    try:
        while len(ends) < len(work):
            line = await lines.get()
            if isinstance(line, ProgressResponse):
                yield line
            elif line.error is None or isinstance(line.error, Fault):
                ends[line.upstream] = line.error
                if line.error is None:
                    yield ProgressResponse(status=_SUCCESS, upstream=line.upstream)
            else:
                raise line.error
    finally:
        await ended(work)
    names = [each.member.name for each, _ in targets]
    if faults := [fault for name in names if (fault := ends[name]) is not None]:
        raise failure(faults, [name for name in names if ends[name] is None])


def failure(faults: Sequence[Fault], succeeded: Sequence[str] = ()) -> RemudaError:
    """One error for all that failed, naming each; of the class of the only one there is."""
    also = f"; it is done on {', '.join(succeeded)}" if succeeded else ""
    if len(faults) > 1:
        return UpstreamError("; ".join(map(str, faults)) + also)
    [fault] = faults
    error = fault.error()
    place = f"upstream '{fault.upstream}'"
    text = error.message if place in error.message else f"{place}: {error.message}"
    whole = type(error)(text + also)
    if isinstance(error, Unavailable) and isinstance(whole, Unavailable):
        whole.retry_after = error.retry_after
    return whole


async def refusal(reply: Reply) -> Refused:
    """What a reply whose status is not 2xx says. Raises `Fault` if it breaks off."""
    body = await reply.read(_REFUSAL)
    return Refused(reply.upstream, reply.status, reply.headers, body, said_in(body))


async def ended(tasks: Collection[asyncio.Task[None]]) -> None:
    """Ends what is still going on, and returns once it is over; what it raises is of no interest any more."""
    for task in tasks:
        task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.gather(*tasks, return_exceptions=True)


async def _do(
    deed: Deed,
    upstream: U,
    body: bytes,
    lines: asyncio.Queue[ProgressResponse | _End],
    done: Callable[[U], Awaitable[None]],
) -> None:
    """One upstream's part. Whatever happens, but for a cancellation, its `_End` is the last thing in `lines`."""
    error: Exception | None = None
    method, path = _WAYS[deed.kind]
    try:
        # Between two lines whole files may be checked or written anew there.
        patience = max(upstream.member.config.stall_timeout, upstream.member.config.first_byte_timeout)
        work = upstream.client.send(method, path, body, request_id=deed.request_id, stall=patience)
        async with aclosing(await work) as reply:
            if not 200 <= reply.status < 300:
                raise await refusal(reply)
            if deed.kind in SILENT:
                await reply.read(_REFUSAL)
            else:
                await _follow(reply, lines)
        await done(upstream)
    except Exception as caught:
        error = caught
    await lines.put(_End(upstream.member.name, error))


async def _follow(reply: Reply, lines: asyncio.Queue[ProgressResponse | _End]) -> None:
    """All lines of a reply but the last one, which says that it went well. Raises `Fault` if it does not."""
    success = False
    try:
        async with aclosing(reply.lines()) as chunks:
            async for chunk in chunks:
                for text in filter(bytes.strip, chunk.split(b"\n")):
                    line = _decoded(reply, text)
                    success = line.status == _SUCCESS and not line.error
                    if line.error:
                        raise _Failed(reply.upstream, line.error)
                    if not success:
                        await lines.put(_told(line, reply.upstream))
    except Fault:
        if not success:  # else it was done, whatever became of the connection
            raise
    if not success:
        raise Broke(reply.upstream, "ended its progress before the work was done")


def _decoded(reply: Reply, text: bytes) -> _Line:
    try:
        return _LINES.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Broke(reply.upstream, "sent a line of progress that makes no sense") from None


def _told(line: _Line, upstream: str) -> ProgressResponse:
    return ProgressResponse(
        status=line.status[:_LONGEST],
        digest=line.digest,
        total=line.total,
        completed=line.completed,
        upstream=upstream,
    )


def _request(deed: Deed, upstream: Managed, route: Route) -> bytes:
    """The body of a deed as that upstream gets it: its own names, always with progress, and nothing that is not known
    here, since that might be a second spelling of a name. Raises `BadRequest`."""

    def there(text: str) -> str:
        text = without_source(text)
        name = parse_name(text)
        called = name_there(upstream.member.config, name)
        if called is None or not may(upstream.member, name, route(name)):
            raise BadRequest(f"upstream '{upstream.member.name}' may not be given model '{name}'")
        return text if called == str(name) else called

    match deed.kind:
        case "pull" | "push":
            moved = decode(deed.body, TransferRequest)
            return encode(structs.replace(moved, model=there(moved.asked), name=None, stream=True))
        case "create":
            made = decode(deed.body, CreateRequest)
            base = there(made.base) if made.base else made.base
            return encode(structs.replace(made, model=there(made.asked), name=None, base=base, stream=True))
        case "copy":
            copied = decode(deed.body, CopyRequest)
            source, destination = there(copied.source or ""), there(copied.destination or "")
            return encode(structs.replace(copied, source=source, destination=destination))
        case "delete":
            deleted = decode(deed.body, DeleteRequest)
            return encode(structs.replace(deleted, model=there(deleted.asked), name=None))
