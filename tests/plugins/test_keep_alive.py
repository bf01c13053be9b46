"""The policies `fixed` and `adaptive`."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings, strategies as st
from msgspec import structs

from remuda.hookspecs import Usage
from remuda.plugins import Plugins
from remuda_plugins import keep_alive
from remuda_plugins.keep_alive import ADAPTIVE, FIXED, adaptive

MINUTE, HOUR = 60.0, 3600.0
DEFAULT = 5 * MINUTE
REGULAR = (10 * MINUTE,) * 5


@pytest.fixture
def plugins() -> Plugins:
    made = Plugins()
    assert made.add(keep_alive, "keep_alive").fault == ""
    return made


def _usage(policy: str, asked: float | None = None, gaps: tuple[float, ...] = (), load_seconds: float = 0.0) -> Usage:
    return Usage(model="m", policy=policy, asked=asked, default=DEFAULT, gaps=gaps, load_seconds=load_seconds)


@pytest.mark.parametrize("policy", [FIXED, ADAPTIVE])
@pytest.mark.parametrize("asked", [0.0, 7.0, HOUR, math.inf])
def test_what_a_request_asked_for_holds(plugins: Plugins, policy: str, asked: float) -> None:
    assert plugins.keep_alive(_usage(policy, asked, REGULAR, 20.0)) == asked


def test_fixed_is_the_default(plugins: Plugins) -> None:
    assert plugins.keep_alive(_usage(FIXED, None, REGULAR, 20.0)) == DEFAULT
    assert plugins.keep_alive(structs.replace(_usage(FIXED), default=math.inf)) == math.inf


def test_policies_of_others_are_left_to_them(plugins: Plugins) -> None:
    assert plugins.keep_alive(_usage("another", 7.0, REGULAR, 20.0)) is None


@pytest.mark.parametrize(
    ("gaps", "load_seconds", "seconds"),
    [
        ((), 20.0, DEFAULT),
        (REGULAR[:2], 20.0, DEFAULT),
        (REGULAR, 20.0, 12.5 * MINUTE),
        (REGULAR, 2.0, 30.0),
        ((10 * MINUTE, 11 * MINUTE, 9 * MINUTE), 20.0, 1.25 * 11 * MINUTE),
        ((40.0, 50.0, 45.0, 6 * HOUR), 2.0, 1.25 * 50.0),
        ((1.0, 2.0, 1.5, 1.0), 20.0, 30.0),
        ((0.0,) * 8, 20.0, 30.0),
        ((35 * MINUTE,) * 8, 600.0, 8 * DEFAULT),
        ((50 * MINUTE,) * 8, 600.0, 30.0),
        ((HOUR,) * 8 + (MINUTE,) * 32, 600.0, 1.25 * MINUTE),
    ],
    ids=[
        "never asked twice",
        "few gaps",
        "regular, slow to load",
        "regular, quick to load",
        "nearly regular",
        "a session and a night",
        "a burst",
        "all at once",
        "nearly as long as it may be",
        "longer than it may be",
        "another rhythm than long ago",
    ],
)
def test_adaptive(plugins: Plugins, gaps: tuple[float, ...], load_seconds: float, seconds: float) -> None:
    assert plugins.keep_alive(_usage(ADAPTIVE, None, gaps, load_seconds)) == seconds


GAPS = st.lists(st.floats(0, 30 * 24 * HOUR), max_size=40).map(tuple)
LOADS = st.floats(0, 1e6)


@settings(max_examples=50, deadline=None)
@given(gaps=GAPS, load=LOADS, more=LOADS, default=st.floats(0, 1e9))
def test_adaptive_is_bounded_and_never_less_for_a_slower_load(
    gaps: tuple[float, ...], load: float, more: float, default: float
) -> None:
    stay = adaptive(gaps, load, default)
    if len(gaps) < 3:
        assert stay == default
    else:
        assert min(default, 30.0) <= stay <= min(8 * default, HOUR)
    assert adaptive(gaps, load + more, default) >= stay


@settings(max_examples=20, deadline=None)
@given(gaps=GAPS.filter(lambda gaps: len(gaps) >= 3), load=LOADS)
def test_adaptive_comes_to_an_end_even_where_the_default_does_not(gaps: tuple[float, ...], load: float) -> None:
    assert 30.0 <= adaptive(gaps, load, math.inf) <= HOUR


class Bill(NamedTuple):
    loads: int
    held: float
    """Gigabyte-seconds in which nobody used it."""


def _play(arrivals: list[float], policy: Callable[[tuple[float, ...]], float]) -> Bill:
    """What a model of 4 GB costs that is asked for at these moments, and answers at once."""
    gaps: tuple[float, ...] = ()
    stay = policy(gaps)
    loads, held = 1, 0.0
    for before, now in pairwise(arrivals):
        gap = now - before
        loads, held = loads + (gap > stay), held + min(gap, stay)
        gaps += (gap,)
        stay = policy(gaps)
    return Bill(loads, 4 * (held + stay))


def _both(arrivals: list[float], load_seconds: float) -> tuple[Bill, Bill]:
    return _play(arrivals, lambda _: DEFAULT), _play(arrivals, lambda gaps: adaptive(gaps, load_seconds, DEFAULT))


EVERY_TEN_MINUTES = [10 * MINUTE * number for number in range(100)]
BURSTS = [2 * HOUR * burst + 5.0 * number for burst in range(20) for number in range(10)]
NOW_AND_THEN = [6 * HOUR * number for number in range(20)]


def test_a_model_that_loads_slowly_and_is_asked_for_regularly_is_loaded_fewer_times() -> None:
    fixed, bill = _both(EVERY_TEN_MINUTES, 20.0)
    assert (fixed.loads, bill.loads) == (100, 4)


def test_a_model_that_loads_quickly_and_is_asked_for_regularly_holds_less() -> None:
    fixed, bill = _both(EVERY_TEN_MINUTES, 2.0)
    assert (fixed.loads, bill.loads) == (100, 100)
    assert bill.held < 0.13 * fixed.held


def test_between_bursts_it_holds_less_and_is_loaded_as_often() -> None:
    fixed, bill = _both(BURSTS, 20.0)
    assert (fixed.loads, bill.loads) == (20, 20)
    assert bill.held < 0.25 * fixed.held


def test_a_model_that_is_asked_for_now_and_then_holds_less() -> None:
    fixed, bill = _both(NOW_AND_THEN, 20.0)
    assert (fixed.loads, bill.loads) == (20, 20)
    assert bill.held < 0.25 * fixed.held


def test_a_model_that_is_asked_for_once_costs_the_same() -> None:
    fixed, bill = _both([0.0], 20.0)
    assert bill == fixed
