"""Loading and unloading: what cannot be loaded, and that nothing is left of what was."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

import pytest
from anyio.lowlevel import checkpoint
from msgspec import structs

from remuda.backend import Backend, LoadedModel
from remuda.errors import BadRequest, LoadFailed, RemudaError
from remuda.model import ModelEntry
from remuda.wire.options import RULES

from .conversations import generating
from .fixtures import BackendFixtures, at_rest, memory, processes, read

__all__ = ["LifeTests"]

_SECONDS: Final = 20.0
_NOISE: Final = 16 * 1024 * 1024
"""Bytes by which a process may grow while nothing in it does."""
_DAMAGES: Final[dict[str, Callable[[bytes], bytes | None]]] = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "garbage": lambda data: b"\0\xff no weights at all \x80" * 200,
    "truncated": lambda data: data[: len(data) // 2],
}


class LifeTests(BackendFixtures):
    @pytest.fixture
    async def own(self, backend: Backend, entry: ModelEntry, anyio_backend: str) -> AsyncGenerator[LoadedModel, None]:
        """A model of the test's own."""
        model = await backend.load(entry, self.wish())
        yield model
        await model.close()

    async def test_what_it_offers_is_possible(self, loaded: LoadedModel) -> None:
        """A model that is loaded is alive, and does nothing."""
        assert loaded.alive
        assert loaded.context >= 1
        assert loaded.parallel is None or 1 <= loaded.parallel <= self.parallel
        await at_rest(loaded)
        stats = await loaded.stats()
        assert 0 <= stats.size_vram <= stats.size

    @pytest.mark.parametrize("damage", _DAMAGES)
    async def test_damaged_weights_are_refused(self, backend: Backend, damaged: ModelEntry) -> None:
        """`load`: raise `LoadFailed` with a sentence for the user, in which no path is, and leave nothing behind."""
        before = processes()
        with pytest.raises(LoadFailed) as failed:
            await (await backend.load(damaged, self.wish())).close()
        assert str(failed.value)
        assert str(damaged.weights) not in str(failed.value)
        assert processes() <= before

    @pytest.fixture
    def damaged(self, entry: ModelEntry, damage: str, tmp_path: Path) -> ModelEntry:
        if not entry.weights.is_file():
            pytest.skip("this model has no weights on this machine")
        path = tmp_path / entry.weights.name
        data = _DAMAGES[damage](entry.weights.read_bytes())
        if data is not None:
            path.write_bytes(data)
        return structs.replace(entry, weights=path, stored=None)

    async def test_a_thousand_threads_are_no_end(self, backend: Backend, entry: ModelEntry) -> None:
        """The option num_thread may ask for any number: the model is refused, or loaded and writes, and soon."""
        [rule] = [rule for rule in RULES if rule.name == "num_thread"]
        options = structs.replace(self.options, num_thread=int(rule.high))
        async with asyncio.timeout(_SECONDS):
            with suppress(LoadFailed, BadRequest):
                model = await backend.load(entry, structs.replace(self.wish(), options=options))
                try:
                    if (writer := generating(model, entry)) is not None:
                        await read(writer, self.job(most=2))
                finally:
                    await model.close()

    async def test_a_load_that_is_cancelled_leaves_nothing(self, backend: Backend, entry: ModelEntry) -> None:
        """`load`: cancelling must leave nothing behind."""
        before = processes()
        loading = asyncio.create_task(backend.load(entry, self.wish()))
        while processes() <= before and not loading.done():
            await checkpoint()  # nothing tells of a process that has only just been forked
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await (await loading).close()
        assert processes() <= before

    async def test_close_frees_everything(self, backend: Backend, entry: ModelEntry) -> None:
        """`close`: everything it held is free when this returns. Safe to call twice."""
        before = processes()
        model = await backend.load(entry, self.wish())
        assert model.alive
        await model.close()
        assert processes() <= before
        assert not model.alive
        await model.close()

    async def test_loading_again_holds_no_more_memory(self, backend: Backend, entry: ModelEntry) -> None:
        """`close` gives memory back; of a model that lives in this process the process itself shows it."""

        async def resident(*, while_loaded: bool) -> int:
            model = await backend.load(entry, self.wish())
            try:
                if (writer := generating(model, entry)) is not None:
                    await read(writer, self.job(most=2))
                held = memory()
            finally:
                await model.close()
            return held if while_loaded else memory()

        before = await resident(while_loaded=False)
        one = await resident(while_loaded=True) - before
        grown = await resident(while_loaded=False) - before
        assert grown <= max(one // 2, _NOISE), f"{grown} bytes are still held after loading twice more"

    async def test_close_ends_what_is_written(self, own: LoadedModel, entry: ModelEntry) -> None:
        """Whoever still reads is told, and so is whoever asks later."""
        writer = generating(own, entry)
        if writer is None:
            pytest.skip("this model generates nothing")
        async with aclosing(writer.generate(self.job(most=-1))) as events:
            await anext(events)
            await own.close()
            with suppress(RemudaError):
                async with asyncio.timeout(_SECONDS):
                    async for _ in events:
                        pass
        with pytest.raises(RemudaError):
            await read(writer, self.job())

    async def test_a_process_that_dies_is_told(self, backend: Backend, entry: ModelEntry) -> None:
        """`ended` returns, `alive` becomes false, and requests fail with an error of ours instead of waiting."""
        before = processes()
        model = await backend.load(entry, self.wish())
        try:
            behind = processes() - before
            if not behind:
                pytest.skip("no process is behind this model")
            for process in behind:
                os.kill(process, signal.SIGKILL)
            async with asyncio.timeout(_SECONDS):
                await model.ended()
            assert not model.alive
            if (writer := generating(model, entry)) is not None:
                with pytest.raises(RemudaError):
                    await read(writer, self.job())
        finally:
            await model.close()
        assert processes() <= before
