"""GGUF models through llama.cpp, each in a runner process of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import anyio.to_thread

from remuda.backend import Estimate, LoadWish, Measures, Quantizes
from remuda.model import ModelEntry
from remuda.runner import EngineBackend

from .devices import GPUs
from .memory.estimate import estimate
from .weights.quantize import quantize

__all__ = ["LlamaCppBackend"]


class LlamaCppBackend(EngineBackend, Quantizes, Measures):
    """Settings: `flash_attention` ("auto", true, false) and `kv_cache_type` ("f16", "q8_0", "q4_0")."""

    formats: ClassVar[frozenset[str]] = frozenset({"gguf"})
    engine: ClassVar[str] = "remuda_llamacpp.engine:LlamaEngine"
    hint: ClassVar[str] = "pip install 'remuda[llamacpp]'"
    # How often a compute thread looks before it lets its core go. The default of 300,000 times holds a core that the
    # server needs for the token just made, and where a neighbour keeps another thread from running, until the kernel
    # steps in. None at all costs two thirds of the speed: every barrier goes through the kernel. Measured on two cores,
    # ms of a step of one and of four sequences, alone, and beside a process that wants a core of its own (the system
    # having chosen the cores of the threads, see `threads/places`):
    #   1,000: 7.7, 19.5; 29, 56      3,000: 7.2, 19.5; 51, 81      100,000: 7.1, 19.4; 108, 139
    environment: ClassVar[dict[str, str]] = {"GOMP_SPINCOUNT": "3000"}

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._gpus = GPUs()

    async def estimate(self, model: ModelEntry, wish: LoadWish) -> Estimate:
        gpu = wish.options.num_gpu != 0 and bool(await self._gpus.free())
        return await anyio.to_thread.run_sync(partial(estimate, model, wish, self.settings, gpu=gpu))

    async def gpu_memory(self) -> int | None:
        free = await self._gpus.free()
        return sum(max(0, size - self.gpu_overhead) for size in free) if free else None

    def quantize(self, source: Path, target: Path, kind: str) -> AsyncGenerator[tuple[int, int], None]:
        return quantize(source, target, kind)
