"""The text format in which Prometheus reads figures, version 0.0.4 (Prometheus, "Exposition formats").

Every figure belongs to a family: a name, what it means, and a sample for each set of its labels' values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal

__all__ = ["CONTENT_TYPE", "Family", "exposition"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Family:
    """Names and help are ours and are written as they are; the values of labels may be any text."""

    def __init__(self, name: str, kind: Literal["counter", "gauge", "histogram"], help: str, *labels: str) -> None:
        self.name = name
        self._kind, self._help, self._labels = kind, help, labels
        self._samples: dict[str, float] = {}

    def add(self, value: float, *labels: str) -> None:
        """`labels` are the values of the labels, in order. Samples whose labels are equal are added up."""
        self._put("", value, zip(self._labels, labels, strict=True))

    def add_histogram(self, counts: Sequence[int], bounds: Sequence[float], total: float, *labels: str) -> None:
        """`counts` has one number more than `bounds`; `total` is the sum of everything that was counted."""
        named, below = list(zip(self._labels, labels, strict=True)), 0
        for bound, count in zip((*bounds, math.inf), counts, strict=True):
            below += count
            self._put("_bucket", below, [*named, ("le", _number(bound))])
        self._put("_sum", total, named)
        self._put("_count", below, named)

    def __str__(self) -> str:
        lines = [f"# HELP {self.name} {self._help}", f"# TYPE {self.name} {self._kind}"]
        lines += (f"{sample} {_number(value)}" for sample, value in self._samples.items())
        return "\n".join(lines) + "\n"

    def _put(self, suffix: str, value: float, labels: Iterable[tuple[str, str]]) -> None:
        pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
        sample = f"{self.name}{suffix}{{{pairs}}}" if pairs else self.name + suffix
        self._samples[sample] = self._samples.get(sample, 0) + value


def exposition(families: Iterable[Family]) -> bytes:
    return "".join(map(str, families)).encode("utf-8", "replace")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
