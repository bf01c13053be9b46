"""The numbers of the GGUF format: kinds of values, types of tensors, and how much of either is read here.

Layout: the GGUF specification of ggml, versions 1 to 3, little-endian.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

__all__ = [
    "ARRAY",
    "BOOL",
    "DEFAULT_ALIGNMENT",
    "FLOAT32",
    "FLOAT64",
    "INT32",
    "INTEGERS",
    "LENGTH",
    "MAGIC",
    "MAX_DIMENSIONS",
    "MAX_HEADER",
    "MAX_KEY",
    "MAX_KEYS",
    "MAX_LISTED_TEXTS",
    "MAX_TENSORS",
    "MAX_TENSOR_NAME",
    "MAX_TEXT",
    "MAX_TEXTS",
    "NUMBER",
    "SCALARS",
    "STRING",
    "TENSOR_TYPES",
    "UINT32",
    "TensorType",
    "by_name",
]

MAGIC: Final = b"GGUF"
DEFAULT_ALIGNMENT: Final = 32
MAX_DIMENSIONS: Final = 4
MAX_TENSOR_NAME: Final = 63
"""Bytes: ggml keeps 64, with a zero at the end."""

MAX_HEADER: Final = 40 * 1024 * 1024
"""Bytes before the data of the tensors; a quarter million tokens and their merges take 15 MB."""
MAX_KEYS: Final = 16_384
MAX_TENSORS: Final = 32_768
MAX_KEY: Final = 65_535
"""Bytes."""
MAX_TEXT: Final = 1024 * 1024
"""Bytes of a text that is read; a longer one is remembered by place, as arrays are."""
MAX_TEXTS: Final = 4 * 1024 * 1024
"""Bytes of all the keys and texts that are read."""
MAX_LISTED_TEXTS: Final = 2**21
"""Texts in all arrays together: each costs a step of Python."""

NUMBER: Final = struct.Struct("<I")
LENGTH: Final = struct.Struct("<Q")
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, FLOAT64 = 4, 5, 6, 7, 8, 9, 12
SCALARS: Final = {
    kind: struct.Struct(form)
    for kind, form in {
        0: "<B", 1: "<b", 2: "<H", 3: "<h", UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?", 10: "<Q", 11: "<q",
        FLOAT64: "<d",
    }.items()
}  # fmt: skip
INTEGERS: Final = frozenset({0, 1, 2, 3, 4, 5, 10, 11})


class TensorType(Struct, frozen=True):
    """Elements come in blocks of `block`, which take `size` bytes."""

    number: int
    name: str
    block: int
    size: int


TENSOR_TYPES: Final = {
    number: TensorType(number, *row)
    for number, row in {
        0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
    }.items()
}  # fmt: skip
"""By ggml's numbers; those that are missing were given up."""

_BY_NAME: Final = {each.name: each for each in TENSOR_TYPES.values()}


def by_name(name: str) -> TensorType | None:
    """None for a type that ggml does not have."""
    return _BY_NAME.get(name)
