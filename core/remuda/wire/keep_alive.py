"""`keep_alive`: how long a model stays after its last request (Ollama API, "keep_alive").

A JSON number or a bare number string is seconds, a Go duration string carries units, negative is forever, zero
unloads. Internally: seconds as a float, `math.inf` for ever.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, Final

from ..errors import BadRequest

__all__ = ["LONGEST", "parse_keep_alive"]

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([a-zµμ]*)")
LONGEST: Final = 2**63 / 1e9
"""Seconds: the protocol's longest duration, about 292 years. What is longer is for ever, which is shown as this."""


def parse_keep_alive(value: Any) -> float | None:
    """Seconds; `math.inf` for any negative or over-long value; None when absent. Raises `BadRequest` otherwise."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        kind = "bool" if isinstance(value, bool) else "array" if isinstance(value, list) else "object"
        raise BadRequest(f"Unsupported type: '{kind}': keep_alive is a number of seconds or a duration such as \"5m\"")
    seconds = _duration(value) if isinstance(value, str) else float(value)
    if math.isnan(seconds):
        raise BadRequest("keep_alive must be a finite number of seconds")
    return math.inf if seconds < 0 or seconds > LONGEST else seconds


@lru_cache(maxsize=64)
def _duration(text: str) -> float:
    stripped = text.strip()
    sign = -1.0 if stripped.startswith("-") else 1.0
    body = stripped[1:] if stripped[:1] in {"+", "-"} else stripped
    total, end = 0.0, 0
    for part in _PART.finditer(body):
        number, unit = part.groups()
        bare = unit == "" and part.start() == 0 and part.end() == len(body)
        if part.start() != end or (unit not in _UNITS and not bare):
            break
        total, end = total + float(number) * (1.0 if bare else _UNITS[unit]), part.end()
    if not body or end != len(body):
        raise BadRequest(
            f'time: invalid duration "{text[:80]}": use seconds or a duration such as "5m", "1h30m" or "-1"'
        )
    return sign * total
