"""An embedder's number of threads follows what is fast."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings, strategies as st

from remuda_llamacpp.pace import Pace


def run(pace: Pace, batches: int, cost: Callable[[int], float]) -> list[int]:
    """Threads of each micro-batch, where one with so many threads takes `cost` nanoseconds for a token."""
    used: list[int] = []
    for number in range(batches):
        tokens = 250 if number % 3 else 5
        used.append(pace.threads())
        pace.note(used[-1], tokens, round(cost(used[-1]) * (10 + tokens)))
    return used


def test_the_usual_number_stays_where_it_is_faster() -> None:
    used = run(Pace((2, 1)), 1000, lambda threads: 1000 / threads)
    assert used[:4] == [2, 2, 2, 2]
    assert 0 < used.count(1) <= 1000 / 32 + 1


def test_one_thread_is_taken_where_others_are_in_the_way() -> None:
    used = run(Pace((2, 1)), 1000, lambda threads: 1000 if threads == 1 else 50_000)
    assert used[:5] == [2, 2, 2, 2, 1]
    assert used[5:].count(2) <= 2  # trials of what is so slow are rare


def test_it_finds_its_way_back() -> None:
    pace = Pace((2, 1))
    run(pace, 200, lambda threads: 1000 if threads == 1 else 3000)
    assert run(pace, 200, lambda threads: 1000 / threads)[-20:].count(2) >= 18


def test_a_small_gain_is_none() -> None:
    assert run(Pace((2, 1)), 400, lambda threads: 900 if threads == 1 else 1000).count(1) <= 30


def test_one_choice_is_the_choice() -> None:
    assert set(run(Pace((3,)), 100, lambda _: 1)) == {3}
    assert set(run(Pace((1, 1)), 100, lambda _: 1)) == {1}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 10**9)), max_size=200))
def test_any_times_will_do(batches: list[tuple[int, int]]) -> None:
    pace = Pace((4, 1))
    for tokens, spent in batches:
        threads = pace.threads()
        assert threads in {1, 4}
        pace.note(threads, tokens, spent)
