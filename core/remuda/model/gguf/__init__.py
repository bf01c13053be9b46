"""GGUF files: what their headers say, whether they are sound, and how the parts of a split one are joined."""

from __future__ import annotations

from .check import check_gguf
from .header import ArrayPlace, GGUFError, GGUFHeader, TensorPlace, TextPlace, kind_of
from .info import model_info, tensor_infos
from .reader import read_header
from .shards import merge_shards

__all__ = [
    "ArrayPlace",
    "GGUFError",
    "GGUFHeader",
    "TensorPlace",
    "TextPlace",
    "check_gguf",
    "kind_of",
    "merge_shards",
    "model_info",
    "read_header",
    "tensor_infos",
]
