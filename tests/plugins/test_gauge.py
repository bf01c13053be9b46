"""The breaker: when something is left alone, and when it is tried again."""

from __future__ import annotations

import pytest

from remuda.plugins import Gauge

from .conftest import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gauge(clock: Clock) -> Gauge:
    return Gauge(3, 60.0, clock)


def _fail(gauge: Gauge) -> bool:
    assert gauge.admits()
    return gauge.failed(1)


def test_faults_in_a_row_open_it_for_a_while_and_then_one_call_decides(gauge: Gauge, clock: Clock) -> None:
    assert [_fail(gauge) for _ in range(3)] == [False, False, True]
    clock.now += 59.9
    assert (gauge.state, gauge.admits()) == ("resting", False)
    clock.now += 0.1
    assert (gauge.state, gauge.admits()) == ("trying", True)
    assert (gauge.state, gauge.admits()) == ("trying", False)
    gauge.succeeded(5)
    assert (gauge.state, gauge.admits()) == ("working", True)
    assert (gauge.calls, gauge.faults, gauge.dropped, gauge.ns) == (4, 3, 2, 8)


def test_a_trial_that_fails_opens_it_again_at_once(gauge: Gauge, clock: Clock) -> None:
    for _ in range(3):
        _fail(gauge)
    clock.now += 60
    assert _fail(gauge)
    assert not gauge.admits()
    clock.now += 60
    assert gauge.admits()


def test_a_success_between_starts_the_count_anew(gauge: Gauge) -> None:
    for _ in range(2):
        assert not _fail(gauge)
        assert not _fail(gauge)
        assert gauge.admits()
        gauge.succeeded(1)
    assert gauge.state == "working"


def test_a_trial_without_a_verdict_leaves_it_to_the_next(gauge: Gauge, clock: Clock) -> None:
    for _ in range(3):
        _fail(gauge)
    clock.now += 60
    for over in (lambda: gauge.left(1), gauge.skipped):
        assert gauge.admits()
        over()
    assert gauge.state == "trying"


def test_calls_that_began_before_it_opened_say_no_more(gauge: Gauge, clock: Clock) -> None:
    assert all(gauge.admits() for _ in range(4))
    assert [gauge.failed(1) for _ in range(4)] == [False, False, True, False]
    clock.now += 60
    assert gauge.state == "trying"
