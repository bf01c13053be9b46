"""What the server does by itself when it starts: load models, and find out whether it can do what it is there for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ..errors import RemudaError

__all__ = ["Readiness"]

_log = logging.getLogger("remuda.pipeline")


class Readiness:
    """`load(name)` loads a model; `prove(name)` has it write a token. Both raise `RemudaError`."""

    def __init__(
        self,
        preload: Sequence[str],
        model: str,
        load: Callable[[str], Awaitable[object]],
        prove: Callable[[str], Awaitable[object]],
    ) -> None:
        self._model, self._load, self._prove = model, load, prove
        self._loading = list(preload)
        self._proven = not model
        self._fault = ""
        self._preloads: asyncio.Task[None] | None = None
        self._proof: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._preloads = asyncio.create_task(self._load_all())
        self._begin_proof()

    def missing(self) -> str:
        """What keeps the server from being ready; empty if it is. A proof that failed is tried once more then.

        A model of the preload list that cannot be loaded is in the log, and keeps nobody waiting.
        """
        if self._preloads is None:
            return "the server is starting"
        if self._loading:
            return f"still loading {', '.join(self._loading)}"
        if self._proven:
            return ""
        if self._proof is None or self._proof.done():
            self._begin_proof()
        return self._fault or f"{self._model} has not answered yet"

    async def close(self) -> None:
        tasks = [task for task in (self._preloads, self._proof) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _load_all(self) -> None:
        """One after the other: together they would only be slower, and the first would not be there sooner."""
        while self._loading:
            name = self._loading[0]
            try:
                await self._load(name)
            except RemudaError as error:
                _log.error("%s, which residency.preload names, could not be loaded: %s", name, error)
            except Exception:
                _log.exception("%s, which residency.preload names, could not be loaded", name)
            self._loading.pop(0)

    def _begin_proof(self) -> None:
        if not self._proven:
            self._proof = asyncio.create_task(self._give_proof())

    async def _give_proof(self) -> None:
        try:
            await self._prove(self._model)
        except Exception as error:
            reason = error.message if isinstance(error, RemudaError) else type(error).__name__
            self._fault = f"{self._model} (server.ready_model) could not write a token: {reason}"
            _log.warning("not ready: %s", self._fault)
        else:
            self._proven = True
