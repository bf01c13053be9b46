"""What one run of some streams gives, whoever ran it, and what several runs come to."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from msgspec import Struct

__all__ = ["Run", "gaps", "in_turn", "median_ratio", "percentile", "summary"]

T = TypeVar("T")


class Run(Struct, frozen=True):
    """`streams` prompts at once. Times in seconds from the moment that all were sent."""

    streams: int
    generated: int
    """Tokens of all streams."""
    seconds: float
    """Until the last stream ended."""
    arrivals: list[list[float]]
    """For each stream, when text of it came: usually a token at a time, several where they come together."""

    @property
    def first(self) -> list[float]:
        """Until the first token, for each stream."""
        return [times[0] for times in self.arrivals]

    @property
    def rate(self) -> float:
        """Generated tokens a second, all streams together, the reading of the prompts included."""
        return self.generated / self.seconds


def gaps(times: Sequence[float]) -> list[float]:
    """From each arrival to the next."""
    return [later - sooner for sooner, later in pairwise(times)]


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed. Raises `ValueError` for no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def median_ratio(runs: Sequence[Run], base: Sequence[Run]) -> float:
    """The median of the rates of `runs` to those of `base`, round by round."""
    return statistics.median(run.rate / other.rate for run, other in zip(runs, base, strict=True))


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Over all rounds: tokens a second (the median), and in milliseconds the time to the first token and the gap
    between one arrival and the next."""
    first = [time * 1000 for run in runs for time in run.first]
    between = [gap * 1000 for run in runs for times in run.arrivals for gap in gaps(times)]
    return {
        "tokens_per_second": round(statistics.median(run.rate for run in runs), 1),
        "ttft_p50_ms": round(statistics.median(first), 1),
        "ttft_p95_ms": round(percentile(first, 0.95), 1),
        "gap_p99_ms": round(percentile(between, 0.99), 1) if between else None,
        "rates": [round(run.rate, 1) for run in runs],
    }


def in_turn(everybody: Sequence[T], turn: int) -> list[T]:
    """`everybody` in the order of this round: whoever goes first finds the machine cooler than those after."""
    shift = turn // 2 % len(everybody) if everybody else 0
    return [*everybody[shift:], *everybody[:shift]][:: -1 if turn % 2 else 1]
