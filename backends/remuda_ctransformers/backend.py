"""GGML models through ctransformers, each in a runner process of its own."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import anyio.to_thread

from remuda.backend import Estimate, LoadWish, Measures
from remuda.model import ModelEntry
from remuda.model.parameters import MODEL_TYPE
from remuda.runner import EngineBackend

from .estimate import estimate

__all__ = ["CTransformersBackend"]


class CTransformersBackend(EngineBackend, Measures):
    """Settings: `library`, which of the libraries in the package is used ("auto").

    It takes GGML files unasked; early GGUF files, which it can read as well, where a model or a route says so.
    """

    formats: ClassVar[frozenset[str]] = frozenset({"ggml"})
    engine: ClassVar[str] = "remuda_ctransformers.engine:CTransformersEngine"
    hint: ClassVar[str] = "pip install 'remuda[ctransformers]'"

    async def estimate(self, model: ModelEntry, wish: LoadWish) -> Estimate:
        return await anyio.to_thread.run_sync(partial(estimate, model, wish))

    def settings_for(self, model: ModelEntry) -> dict[str, Any]:
        return {**self.settings, MODEL_TYPE: model.model_type}
