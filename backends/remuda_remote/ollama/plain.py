"""What other servers wrote, made plain: numbers, texts and times of any kind become ones that can be handed on."""

from __future__ import annotations

import math
import re
from typing import Any, Final, cast

__all__ = ["count", "text", "texts", "time"]

NEVER: Final = "0001-01-01T00:00:00Z"
"""The time of what has none, which every client can read."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_MOST: Final = 2**63 - 1
_LONGEST: Final = 512
_LIST: Final = 256


def count(value: Any) -> int:
    """Any number as one from 0 to 2**63 - 1; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return 0
    return min(max(int(value), 0), _MOST)


def text(value: Any) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""


def texts(value: Any) -> list[str]:
    """The texts of a list."""
    members = cast(list[Any], value)[:_LIST] if isinstance(value, list) else []
    return [text(member) for member in members if isinstance(member, str)]


def time(value: Any) -> str:
    """A time as it is written, if it is one."""
    return value if isinstance(value, str) and _TIME.fullmatch(value) else NEVER
