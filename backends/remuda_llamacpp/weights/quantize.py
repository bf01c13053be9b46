"""Quantising, seen from the server: the work is done by a child process, `remuda_llamacpp.weights.quantizer`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct

from remuda.errors import EngineError
from remuda.runner.frames import FrameError, pack
from remuda.runner.process import Child

__all__ = ["Order", "Progress", "quantize"]

_MODULE = "remuda_llamacpp.weights.quantizer"


class Order(Struct, frozen=True):
    """What the child is to do."""

    source: str
    target: str
    kind: str


class Progress(Struct, frozen=True):
    """What the child tells, in bytes of `source`'s tensors; the last one has `done` or an `error`."""

    completed: int = 0
    total: int = 0
    done: bool = False
    error: str = ""


async def quantize(source: Path, target: Path, kind: str) -> AsyncGenerator[tuple[int, int], None]:
    """As `remuda.backend.Quantizes.quantize`. Unless it runs to its end, there is no `target` afterwards."""
    told: asyncio.Queue[Progress | None] = asyncio.Queue()
    decoder = msgspec.msgpack.Decoder(Progress)

    def on_frame(body: bytes) -> None:
        try:
            told.put_nowait(decoder.decode(body))
        except msgspec.DecodeError as error:
            raise FrameError(str(error)) from None

    child, done = Child(on_frame, lambda: told.put_nowait(None)), False
    try:
        await child.start(_MODULE)
        child.send(pack(Order(str(source), str(target), kind)))
        while not done:
            progress = await told.get()
            if progress is None:
                await child.reap(grace=0.3)
                raise _failed(child.last_words or "its process ended")
            if progress.error:
                raise _failed(progress.error)
            done = progress.done
            yield progress.completed, progress.total
    finally:
        with anyio.CancelScope(shield=True):
            if not done:
                child.kill()
            await child.close()
            if not done:
                await anyio.to_thread.run_sync(partial(target.unlink, missing_ok=True))


def _failed(detail: str) -> EngineError:
    return EngineError(f"the weights could not be quantized: {detail}")
