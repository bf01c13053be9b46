"""An embedder's number of threads follows what is fast."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from remuda_llamacpp.threads.control import ThreadControl, Work


def embed(control: ThreadControl, clock: list[int], batches: int, cost: Callable[[int], float]) -> list[int]:
    """Threads of each micro-batch, where one with so many threads takes `cost` nanoseconds for a token."""
    used: list[int] = []
    for number in range(batches):
        tokens = 250 if number % 3 else 5
        used.append(control.threads(Work.EMBED, tokens))
        spent = round(cost(used[-1]) * (10 + tokens))
        clock[0] += spent
        control.note(Work.EMBED, tokens, used[-1], spent)
    return used


@pytest.fixture
def clock() -> list[int]:
    return [0]


@pytest.fixture
def embedder(clock: list[int]) -> ThreadControl:
    return ThreadControl((2, 1), clock=lambda: clock[0], idle=lambda _: None)


def test_the_usual_number_stays_where_it_is_faster(embedder, clock):
    used = embed(embedder, clock, 1000, lambda threads: 50_000 / threads)
    assert used[:4] == [2, 2, 2, 2]
    assert 0 < used.count(1) <= 1000 / 32 + 1


def test_one_thread_is_taken_where_others_are_in_the_way(embedder, clock):
    used = embed(embedder, clock, 1000, lambda threads: 1000 if threads == 1 else 50_000)
    assert used.index(1) <= 2 * 4  # there are two sizes
    assert used[10:].count(2) <= 6  # trials of what is so slow are rare


def test_it_finds_its_way_back(embedder, clock):
    embed(embedder, clock, 200, lambda threads: 50_000 if threads == 1 else 150_000)
    assert embed(embedder, clock, 600, lambda threads: 50_000 / threads)[-20:].count(2) >= 18


def test_a_small_gain_is_none(embedder, clock):
    assert embed(embedder, clock, 400, lambda threads: 49_500 if threads == 1 else 50_000).count(1) <= 30


def test_one_choice_is_the_choice(clock):
    for choices in ((3,), (1, 1)):
        assert set(embed(ThreadControl(choices), clock, 100, lambda _: 1)) == {choices[0]}
