"""The layouts of GGML files, from which GGUF was made later, and how much of either part is read here.

Such a file is a magic, sizes without names, in an order of its own for each type of model, a vocabulary, and tensors up
to its end, each behind its name and shape. All is little-endian. What kind of model it is, it does not say.

Where this is written down: the examples of ggml and llama.cpp of May to August 2023, and the loaders of ctransformers
0.2.27. Sizes have GGUF's names here.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ..gguf.layout import TENSOR_TYPES, TensorType

__all__ = [
    "BOUNDS",
    "FILE_TYPES",
    "FRACTIONS",
    "KNOWN_TYPES",
    "LAYOUTS",
    "MAGICS",
    "MAX_FRONT",
    "MAX_MERGES",
    "MAX_NAME",
    "MAX_TOKEN",
    "MIXED",
    "MODEL_TYPES",
    "TYPES",
    "Layout",
    "known_type",
]

MAGICS: Final[dict[bytes, tuple[str, tuple[int, ...]]]] = {
    b"lmgg": ("ggml", ()),
    b"fmgg": ("ggmf", (1,)),
    b"tjgg": ("ggjt", (1, 2, 3)),
    b"ccgg": ("ggcc", (10,)),
}
"""How files begin: the magic's name and the versions there are of it, which follow it; the oldest has none."""

MAX_FRONT: Final = 40 * 1024 * 1024
"""Bytes before the tensors."""
MAX_TOKEN: Final = 65_535
"""Bytes."""
MAX_NAME: Final = 63
"""Bytes of a tensor's name."""
MAX_MERGES: Final = 2**20
_VOCABULARY: Final = 2**20
"""Tokens: each costs a step of Python."""

BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "vocab_size": (1, _VOCABULARY),
    "context_length": (1, 2**24),
    "embedding_length": (1, 2**20),
    "block_count": (1, 4096),
    "attention.head_count": (1, 2**16),
    "attention.head_count_kv": (1, 2**16),
    "rope.dimension_count": (0, 2**20),
    "feed_forward_multiple": (1, 2**24),
    "use_parallel_residual": (0, 1),
    "falcon_type": (0, 1000),
    "file_type": (0, 1_000_000),
    "merge_count": (0, MAX_MERGES),
}
FRACTIONS: Final = {"attention.max_alibi_bias": (0.0, 1e6), "attention.clamp_kqv": (0.0, 1e6)}
"""The sizes, and what else stands among them: smallest and largest."""

_VOCAB, _CONTEXT, _WIDTH, _HEADS, _BLOCKS, _ROPE, _FILE = (
    "vocab_size", "context_length", "embedding_length", "attention.head_count", "block_count", "rope.dimension_count",
    "file_type",
)  # fmt: skip


class Layout(Struct, frozen=True, kw_only=True):
    """How files of one type, or of types that are told by their vocabularies, begin."""

    types: tuple[str, ...]
    """The first is taken where the vocabulary does not tell."""
    sizes: tuple[str, ...]
    """What stands between the magic and the vocabulary: 32 bits each."""
    twice: bool = False
    """Whether the size of the vocabulary is said again before it."""
    magics: tuple[str, ...] = ("ggml",)
    scores: tuple[str, ...] = ()
    """The magics with which each token is followed by a score."""


LAYOUTS: Final = (
    Layout(types=("gpt2", "starcoder"), sizes=(_VOCAB, _CONTEXT, _WIDTH, _HEADS, _BLOCKS, _FILE), twice=True),
    Layout(types=("gptj",), sizes=(_VOCAB, _CONTEXT, _WIDTH, _HEADS, _BLOCKS, _ROPE, _FILE), twice=True),
    Layout(
        types=("gptneox", "dolly-v2"),
        sizes=(_VOCAB, _CONTEXT, _WIDTH, _HEADS, _BLOCKS, _ROPE, "use_parallel_residual", _FILE),
    ),
    Layout(types=("mpt",), sizes=(_WIDTH, _CONTEXT, _HEADS, _BLOCKS, _VOCAB, *FRACTIONS, _FILE)),
    Layout(types=("replit",), sizes=(_WIDTH, _CONTEXT, _HEADS, _BLOCKS, _VOCAB, _FILE), scores=("ggml",)),
    Layout(
        types=("llama",),
        sizes=(_VOCAB, _WIDTH, "feed_forward_multiple", _HEADS, _BLOCKS, _ROPE, _FILE),
        magics=("ggml", "ggmf", "ggjt"),
        scores=("ggmf", "ggjt"),
    ),
    Layout(
        types=("falcon",),
        sizes=(_VOCAB, _WIDTH, _HEADS, "attention.head_count_kv", _BLOCKS, "falcon_type", _FILE),
        magics=("ggml", "ggmf", "ggjt", "ggcc"),
        scores=("ggmf", "ggjt", "ggcc"),
    ),
)

MODEL_TYPES: Final = tuple(sorted(type for layout in LAYOUTS for type in layout.types))
KNOWN_TYPES: Final = ", ".join(MODEL_TYPES)
"""For messages."""
_SPELLINGS: Final = {type.replace("-", ""): type for type in MODEL_TYPES} | {"gptbigcode": "starcoder"}

TYPES: Final[dict[int, TensorType]] = {
    number: TENSOR_TYPES[number] for number in (0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14)
}
"""The types of tensors that there were."""

FILE_TYPES: Final = {
    0: (0, 0), 1: (1, 1), 2: (2, 2), 3: (3, 3), 7: (7, 8), 8: (8, 6), 9: (9, 7), 10: (10, 10), 11: (11, 11),
    12: (14, 12), 13: (16, 13), 14: (18, 14),
}  # fmt: skip
"""ggml's numbers for how precise the weights are: GGUF's number for it, and the type that all matrices have."""
MIXED: Final = frozenset({"llama", "falcon"})
"""Types of models whose files have GGUF's numbers for that, and matrices of several types."""


def known_type(text: str) -> str | None:
    """One of `MODEL_TYPES` as it is spelled here; case and all but letters and digits do not matter."""
    return _SPELLINGS.get("".join(filter(str.isalnum, text.lower())))
