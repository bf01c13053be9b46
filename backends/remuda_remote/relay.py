"""Pass-through: a request goes to an upstream as it came, and its reply comes back line by line, unread.

Looked at are the status, the type, where lines end, and the last line: whether the answer came to its end. Only where
the upstream knows the model by another name is that name replaced, on the way there and on the way back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Raw, Struct

from remuda.remote import Passage
from remuda.wire import error_body

from .client import Reply, said_in
from .faults import Broke, Fault, Refused, TooSlow
from .names import called, said_here
from .pool import Lease
from .upstream import Upstream

__all__ = ["Relayed", "Returned", "asking", "relay"]

_NDJSON: Final = "application/x-ndjson"
_JSON: Final = "application/json; charset=utf-8"
_SHORT: Final = 1024 * 1024
"""Bytes up to which a reply that is one object is held until it is whole, so that another upstream can be asked for
it when it breaks off."""
_WHOLE: Final = 10
"""An answer in one piece does not begin before the last token is written: it may take so many times longer."""
_BIG: Final = 256 * 1024
"""Bytes from which looking into a request would be felt by the streams beside it."""
_NAMING: Final = frozenset({"model", "name"})
_MAX_ERROR: Final = 256 * 1024

_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_ENCODE: Final = msgspec.json.Encoder().encode


class _End(Struct, frozen=True):
    done: bool = False
    error: str | None = None


_END: Final = msgspec.json.Decoder(_End)


async def relay(upstream: Upstream, there: str, passage: Passage, request_id: str) -> Relayed:
    """The reply of one upstream, which knows the model as `there`; begun, or whole if it is short. Raises `Fault`."""
    there = called(passage.model, there)
    naming = (passage.body, passage.model, there)
    body = asking(*naming) if len(passage.body) < _BIG else await asyncio.to_thread(asking, *naming)
    patience = upstream.member.config.first_byte_timeout * (_WHOLE if passage.whole else 1)
    reply = await upstream.client.send("POST", passage.path, body, request_id=request_id, first_byte=patience)
    names = _Names.of(there, passage.model)
    name = upstream.member.name
    try:
        streams = reply.status == HTTPStatus.OK and not passage.whole
        async with asyncio.timeout(None if streams else patience):  # bytes that trickle do not help
            if reply.status == HTTPStatus.OK:
                return await Relayed.begun(reply, name, names)
            try:
                said = await reply.read(_MAX_ERROR)
            except Broke:  # too long, or cut: the status says enough
                said = b""
        if names is not None:
            said = names.words(said)
        raise Refused(name, reply.status, reply.headers, said, said_in(said))
    except BaseException as error:
        await reply.aclose()
        if isinstance(error, TimeoutError):
            raise TooSlow(name, f"did not end its answer within {patience:g} s") from None
        raise


class _Names:
    """The upstream's name of a model and the client's, as they stand in an answer."""

    def __init__(self, there: str, here: str) -> None:
        self._here = _ENCODE(here)
        self._before = b'{"model":' + _ENCODE(there) + b","
        self._after = b'{"model":' + self._here + b","
        self._names = _ENCODE(there)[1:-1].decode(), self._here[1:-1].decode()

    @classmethod
    def of(cls, there: str, here: str) -> _Names | None:
        """None where they are the same."""
        return cls(there, here) if there != here else None

    def line(self, line: bytes) -> bytes:
        """A whole object, with or without its newline, that names the client's."""
        if line.startswith(self._before):
            return self._after + line[len(self._before) :]
        try:
            members = _OBJECT.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return line
        if "modelfile" in members:
            return _ENCODE({**members, "modelfile": Raw(self.words(bytes(members["modelfile"])))})
        if "model" not in members:
            return self.words(line) if "error" in members else line
        return _ENCODE({**members, "model": Raw(self._here)}) + (b"\n" if line.endswith(b"\n") else b"")

    def words(self, text: bytes) -> bytes:
        """JSON in whose sentences the client's stands."""
        return said_here(text.decode("utf-8", "surrogateescape"), *self._names).encode("utf-8", "surrogateescape")

    def beginning(self, piece: bytes) -> bytes:
        """The first bytes of an object that is too long to be held."""
        return self._after + piece[len(self._before) :] if piece.startswith(self._before) else piece

    def lines(self, block: bytes) -> bytes:
        return b"".join(map(self.line, block.splitlines(keepends=True)))


