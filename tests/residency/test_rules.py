"""The small decisions, one by one."""

from __future__ import annotations

import math

from desk_world import wish
from hypothesis import given, settings, strategies as st

from remuda.backend import LoadWish
from remuda.residency.rules import (
    WINDOW,
    Limits,
    Trouble,
    after_failure,
    expiry,
    less_context,
    must_grow,
    widest,
    worth,
)

LIMITS = Limits(quarantine=10)
wishes = st.lists(st.builds(LoadWish, context=st.integers(4, 10_000), automatic=st.booleans()), min_size=1, max_size=8)


def _failures(*times: float, limits: Limits = LIMITS, before: Trouble | None = None) -> Trouble:
    trouble = before or Trouble()
    for now in times:
        trouble = after_failure(trouble, now, limits)
    return trouble


def test_the_first_failure_is_forgiven_and_the_second_makes_wait() -> None:
    assert _failures(100).not_before == 100
    assert _failures(100, 101).not_before == 101.5
    assert not _failures(100, 101).banned


def test_the_third_failure_within_a_minute_is_one_too_many() -> None:
    trouble = _failures(100, 101, 102)
    assert trouble.banned
    assert (trouble.not_before, trouble.quarantine) == (112, 10)


def test_failures_further_back_do_not_count() -> None:
    assert not _failures(100, 101, 100 + WINDOW).banned
    assert _failures(100, 101, 99.9 + WINDOW).banned
    assert _failures(100, 300) == Trouble((300,), 300)


def test_a_quarantine_is_doubled_up_to_a_bound() -> None:
    trouble, now, lengths = _failures(0, 1, 2), 100.0, list[float]()
    for _ in range(6):
        lengths.append(trouble.quarantine)
        now += 1000
        trouble = _failures(now, before=trouble)
        assert trouble.banned
        assert trouble.not_before == now + trouble.quarantine
    assert lengths == [10, 20, 40, 80, 160, 160]


def test_without_quarantine_every_try_waits_a_moment() -> None:
    trouble = _failures(1, 2, 3, 4, 5, limits=Limits(quarantine=0))
    assert (trouble.banned, trouble.not_before) == (False, 5.5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 100), max_size=30), st.sampled_from([0.0, 1.0, 60.0]))
def test_the_next_try_is_never_earlier_and_never_lost(gaps: list[float], quarantine: float) -> None:
    trouble, now = Trouble(), 0.0
    for gap in gaps:
        now += gap
        trouble = after_failure(trouble, now, Limits(quarantine=quarantine))
        assert now <= trouble.not_before <= now + max(0.5, 16 * quarantine)
        assert len(trouble.failures) < 3 or not quarantine


def test_expiry() -> None:
    assert expiry(100, 5) == 105
    assert expiry(100, 0) == 100
    assert expiry(100, -3) == 100
    assert expiry(100, math.inf) == math.inf


def test_a_model_is_loaded_anew_only_to_grow_and_only_if_asked() -> None:
    assert must_grow(4096, wish(8192))
    assert not must_grow(4096, wish(4096))
    assert not must_grow(4096, wish(1024))
    assert not must_grow(4096, wish(8192, automatic=True))


def test_one_wish_for_all() -> None:
    assert widest([wish(100), wish(300), wish(200)]) == wish(300)
    assert widest([wish(100), wish(300, automatic=True)]) == wish(300, automatic=True)
    assert widest([wish(300), wish(300, automatic=True)]).automatic is False


def test_less_is_taken_only_from_those_who_did_not_ask() -> None:
    assert widest([wish(4000, automatic=True)], 1000) == wish(1000, automatic=True)
    assert widest([wish(4000, automatic=True), wish(2000)], 1000) == wish(2000)
    assert widest([wish(500, automatic=True)], 1000) == wish(500, automatic=True)


@settings(max_examples=50, deadline=None)
@given(wishes, st.none() | st.integers(1, 20_000))
def test_one_wish_satisfies_all_who_asked(several: list[LoadWish], bound: int | None) -> None:
    one = widest(several, bound)
    assert not any(must_grow(one.context, each) for each in several)
    assert one.context <= max(each.context for each in several)
    explicit = [each.context for each in several if not each.automatic]
    assert one.automatic == (one.context > max(explicit, default=0))
    if bound is not None:
        assert one.context <= max([bound, *explicit])


def test_less_context_for_the_next_try() -> None:
    assert less_context(wish(4096, automatic=True)) == 1024
    assert less_context(wish(600, automatic=True)) == 256
    assert less_context(wish(256, automatic=True)) is None
    assert less_context(wish(4096)) is None


def test_worth_is_the_loading_saved_by_how_soon() -> None:
    assert worth(20, 10, []) > worth(2, 10, [])
    assert worth(2, 1, []) > worth(2, 100, [])
    assert worth(2, 1, [5, 5]) > worth(2, 1, [500, 500])
    assert worth(2, 0, []) < math.inf
