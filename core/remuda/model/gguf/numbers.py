"""Numbers as JSON, as short as they can be said."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

__all__ = ["json_float32", "json_float64", "short_float32"]

_WHOLE = 2.0**53


def short_float32(values: Sequence[float]) -> list[str]:
    """Each with six digits, or as many more as make the same 32-bit float: `1e-05`, not `9.999999747378752e-06`."""
    texts = [f"{value:.6g}" for value in values]
    for digits in (7, 8, 9):
        again = struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *map(float, texts)))
        wrong = [place for place, value in enumerate(values) if again[place] != value]
        if not wrong:
            break
        for place in wrong:
            texts[place] = f"{values[place]:.{digits}g}"
    return texts


def json_float32(values: Sequence[float]) -> list[str]:
    """Whole numbers without a fraction, as the protocol writes them; null for what JSON cannot say."""
    return [_json(value, text) for value, text in zip(values, short_float32(values), strict=True)]


def json_float64(values: Sequence[float]) -> list[str]:
    return [_json(value, repr(value)) for value in values]


def _json(value: float, text: str) -> str:
    if not math.isfinite(value):
        return "null"
    return str(int(value)) if abs(value) < _WHOLE and value.is_integer() else text
