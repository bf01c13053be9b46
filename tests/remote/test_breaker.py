"""An upstream that fails is left alone, and tried again by one attempt at a time."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from remuda_remote.breaker import Breaker


def opened(breaker: Breaker | None = None, now: float = 0.0) -> Breaker:
    breaker = breaker or Breaker(failures=5, cooldown=10.0)
    assert [breaker.failed(now) for _ in range(breaker.failures)] == [False] * (breaker.failures - 1) + [True]
    return breaker


def test_five_failures_in_a_row_take_it_down() -> None:
    breaker = opened(now=7.0)
    assert breaker.health(7.0) == breaker.health(16.9) == "down"
    assert not breaker.admits(16.9)
    assert breaker.wait(8.0) == 9.0
    assert breaker.row == 5


def test_a_whole_answer_resets_the_row() -> None:
    breaker = Breaker(failures=5)
    for _ in range(3):
        assert not any(breaker.failed(0.0) for _ in range(4))
        breaker.well()
    assert breaker.health(0.0) == "up"


def test_after_the_cooldown_exactly_one_attempt_is_the_trial() -> None:
    breaker = opened()
    assert breaker.health(10.0) == "trying"
    assert breaker.admits(10.0)
    trial = breaker.begin(10.0)
    assert trial
    assert breaker.health(10.0) == "trying"
    assert not breaker.admits(1000.0)
    assert breaker.begin(1000.0) == 0
    assert breaker.began(trial)
    assert breaker.health(10.0) == "up"
    assert breaker.begin(10.0) == 0


def test_a_trial_that_fails_doubles_the_cooldown_up_to_sixteen_times() -> None:
    breaker, now = opened(), 0.0
    waits = []
    for _ in range(7):
        waits.append(breaker.wait(now))
        now += breaker.wait(now)
        assert not breaker.failed(now, breaker.begin(now))
    assert waits == [10, 20, 40, 80, 160, 160, 160]


def test_a_trial_that_says_nothing_leaves_the_next_attempt_to_be_one() -> None:
    breaker = opened()
    breaker.abandoned(breaker.begin(10.0))
    assert breaker.admits(10.0)
    assert breaker.begin(10.0)


def test_answers_that_begin_well_and_break_off_do_not_shorten_the_cooldown() -> None:
    breaker = opened()
    assert breaker.began(breaker.begin(10.0))
    opened(breaker, 11.0)
    assert breaker.wait(11.0) == 20.0
    breaker.began(breaker.begin(31.0))
    breaker.well()
    opened(breaker, 40.0)
    assert breaker.wait(40.0) == 10.0


def test_attempts_from_before_it_went_down_change_nothing() -> None:
    breaker = opened()
    assert not breaker.failed(5.0)
    breaker.well()
    assert (breaker.health(9.0), breaker.wait(9.0)) == ("down", 1.0)


def test_a_trial_that_is_over_has_no_say() -> None:
    breaker = opened()
    first = breaker.begin(10.0)
    breaker.abandoned(first)
    second = breaker.begin(10.0)
    assert not breaker.failed(10.0, first)
    assert not breaker.began(first)
    assert breaker.began(second)


def test_probes_that_pass_do_not_forgive_answers_that_fail() -> None:
    breaker = Breaker(failures=3)
    for _ in range(2):
        assert not breaker.failed(0.0)
        assert not breaker.probe_passed()
    assert breaker.failed(0.0)


def test_probes_that_fail_take_it_down_and_one_that_passes_brings_it_back_before_the_cooldown_is_over() -> None:
    breaker = Breaker(failures=2)
    breaker.probe_failed(0.0)
    breaker.probe_passed()
    assert not breaker.probe_failed(0.0)
    assert breaker.probe_failed(0.0)
    assert breaker.probe_passed()
    assert breaker.health(0.0) == "up"


def test_a_server_that_lists_but_does_not_answer_stays_down_until_it_is_tried_or_proved() -> None:
    breaker = opened()
    assert not breaker.probe_passed()
    assert breaker.health(1.0) == "down"
    assert breaker.probe_passed(proved=True)
    opened(breaker, 20.0)
    assert breaker.probe_passed(breaker.begin(50.0))
    assert breaker.health(50.0) == "up"


def test_a_probe_that_is_the_trial_and_fails_doubles_the_cooldown() -> None:
    breaker = opened()
    assert not breaker.probe_failed(10.0, breaker.begin(10.0))
    assert breaker.wait(10.0) == 20.0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "began", "failed", "left", "well", "ok", "bad"]), st.integers(0, 40)),
        max_size=60,
    )
)
def test_never_two_trials_and_never_down_for_long(steps: list[tuple[str, int]]) -> None:
    breaker, now = Breaker(failures=2, cooldown=10.0), 0.0
    out: list[int] = []
    for step, seconds in steps:
        now += seconds
        if step == "begin" and breaker.admits(now):
            was = breaker.health(now)
            trial = breaker.begin(now)
            assert (trial > 0) == (was == "trying")
            out.append(trial)
        elif step == "well":
            breaker.well()
        elif step == "ok":
            breaker.probe_passed()
        elif step == "bad":
            breaker.probe_failed(now)
        elif out and step == "began":
            breaker.began(out.pop(0))
        elif out and step == "left":
            breaker.abandoned(out.pop(0))
        elif out and step == "failed":
            breaker.failed(now, out.pop(0))
        assert 0 <= breaker.wait(now) <= 160
        assert breaker.admits(now) or breaker.wait(now) > 0 or any(out)
