"""ONNX models, each in a runner process of its own. Imported by the server, so it imports no engine."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Final

import anyio.to_thread

from remuda.backend import Estimate, LoadWish, Measures
from remuda.errors import LoadFailed
from remuda.model import ModelEntry
from remuda.runner import EngineBackend

from .folder import external_size
from .graph import read_graph
from .ports import ports_of

__all__ = ["OnnxBackend"]

_PROCESS: Final = 128 * 2**20
"""Bytes of Python, the runner, numpy and ONNX Runtime."""
_COMPUTING: Final = 32 * 2**20
"""Bytes of what lies between a micro-batch and its logits; more in large models, where it matters less."""


class OnnxBackend(EngineBackend, Measures):
    """It takes ONNX files unasked, and has no settings."""

    formats: ClassVar[frozenset[str]] = frozenset({"onnx"})
    engine: ClassVar[str] = "remuda_onnx.engine:OnnxEngine"
    hint: ClassVar[str] = "pip install --upgrade remuda-onnx"

    async def estimate(self, model: ModelEntry, wish: LoadWish) -> Estimate:
        return await anyio.to_thread.run_sync(partial(_estimate, model, wish))


def _estimate(model: ModelEntry, wish: LoadWish) -> Estimate:
    """Blocking; never raises for what a file holds."""
    try:
        graph = read_graph(model.weights)
        cell = ports_of(graph, model.weights.name).cell
        inside, outside = model.weights.stat().st_size, external_size(model.weights, graph)
    except (LoadFailed, OSError):  # loading it will say why
        return Estimate(memory=_PROCESS)
    # One cache is there twice while a token is added to it.
    caches = (wish.parallel + 1) * wish.context * cell
    return Estimate(memory=_PROCESS + _COMPUTING + inside + outside + caches)