class Relayed:
    """A reply that has begun; a `remuda.remote.Passed` once `lease` is set."""

    def __init__(
        self, reply: Reply, upstream: str, headers: dict[str, str], first: bytes, rest: AsyncGenerator[bytes, None]
    ) -> None:
        self.upstream, self.headers = upstream, headers
        self.status = int(HTTPStatus.OK)
        self.last = b""
        self.lease: Lease[Relayed] | None = None
        """The place at the upstream, given back when this is closed."""
        self._reply, self._first, self._rest = reply, first, rest
        self._body: AsyncGenerator[bytes, None] | None = None
        self._names: _Names | None = None
        self._lines = headers["Content-Type"].startswith(_NDJSON)

    @classmethod
    async def begun(cls, reply: Reply, upstream: str, names: _Names | None) -> Relayed:
        kind = reply.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
        if kind not in {_NDJSON, _JSON.partition(";")[0]}:
            raise Broke(upstream, "answered with what is no JSON; see its url")
        headers = {"Content-Type": _NDJSON if kind == _NDJSON else _JSON}
        if kind == _NDJSON:
            rest = reply.lines()
            first = await _first(rest, upstream)
            relayed = cls(reply, upstream, headers, first, rest)
            relayed._names = names
            return relayed
        rest = reply.pieces()
        first, whole = await _beginning(rest, upstream)
        if names is not None:
            first = names.line(first) if whole else names.beginning(first)
        if whole:
            headers["Content-Length"] = str(len(first))
        elif names is None and "content-length" in reply.headers:
            headers["Content-Length"] = reply.headers["content-length"]
        relayed = cls(reply, upstream, headers, first, rest)
        if whole:
            relayed.last = first
        return relayed

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        self._body = self._streamed() if self._lines else self._plain()
        return self._body

    async def aclose(self) -> None:
        lease, self.lease = self.lease, None
        try:
            if self._body is not None:
                await self._body.aclose()
            await self._rest.aclose()
            await self._reply.aclose()
        finally:
            if lease is not None:
                await lease.aclose()

    async def _plain(self) -> AsyncGenerator[bytes, None]:
        yield self._first
        try:
            async for piece in self._rest:
                yield piece
        except Fault as fault:
            self._failed(fault)
            raise fault.error() from None

    async def _streamed(self) -> AsyncGenerator[bytes, None]:
        names, block = self._names, self._first
        last = b""
        try:
            while block:
                if names is not None:
                    block = names.lines(block)
                yield block
                last = block if not block.isspace() else last
                block = await anext(self._rest, b"")
            self.last = _last_line(last)
            if not _is_end(self.last):
                raise Broke(self.upstream, "ended its answer before it was whole")
        except Fault as fault:
            self._failed(fault)
            self.last = _last_line(last)
            if not _is_end(self.last):  # after its end an answer needs no other one
                self.last = error_body(fault.error().message) + b"\n"
                yield self.last

    def _failed(self, fault: Fault) -> None:
        if self.lease is not None:
            self.lease.failed(fault)


class Returned:
    """An upstream's refusal, which is the reply to the client as well; a `remuda.remote.Passed`."""

    def __init__(self, refused: Refused) -> None:
        self.upstream, self.status, self.last = refused.upstream, refused.status, refused.body
        self.headers = {"Content-Type": _JSON, "Content-Length": str(len(refused.body))}
        if refused.pause:
            self.headers["Retry-After"] = str(max(1, math.ceil(refused.pause)))

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        if self.last:
            yield self.last

    async def aclose(self) -> None:
        return


def asking(body: bytes, typed: str, there: str) -> bytes:
    """A request for the model that it calls `typed`, with the name `there`; everything else stays as it is.

    But a "Model" beside "model" is left out: servers that do not care about case would take it for another model.
    """
    members = _OBJECT.decode(body)
    others = [key for key in members if key not in _NAMING and key.lower() in _NAMING]
    if there == typed and not others:
        return body
    for key in others:
        del members[key]
    return _ENCODE({**members, "model" if "model" in members else "name": there})


async def _first(lines: AsyncGenerator[bytes, None], upstream: str) -> bytes:
    try:
        block = await anext(lines, b"")
        if not block:
            raise Broke(upstream, "ended its answer before it began")
    except BaseException:
        await lines.aclose()
        raise
    return block


async def _beginning(pieces: AsyncGenerator[bytes, None], upstream: str) -> tuple[bytes, bool]:
    """As much as is held back, and whether it is the whole."""
    head = bytearray()
    try:
        async for piece in pieces:
            head += piece
            if len(head) > _SHORT:
                return bytes(head), False
    except BaseException:
        await pieces.aclose()
        raise
    if not head:
        raise Broke(upstream, "sent an empty answer")
    return bytes(head), True


def _last_line(block: bytes) -> bytes:
    """The last one with anything in it."""
    block = block.rstrip()
    return block[block.rfind(b"\n") + 1 :]


def _is_end(line: bytes) -> bool:
    try:
        end = _END.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return end.done or end.error is not None
