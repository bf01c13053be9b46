"""`POST /api/embed` and the older `POST /api/embeddings` (Ollama API, sections 1.9 and 1.10)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

__all__ = ["EmbedRequest", "EmbedResponse", "EmbeddingsRequest", "EmbeddingsResponse"]


class EmbedRequest(Struct, frozen=True, kw_only=True):
    """`None` is absent or null. Fields typed `Any` are checked where they are used."""

    model: str | None = None
    input: Any = None
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class EmbedResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One vector of length 1 for each input, in order. Durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0


class EmbeddingsRequest(Struct, frozen=True, kw_only=True):
    model: str | None = None
    prompt: str | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class EmbeddingsResponse(Struct, frozen=True):
    embedding: list[float]
