"""What a LLaMA file leaves to be computed: how many heads share their keys, and how wide its feed-forward networks are.

The library computes both for itself, and refuses a file whose weights have other shapes without saying why.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from .header import GGMLError, GGMLTensor

__all__ = ["check_shared"]

_SHARED: Final = 8
"""So many heads have their keys and values together, as in the largest LLaMA; or else each has its own."""
_BLOCKS: Final = 80
"""Of the largest one, whose networks are wider."""
_FLOAT: Final = struct.Struct("<f")
_WIDER: Final = _FLOAT.unpack(_FLOAT.pack(1.3))[0]


def check_shared(values: Mapping[str, int | float], tensors: Iterable[GGMLTensor]) -> int:
    """How many heads share their keys: 1 or 8. `tensors` are all that the model has.

    Raises `GGMLError` for one whose shape is not what follows from the sizes.
    """
    found = {tensor.name: tensor.shape for tensor in tensors}
    width, heads, multiple, blocks = (
        int(values[name])
        for name in ("embedding_length", "attention.head_count", "feed_forward_multiple", "block_count")
    )
    together = heads % _SHARED == 0 and found["layers.0.attention.wk.weight"] == (width, width // _SHARED)
    shared = _SHARED if together else 1
    inner = _inner(width, multiple, wider=together and blocks == _BLOCKS)
    keys, into, back = (width, width // shared), (width, inner), (inner, width)
    each = "a head has keys of its own, or eight have some together"
    from_multiple = f"'feed_forward_multiple' is {multiple}"
    parts = {
        "attention.wk": (keys, each), "attention.wv": (keys, each), "feed_forward.w1": (into, from_multiple),
        "feed_forward.w2": (back, from_multiple), "feed_forward.w3": (into, from_multiple),
    }  # fmt: skip
    for number in range(blocks):
        for part, (shape, reason) in parts.items():
            name = f"layers.{number}.{part}.weight"
            if found[name] != shape:
                raise GGMLError(
                    f"the tensor {name!r} has the shape {list(found[name])}, where {list(shape)} is expected: {reason}"
                )
    return shared


def _inner(width: int, multiple: int, *, wider: bool) -> int:
    """How wide the networks are inside, in the library's own arithmetic: a factor is a float of 32 bits."""
    inner = 8 * width // 3
    if wider:
        inner = int(_FLOAT.unpack(_FLOAT.pack(inner * _WIDER))[0])
    return -(-inner // multiple) * multiple
