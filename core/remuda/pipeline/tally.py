"""What the requests for models came to since the start, told apart by endpoint, model and backend.

Each kind of request is kept for as long as the server runs, since a figure that only grows must not begin anew. A
client can make models, and so kinds, without end: their number is bounded, and what comes later counts as `OTHER`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from ..hookspecs import Receipt

__all__ = ["OTHER", "Kind", "Tally", "Totals"]

_BOUNDS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
OTHER: Final = "other"
"""In place of a model's name. No model has this one: names end in a tag."""
_MOST: Final = 500
"""Kinds, beside those of `OTHER`."""


class Kind(Struct, frozen=True):
    endpoint: str
    model: str
    backend: str


class Totals(Struct, kw_only=True):
    """Of the requests of one kind. Times in nanoseconds."""

    statuses: Counter[int] = field(default_factory=Counter[int])
    durations: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    """How many took so long: a number for each range that ends at one of `Tally.bounds`, and one for what is beyond."""
    total_ns: int = 0
    load_ns: int = 0
    prompt_ns: int = 0
    output_ns: int = 0
    prompt_tokens: int = 0
    """Those that were reused included."""
    cached_tokens: int = 0
    output_tokens: int = 0


class Tally:
    bounds: Final = _BOUNDS
    """Seconds, rising."""

    def __init__(self) -> None:
        self._kinds: dict[Kind, Totals] = {}
        self._spelt: dict[str, str] = {}

    @property
    def kinds(self) -> Mapping[Kind, Totals]:
        """Not to be changed."""
        return self._kinds

    def add(self, receipt: Receipt, model: str) -> None:
        """`model` is its whole name. Upstreams take a name in any case: the case that came first stays."""
        kind = Kind(receipt.endpoint, self._spelt.get(model.lower(), model), receipt.backend)
        if kind not in self._kinds:
            if len(self._kinds) < _MOST:
                self._spelt.setdefault(model.lower(), model)
            else:
                kind = Kind(receipt.endpoint, OTHER, receipt.backend)
        totals = self._kinds.setdefault(kind, Totals())
        totals.statuses[receipt.status] += 1
        totals.durations[bisect_left(_BOUNDS, receipt.total_ns / 1e9)] += 1
        totals.total_ns += receipt.total_ns
        totals.load_ns += receipt.load_ns
        totals.prompt_ns += receipt.prompt_ns
        totals.output_ns += receipt.output_ns
        totals.prompt_tokens += receipt.prompt_tokens
        totals.cached_tokens += receipt.cached_tokens
        totals.output_tokens += receipt.output_tokens
