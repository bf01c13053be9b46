"""What `/api/show` tells of a GGML file: its sizes as JSON, by the keys that GGUF has for them, and its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from ...wire.manage import TensorInfo
from ..gguf.numbers import json_float64
from .header import GGMLHeader
from .read import vocabulary

__all__ = ["model_info", "tensor_infos"]


def model_info(path: Path, header: GGMLHeader, *, verbose: bool) -> bytes:
    """A JSON object, keys sorted. Unless `verbose`, null stands for the tokens. Blocking. Raises `GGMLError`."""
    said: dict[str, Any] = {
        "general.architecture": header.model_type,
        "general.file_type": header.file_type,
        "general.parameter_count": header.parameters,
        "general.quantization_version": header.quantization_version,
        "tokenizer.ggml.tokens": None,
    }
    for name, value in header.values.items():
        if name not in {"file_type", "merge_count"}:
            said[f"{header.model_type}.{name}"] = _value(name, value)
    if verbose:
        said["tokenizer.ggml.tokens"] = [text.decode("utf-8", "replace") for text in vocabulary(path, header)]
    return msgspec.json.encode(said, order="sorted")


def tensor_infos(header: GGMLHeader) -> list[TensorInfo]:
    """In the file's order."""
    return [TensorInfo(tensor.name, tensor.type, list(tensor.shape)) for tensor in header.tensor_list]


def _value(name: str, value: int | float) -> Any:
    if isinstance(value, float):
        return Raw(json_float64([value])[0].encode())
    return bool(value) if name == "use_parallel_residual" else value
