"""What is known of a GGUF file once its header was read."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from ..weights import WeightsError
from .layout import DEFAULT_ALIGNMENT

__all__ = ["ArrayPlace", "GGUFError", "GGUFHeader", "TensorPlace", "TextPlace", "kind_of"]

_ENCODERS: Final = ("vision", "audio")


class GGUFError(WeightsError):
    """The file is not a GGUF that can be used; the message names the field at fault, never the path."""


class ArrayPlace(Struct, frozen=True):
    """An array that was skipped: its element type, its length, and where its elements begin and end."""

    kind: int
    length: int
    offset: int
    end: int


class TextPlace(Struct, frozen=True):
    """A text too long to be kept: where its bytes begin and end."""

    offset: int
    end: int


class TensorPlace(Struct, frozen=True):
    """`type` as ggml calls it, such as `Q4_K`, or `unknown(99)`; `shape` with the fastest dimension first.

    `offset` counts from the header's `data_offset`; `size` is in bytes, 0 for an unknown type.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size: int


class GGUFHeader(Struct, frozen=True, kw_only=True):
    """`values` holds scalars and texts by key, arrays as `ArrayPlace`, endless texts as `TextPlace`."""

    version: int
    values: dict[str, Any]
    tensors: int
    parameters: int
    """Elements of all tensors."""
    tensor_list: tuple[TensorPlace, ...] = ()
    """In the file's order."""
    alignment: int = DEFAULT_ALIGNMENT
    """What the places of tensors are multiples of."""
    data_offset: int = 0
    """Where the tensors' data begins, in bytes from the beginning of the file."""
    file_size: int = 0

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """0 when absent or not a whole number."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    def of_architecture(self, key: str) -> int:
        """A whole number under the architecture's own prefix, such as `llama.context_length`."""
        return self.number(f"{self.architecture}.{key}")

    @property
    def shard(self) -> int:
        """Which file of a split GGUF it is, counted from 0."""
        return self.number("split.no")

    @property
    def shards(self) -> int:
        """Of how many files it is one; 1 when it is whole."""
        return max(1, self.number("split.count"))


def kind_of(header: GGUFHeader) -> Literal["model", "projector", "adapter"]:
    """What part of a model the file is (Ollama API, "Layer typing of GGUF files")."""
    kind, architecture = header.text("general.type"), header.architecture
    if kind == "adapter":
        return "adapter"
    if kind in {"projector", "mmproj"}:
        return "projector"
    if architecture == "clip" and any(header.values.get(f"clip.has_{name}_encoder") is True for name in _ENCODERS):
        return "projector"
    sees, speaks = (f"{architecture}.{name}" in header.values for name in ("vision.block_count", "block_count"))
    return "projector" if sees and not speaks else "model"
