"""What one run of some streams gives, whoever ran it."""

from __future__ import annotations

import statistics
from typing import Any

from msgspec import Struct

__all__ = ["Run", "summary"]


class Run(Struct, frozen=True):
    """`streams` prompts at once. Times in seconds from the moment that all were sent."""

    streams: int
    generated: int
    """Tokens of all streams."""
    seconds: float
    """Until the last stream ended."""
    first: list[float]
    """Until the first token, for each stream."""

    @property
    def rate(self) -> float:
        """Generated tokens a second, all streams together, the reading of the prompts included."""
        return self.generated / self.seconds


def summary(runs: list[Run]) -> dict[str, Any]:
    """Medians over rounds: tokens a second, milliseconds to the first token at the median and the 95th percentile."""
    first = sorted(time * 1000 for run in runs for time in run.first)
    return {
        "tokens_per_second": round(statistics.median(run.rate for run in runs), 1),
        "ttft_p50_ms": round(statistics.median(first), 1),
        "ttft_p95_ms": round(first[min(len(first) - 1, int(len(first) * 0.95))], 1),
    }
