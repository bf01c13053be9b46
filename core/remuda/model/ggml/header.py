"""What is known of a GGML file once it was read."""

from __future__ import annotations

from msgspec import Struct, field

from ..weights import WeightsError

__all__ = ["GGMLError", "GGMLHeader", "GGMLTensor"]


class GGMLError(WeightsError):
    """The file is not a GGML file that can be used; the message names what is wrong, never the path."""


class GGMLTensor(Struct, frozen=True):
    """`type` as ggml calls it, such as `Q4_0`; `shape` with the fastest dimension first.

    `offset` is where its data begins, in bytes from the beginning of the file; `size` is in bytes.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    size: int


class GGMLHeader(Struct, frozen=True, kw_only=True):
    model_type: str
    """One of `MODEL_TYPES`."""
    magic: str
    """`ggml`, `ggmf`, `ggjt` or `ggcc`."""
    version: int
    """0 where the magic has none."""
    values: dict[str, int | float]
    """The sizes, by GGUF's names without the architecture: `embedding_length`, `attention.head_count`."""
    file_type: int
    """How precise the weights are, by GGUF's numbers."""
    quantization_version: int
    """How the blocks of quantised types are laid out; 2 is the present way."""
    vocabulary: tuple[int, int]
    """Where the tokens begin and end, in bytes from the beginning of the file."""
    scores: bool
    """Whether a score follows each token."""
    found: frozenset[str] = field(default_factory=frozenset[str])
    """Those of the texts that were asked for that are tokens."""
    tensor_list: tuple[GGMLTensor, ...] = ()
    """In the file's order."""

    @property
    def vocabulary_size(self) -> int:
        return self._number("vocab_size")

    @property
    def context_length(self) -> int:
        """0 where the file does not say: LLaMA, Falcon."""
        return self._number("context_length")

    @property
    def embedding_length(self) -> int:
        return self._number("embedding_length")

    @property
    def block_count(self) -> int:
        return self._number("block_count")

    @property
    def head_count(self) -> int:
        return self._number("attention.head_count")

    @property
    def head_count_kv(self) -> int:
        """Of a LLaMA as the shape of its weights tells it."""
        return self._number("attention.head_count_kv") or self.head_count

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.shape[0] * (tensor.shape[1] if len(tensor.shape) > 1 else 1) for tensor in self.tensor_list)

    def _number(self, key: str) -> int:
        return int(self.values.get(key, 0))
