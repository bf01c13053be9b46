"""GGML files: models as they were published before GGUF, read, checked and shown."""

from __future__ import annotations

from .header import GGMLError, GGMLHeader, GGMLTensor
from .info import model_info, tensor_infos
from .layout import KNOWN_TYPES, MAGICS, MODEL_TYPES, known_type
from .read import read_ggml, vocabulary
from .reader import is_ggml

__all__ = [
    "KNOWN_TYPES",
    "MAGICS",
    "MODEL_TYPES",
    "GGMLError",
    "GGMLHeader",
    "GGMLTensor",
    "is_ggml",
    "known_type",
    "model_info",
    "read_ggml",
    "tensor_infos",
    "vocabulary",
]
