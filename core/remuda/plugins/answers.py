"""What hooks that answer while requests are served may say."""

from __future__ import annotations

import math
from typing import Any, Final

from ..wire.keep_alive import LONGEST

__all__ = ["MOST_URGENT", "backend_name", "seconds", "shown", "urgency"]

MOST_URGENT: Final = 1_000_000


def backend_name(answer: Any) -> str | None:
    """None for what is none."""
    return answer if isinstance(answer, str) else None


def seconds(answer: Any) -> float | None:
    """None for what is no number of seconds."""
    if isinstance(answer, bool) or not isinstance(answer, (int, float)) or not answer >= 0:
        return None
    return float(answer) if answer <= LONGEST else math.inf


def urgency(answer: Any) -> int | None:
    """None for what is no priority."""
    whole = isinstance(answer, int) and not isinstance(answer, bool)
    return int(answer) if whole and abs(answer) <= MOST_URGENT else None


def shown(answer: Any) -> str:
    """A wrong answer, for a message."""
    return str(answer) if isinstance(answer, float) else type(answer).__name__
