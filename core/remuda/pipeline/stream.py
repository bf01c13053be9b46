"""Answers that come in parts: handed on once the first part is there, so that an error before it has a status."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from ..errors import EngineError

__all__ = ["ResponseStream", "last", "primed"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ResponseStream(Protocol[T_co]):
    """Responses one by one. Whoever holds it must `aclose` it, read or not."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    async def aclose(self) -> None: ...


async def primed(stream: AsyncGenerator[T, None]) -> ResponseStream[T]:
    """`stream` once its first item is there; raises what comes in its place."""
    try:
        first = await anext(stream)
    except StopAsyncIteration:
        raise EngineError("there was no answer") from None
    except BaseException:
        await stream.aclose()
        raise
    return _Primed(first, stream)


async def last(stream: AsyncGenerator[T, None]) -> T:
    """The last item, once the whole stream went by."""
    item: T | None = None
    async with aclosing(stream):
        async for each in stream:
            item = each
    if item is None:
        raise EngineError("there was no answer")
    return item


class _Primed(AsyncIterator[T], Generic[T]):
    """A stream whose first item is here. Unlike a generator, it can be closed before it was ever asked for an item."""

    def __init__(self, first: T, rest: AsyncGenerator[T, None]) -> None:
        self._first: T | None = first
        self._rest = rest

    async def __anext__(self) -> T:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()
