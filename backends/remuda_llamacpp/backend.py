"""GGUF models through llama.cpp, each in a runner process of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import ClassVar

from remuda.backend import Quantizes
from remuda.runner import EngineBackend

from .quantize import quantize

__all__ = ["LlamaCppBackend"]


class LlamaCppBackend(EngineBackend, Quantizes):
    """Settings: `flash_attention` ("auto", true, false) and `kv_cache_type` ("f16", "q8_0", "q4_0")."""

    formats: ClassVar[frozenset[str]] = frozenset({"gguf"})
    engine: ClassVar[str] = "remuda_llamacpp.engine:LlamaEngine"
    hint: ClassVar[str] = "pip install 'remuda[llamacpp]'"
    # The default of 300,000 turns lets a waiting compute thread hold a core that the server needs for the token just
    # made; none at all costs two thirds of the speed, because every barrier then goes through the kernel. Measured
    # through HTTP at one stream on two cores: 0.92 of a bare loop with the default, 0.97 with this.
    environment: ClassVar[dict[str, str]] = {"GOMP_SPINCOUNT": "100000"}

    def quantize(self, source: Path, target: Path, kind: str) -> AsyncGenerator[tuple[int, int], None]:
        return quantize(source, target, kind)
