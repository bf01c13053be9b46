"""What blocks, in a thread of its own, read from the event loop as it comes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from typing import Final, TypeVar

from msgspec import Struct

__all__ = ["threaded"]

T = TypeVar("T")

_AHEAD: Final = 16
"""Pieces that may lie ready before the thread waits for its reader."""


class _Ended(Struct, frozen=True):
    error: BaseException | None


async def threaded(make: Callable[[], Iterable[T]], turn: threading.Lock | None = None) -> AsyncGenerator[T, None]:
    """The items of `make()`, and what it raises. All of it, from the call to the last item, happens in one thread.

    Closing the generator stops it at its next item, and returns when it has stopped. `turn` is held while it works:
    those that share one take turns.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Queue[T | _Ended] = asyncio.Queue()
    room, left = threading.Semaphore(_AHEAD), threading.Event()
    gone = asyncio.Event()

    def put(item: T | _Ended) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody will read it
            loop.call_soon_threadsafe(ready.put_nowait, item)

    def follow() -> None:
        items = iter(make())
        try:
            for item in items:
                room.acquire()
                if left.is_set():
                    return
                put(item)
        finally:
            if (close := getattr(items, "close", None)) is not None:
                close()

    def work() -> None:
        error: BaseException | None = None
        try:
            with turn or threading.Lock():
                if not left.is_set():
                    follow()
        except BaseException as raised:  # whoever reads it is told
            error = raised
        put(_Ended(error))
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(gone.set)

    # A daemon: a model that never writes its next piece must not keep the server from ending.
    threading.Thread(target=work, name="remuda-llm", daemon=True).start()
    try:
        while not isinstance(item := await ready.get(), _Ended):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        room.release()
        await gone.wait()
