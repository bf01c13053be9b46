"""How long an idle model stays: the policies `fixed` and `adaptive`.

What a request asked for holds in both. `fixed` otherwise takes the default. `adaptive` looks at the times between the
model's last requests. For any time that it could stay it knows what that would have cost: the seconds that it had held
memory for nobody, and a load for each request that came later. It takes the time that would have cost least, and for
that it counts each second of loading as a minute of idle memory.

So a model that loads slowly is kept from one request to the next where they come regularly, one that loads fast is
not, and after a burst a model goes soon. Against `fixed` with five minutes: with a request every ten minutes, a model
that loads in 20 s is loaded 4 times instead of 100, and one that loads in 2 s holds an eighth of the gigabyte-seconds
with as many loads; with bursts of ten requests two hours apart it is less than a quarter, with as many loads.
"""

from __future__ import annotations

from typing import Final

from remuda import hookimpl
from remuda.hookspecs import Usage

__all__ = ["ADAPTIVE", "FIXED", "adaptive", "remuda_keep_alive"]

FIXED: Final = "fixed"
ADAPTIVE: Final = "adaptive"

_FEWEST: Final = 3
_LAST: Final = 32
"""Times between requests: fewer say nothing yet, older ones nothing any more."""
_WORTH: Final = 60
"""Seconds of idle memory that one second of loading is worth."""
_LATE: Final = 1.25
"""How much later than before a request may come and still find the model."""
_SHORTEST: Final = 30.0
_LONGEST: Final = 3600.0
_DEFAULTS: Final = 8
"""Seconds that it stays at least, unless the default is less, and at most; nor is it more than so many defaults."""


@hookimpl
def remuda_keep_alive(usage: Usage) -> float | None:
    """What these two policies say; None for any other."""
    if usage.policy not in {FIXED, ADAPTIVE}:
        return None
    if usage.asked is not None:
        return usage.asked
    return adaptive(usage.gaps, usage.load_seconds, usage.default) if usage.policy == ADAPTIVE else usage.default


def adaptive(gaps: tuple[float, ...], load_seconds: float, default: float) -> float:
    """Seconds that a model stays, by what would have been best between its last requests; `default` with few of them.

    Between `min(default, 30)` and `min(8 * default, 3600)`, and never less for a model that takes longer to load.
    """
    if len(gaps) < _FEWEST:
        return default
    low, high = min(default, _SHORTEST), min(default * _DEFAULTS, _LONGEST)
    load = _milliseconds(load_seconds * _WORTH)
    waits = [_milliseconds(gap) for gap in gaps[-_LAST:]]
    shortest, longest = _milliseconds(low), _milliseconds(high)

    def cost(stay: int) -> int:
        return sum(wait if wait <= stay else stay + load for wait in waits)

    best = min(sorted({shortest, *(wait for wait in waits if shortest < wait <= longest)}), key=cost)
    return low if best == shortest else min(best / 1000 * _LATE, high)


def _milliseconds(seconds: float) -> int:
    """Whole ones, so that equal costs are equal and the shorter time wins."""
    return round(seconds * 1000)
