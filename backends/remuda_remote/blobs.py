"""Blobs for upstreams: one source, read once, and as many of them as lack it.

A piece is handed to each of them before the next one but a few is asked for, so that the slowest sets the pace and no
file is ever held in memory.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Final

from remuda.errors import BadRequest

from .faults import Fault, TooSlow
from .manage import Managed, ended, failure, refusal
from .targets import chosen

__all__ = ["has_blob", "put_blob"]

_AHEAD: Final = 4
"""Pieces that may wait for one upstream."""
_REPLY: Final = 64 * 1024
"""Bytes of a reply, which should have none."""


async def has_blob(digest: str, upstreams: Sequence[Managed], names: Sequence[str]) -> bool:
    """As `Remote.has_blob`. `upstreams` are all there are, `names` those that are meant."""
    return all(await _known(digest, chosen(upstreams, names)))


async def put_blob(
    digest: str,
    size: int | None,
    pieces: Callable[[], AsyncIterator[bytes]],
    upstreams: Sequence[Managed],
    names: Sequence[str],
) -> None:
    """As `Remote.put_blob`. Nothing is read if all have it. Raises what `pieces` raises, too; then, as whenever one of
    them fails, none that still lacks it gets it."""
    asked = chosen(upstreams, names)
    known = await _known(digest, asked)
    sinks = [_Sink(each, digest, size) for each, has_it in zip(asked, known, strict=True) if not has_it]
    if not sinks:
        return
    sending = [asyncio.create_task(sink.send()) for sink in sinks]
    reading = asyncio.create_task(_pour(pieces(), size, sinks))
    left = {reading, *sending}
    try:
        while not all(task.done() for task in sending):
            finished, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                task.result()
    except Fault as fault:
        raise failure([fault]) from None
    finally:
        await ended([reading, *sending])


class _Sink:
    """One upstream that lacks the blob, and the pieces that it is sent, to be iterated once."""

    def __init__(self, upstream: Managed, digest: str, size: int | None) -> None:
        self._upstream, self._path = upstream, _path(digest)
        self._headers = {"Content-Type": "application/octet-stream"}
        if size is not None:
            self._headers["Content-Length"] = str(size)
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)
        self._over = False
        """It wants no more, because it has answered."""
        self._timeout = asyncio.timeout(None)

    async def put(self, piece: bytes) -> None:
        """Waits until there is room for the piece; an empty one is the end. Raises `TooSlow`."""
        if self._over:
            return
        member = self._upstream.member
        try:
            async with asyncio.timeout(member.config.stall_timeout):
                await self._pieces.put(piece)
        except TimeoutError:
            raise TooSlow(member.name, "takes no more of the blob") from None

    async def send(self) -> None:
        """Raises `Fault` unless the upstream says that it has the blob."""
        client, member = self._upstream.client, self._upstream.member
        try:
            # How long all of it may take, nobody knows; how long a reply may, once all is there, the configuration.
            async with self._timeout:
                sent = client.send("POST", self._path, self, headers=self._headers, first_byte=math.inf)
                async with aclosing(await sent) as reply:
                    if not 200 <= reply.status < 300:
                        raise await refusal(reply)
                    await reply.read(_REPLY)
        except TimeoutError:
            raise TooSlow(member.name, "gave no answer to the blob") from None
        finally:
            self._over = True
            while not self._pieces.empty():  # lets go of `put`
                self._pieces.get_nowait()

    def __aiter__(self) -> _Sink:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._pieces.get():
            return piece
        if not self._over:
            longest = self._upstream.member.config.first_byte_timeout
            self._timeout.reschedule(asyncio.get_running_loop().time() + longest)
        raise StopAsyncIteration


async def _pour(source: AsyncIterator[bytes], size: int | None, sinks: Sequence[_Sink]) -> None:
    """All of the source into all sinks. Their end is only told to them if it is where it was said to be."""
    total = 0
    try:
        async for piece in source:
            total += len(piece)
            if size is not None and total > size:
                break
            for sink in sinks if piece else ():
                await sink.put(piece)
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()
    if size is not None and total != size:
        raise BadRequest(f"the body has {'more' if total > size else 'fewer'} bytes than Content-Length says ({size})")
    for sink in sinks:
        await sink.put(b"")


async def _known(digest: str, upstreams: Sequence[Managed]) -> list[bool]:
    """Whether each has the blob."""
    found = await asyncio.gather(*(_has(digest, each) for each in upstreams), return_exceptions=True)
    faults: list[Fault] = []
    known: list[bool] = []
    for each in found:
        if isinstance(each, Fault):
            faults.append(each)
        elif isinstance(each, BaseException):
            raise each
        else:
            known.append(each)
    if faults:
        raise failure(faults)
    return known


async def _has(digest: str, upstream: Managed) -> bool:
    async with aclosing(await upstream.client.send("HEAD", _path(digest))) as reply:
        if reply.status == HTTPStatus.NOT_FOUND:
            return False
        if not 200 <= reply.status < 300:
            raise await refusal(reply)
        return True


def _path(digest: str) -> str:
    return f"/api/blobs/{digest}"
