"""What the rounds of `benchmarks.proxy` come to: medians, differences to asking directly, and tables of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from msgspec import Struct

__all__ = ["StreamRun", "UnaryRun", "latency_rows", "memory_rows", "stream_rows"]

_MIB = 2**20


class UnaryRun(Struct, frozen=True):
    """Unary requests at one rate in one round. Milliseconds."""

    p50: float
    p99: float
    processor: float
    """Seconds of the proxy's processor time for 1000 requests; 0 where there is no proxy."""
    sent: int
    rate: float
    """Answers a second."""
    errors: int
    lost: int
    late: float
    """How late the generator was itself, 99th percentile."""


class StreamRun(Struct, frozen=True):
    """So many streams at once in one round."""

    rate: float
    """Lines a second."""
    processor: float | None
    """Seconds of the proxy's processor time for 100,000 lines, what it takes to begin and to break off the streams
    included; None if no line came."""
    lines: int
    begun: int
    """Streams that brought a line at all."""
    errors: int
    before: int
    peak: int
    after: int
    """Bytes of the proxy in memory."""


def _over_rounds(values: list[float], digits: int = 3) -> float:
    return round(statistics.median(values), digits)


def _added(runs: list[UnaryRun], base: list[UnaryRun], pick: Callable[[UnaryRun], float]) -> float:
    """The median of the differences, round by round."""
    return _over_rounds([pick(run) - pick(direct) for run, direct in zip(runs, base, strict=True)])


def latency_rows(
    runs: dict[int, dict[str, list[UnaryRun]]], base_of: dict[str, str], other: str = "litellm"
) -> list[dict[str, Any]]:
    """A row for each rate and contestant; `base_of` says against which one a contestant is measured. With `times_less`:
    how many times less it adds than `other` does."""
    rows: list[dict[str, Any]] = []
    for rate, by_name in runs.items():
        added = {
            name: (_added(by_name[name], by_name[base], _p50), _added(by_name[name], by_name[base], _p99))
            for name, base in base_of.items()
        }
        for name, rounds in by_name.items():
            row: dict[str, Any] = {
                "rate": rate,
                "contestant": name,
                "answered": _over_rounds([run.rate for run in rounds], 1),
                "p50_ms": _over_rounds([run.p50 for run in rounds]),
                "p99_ms": _over_rounds([run.p99 for run in rounds]),
            }
            if name in added:
                row["added_p50_ms"], row["added_p99_ms"] = added[name]
                row["processor_per_1000"] = _over_rounds([run.processor for run in rounds])
                if other in added and name != other:
                    row["times_less_p50"] = _times(added[other][0], added[name][0])
                    row["times_less_p99"] = _times(added[other][1], added[name][1])
            row["errors"] = sum(run.errors for run in rounds)
            row["lost"] = sum(run.lost for run in rounds)
            row["sent"] = sum(run.sent for run in rounds)
            rows.append(row)
    return rows


def _p50(run: UnaryRun) -> float:
    return run.p50


def _p99(run: UnaryRun) -> float:
    return run.p99


def _times(other: float, own: float) -> float | None:
    """None where the machine's noise is larger than what is added."""
    return round(other / own, 1) if own > 0 and other > 0 else None


def stream_rows(runs: dict[int, dict[str, list[StreamRun]]], base_of: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each number of streams and contestant; `share` is the median of its rate to that of its base."""
    rows: list[dict[str, Any]] = []
    for streams, by_name in runs.items():
        for name, rounds in by_name.items():
            row: dict[str, Any] = {
                "streams": streams,
                "contestant": name,
                "lines_per_second": round(statistics.median(run.rate for run in rounds)),
            }
            if base := base_of.get(name):
                pairs = zip(rounds, by_name[base], strict=True)
                row["share"] = _over_rounds([run.rate / direct.rate for run, direct in pairs if direct.rate])
                spent = [run.processor for run in rounds if run.processor is not None]
                row["processor_per_100000"] = _over_rounds(spent) if spent else None
            row["never_begun"] = sum(streams - run.begun for run in rounds)
            row["errors"] = sum(run.errors for run in rounds)
            rows.append(row)
    return rows


def memory_rows(runs: dict[int, dict[str, list[StreamRun]]], base_of: dict[str, str]) -> list[dict[str, Any]]:
    """MiB of each proxy with the largest number of streams: before it for the first time, the most, after the first and
    after the last round."""
    streams = max(runs)
    return [
        {
            "streams": streams,
            "contestant": name,
            "before_mib": round(rounds[0].before / _MIB, 1),
            "peak_mib": round(max(run.peak for run in rounds) / _MIB, 1),
            "after_first_mib": round(rounds[0].after / _MIB, 1),
            "after_last_mib": round(rounds[-1].after / _MIB, 1),
        }
        for name, rounds in runs[streams].items()
        if name in base_of
    ]
