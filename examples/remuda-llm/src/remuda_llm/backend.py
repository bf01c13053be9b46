"""The backend: a name of the library's becomes a loaded model."""

from __future__ import annotations

from typing import Any, ClassVar

import anyio.to_thread

from remuda.backend import Backend, LoadedModel, LoadWish
from remuda.model import ModelEntry

from .chat import Chat
from .embedder import Embedder
from .library import Library
from .trouble import translated

__all__ = ["FORMAT", "LlmBackend"]

FORMAT = "llm"
"""The `ModelEntry.format` of models of `llm`. They have no weights here."""


class ChatEmbedder(Chat, Embedder):
    """Some ids are those of a model that answers and of one that gives vectors."""


class LlmBackend(Backend):
    converses: ClassVar[bool] = True
    formats: ClassVar[frozenset[str]] = frozenset({FORMAT})

    def __init__(self, library: Library, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._library = library

    async def load(self, model: ModelEntry, wish: LoadWish) -> LoadedModel:
        name = str(model.name)
        with translated(name):
            parts = await anyio.to_thread.run_sync(self._library.load, name)
        kind = ChatEmbedder if parts.chat and parts.embedding else Chat if parts.chat else Embedder
        return kind(parts, model, wish)
