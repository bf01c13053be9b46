"""The sampler in numpy: what it draws, how often, and what it knows of the text."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from remuda import Sequence
from remuda.sampling import Sampler
from remuda.wire import Options

ALL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
"""Nothing is left out."""


def sampler(size: int, *, tokens: tuple[int, ...] = (0,), seed: int = 1, context: int = 100, **options) -> Sampler:
    given = Options(**{"temperature": 0.0, **options})
    return Sampler(Sequence(id=1, tokens=list(tokens), options=given, seed=seed, limit=context), context, size)


def row(*logits: float) -> np.ndarray:
    return np.array(logits, np.float32)


def drawn(logits: np.ndarray, count: int = 300, **options) -> set[int]:
    one = sampler(len(logits), **{**ALL, **options})
    return {one.sample(logits) for _ in range(count)}


@pytest.mark.parametrize(
    ("options", "chances"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.75}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"min_p": 0.6}, [4 / 7, 3 / 7, 0, 0]),
        ({"typical_p": 0.25}, [0, 1, 0, 0]),  # the mean surprise is 1.28, that of 0.3 is 1.2
    ],
)
def test_tokens_come_as_often_as_they_should(options, chances):
    logits, count = np.log(row(0.4, 0.3, 0.2, 0.1)), 4000
    one = sampler(4, **{**ALL, **options})
    seen = Counter(one.sample(logits) for _ in range(count))
    assert all(seen[token] == 0 for token, chance in enumerate(chances) if chance == 0)
    expected = {token: chance * count for token, chance in enumerate(chances) if chance}
    # Chi-square; with three degrees of freedom one in a thousand seeds is above 16.3.
    assert sum((seen[token] - wanted) ** 2 / wanted for token, wanted in expected.items()) < 16.3


def test_a_seed_gives_the_same_tokens_again_and_another_seed_others():
    rows = np.random.default_rng(1).normal(0, 2, (40, 500)).astype(np.float32)

    def text(seed: int) -> list[int]:
        one = sampler(500, seed=seed, temperature=1.0, repeat_penalty=1.2)
        return [one.sample(logits) for logits in rows]

    assert text(7) == text(7)
    assert text(7) != text(2**32 - 1)


def test_a_draw_with_one_candidate_is_a_draw_too():
    free, forced = row(1, 1, 1, 1), row(-np.inf, 1, -np.inf, -np.inf)
    one, other = sampler(4, **ALL), sampler(4, **ALL)
    assert {one.sample(forced) for _ in range(8)} == {1}
    for _ in range(8):
        other.sample(free)
    assert [one.sample(free) for _ in range(20)] == [other.sample(free) for _ in range(20)]


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"temperature": 1.0, "typical_p": 0.5}])
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_logits_stay_as_they_are(options, penalty):
    logits = row(3, 1, -2, 3, -np.inf)
    one = sampler(5, repeat_penalty=penalty, tokens=(0, 2), **options)
    for _ in range(5):
        one.sample(logits)
    assert logits.tolist() == [3, 1, -2, 3, -np.inf]


def test_without_temperature_the_first_of_the_likeliest_comes():
    assert sampler(4).sample(row(1, 5, 5, 4)) == 1
    assert sampler(4, tokens=(1,), repeat_penalty=1.1).sample(row(1, 5, 5, 5)) == 2


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 0.0}, {"top_p": 0.0, "top_k": 3}])
def test_what_leaves_one_choice_takes_the_first_of_the_likeliest(options):
    assert drawn(row(1, 5, 5, 4), **options) == {1}


def test_of_equals_the_first_are_kept():
    even = row(*[1.0] * 10)
    assert drawn(even, top_k=4) == {0, 1, 2, 3}
    assert drawn(even, top_p=0.3) == {0, 1, 2}
    assert drawn(even, min_p=1.0) == set(range(10))
    assert drawn(row(1, 2, 2, 1), min_p=1.0) == {1, 2}
    assert drawn(even, typical_p=0.3) == {0, 1, 2, 3}, "more than 0.3 is what it keeps"


def test_more_are_asked_for_than_there_are():
    assert drawn(row(1, 1, 1), top_k=2**31 - 1) == {0, 1, 2}


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 3}, {"top_k": 40}, {"typical_p": 0.99}, {"top_p": 0.99}, {"min_p": 1e-6}, {"temperature": 100.0}],
)
def test_what_a_mask_forbids_never_comes(options):
    logits = np.full(200, -np.inf, np.float32)
    logits[[3, 77, 150]] = [1.0, 1.1, 0.9]
    assert drawn(logits, **options) == {3, 77, 150}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_where_nothing_is_allowed_some_token_comes(temperature, penalty):
    logits = row(*[-np.inf] * 5)
    one = sampler(5, temperature=temperature, typical_p=0.5, min_p=0.1, repeat_penalty=penalty)
    assert 0 <= one.sample(logits) < 5


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1e-3])
def test_hardly_any_temperature_leaves_the_likeliest(temperature):
    assert drawn(row(-80, 20.0, 20.0, 19.9, 1e-30), temperature=temperature) == {1, 2}


@pytest.mark.parametrize("options", [{}, {"typical_p": 0.5}, {"top_p": 0.5}, {"min_p": 0.5}])
@pytest.mark.parametrize("penalty", [1.0, 100.0])
def test_extreme_logits_are_numbers_like_others(options, penalty):
    largest = float(np.finfo(np.float32).max)
    one = sampler(5, tokens=(0, 3), repeat_penalty=penalty, **{**ALL, **options})
    assert one.sample(row(-largest, largest / 2, 0, -1e-38, largest)) == 4


@pytest.mark.parametrize(("number", "token"), [(0.0, 1), (1 - 2**-53, 2)])
def test_the_ends_of_a_draw_are_tokens_that_can_come(monkeypatch, number, token):
    one = sampler(4, **{**ALL, "temperature": 0.01})
    monkeypatch.setattr(one, "_random", SimpleNamespace(random=lambda: number))
    assert one.sample(row(-1000, 5, 5, -1000)) == token


# --- penalties ---


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"repeat_penalty": 2.0}, [2.0, 3.0, -4.0, 1.0]),
        ({"frequency_penalty": 0.5}, [3.0, 3.0, -2.5, 1.0]),
        ({"presence_penalty": 0.5}, [3.5, 3.0, -2.5, 1.0]),
        ({"repeat_penalty": 2.0, "frequency_penalty": -1.0, "presence_penalty": 0.25}, [3.75, 3.0, -3.25, 1.0]),
    ],
)
def test_penalties_count_what_the_prompt_says(options, left):
    one = sampler(4, tokens=(0, 2, 0), **options)
    assert one._penalties is not None
    assert one._penalties.applied(row(4, 3, -2, 1)).tolist() == left


def test_they_know_what_was_drawn_and_forget_what_is_long_ago():
    one = sampler(3, tokens=(2,), repeat_last_n=2, presence_penalty=10.0)
    assert [one.sample(row(3, 2, 1)) for _ in range(6)] == [0, 1, 2, 0, 1, 2]
    one = sampler(3, tokens=(2,), repeat_last_n=1, presence_penalty=10.0)
    assert [one.sample(row(3, 2, 1)) for _ in range(4)] == [0, 1, 0, 1]


def test_a_token_that_is_there_twice_is_forgotten_once():
    one = sampler(2, tokens=(0, 0), repeat_last_n=2, frequency_penalty=1.0)
    assert [one.sample(row(1.5, 0)) for _ in range(4)] == [1, 0, 0, 1]


@pytest.mark.parametrize("back", [-1, 2**31 - 1, 5])
def test_they_look_back_as_far_as_the_context_is_long(back):
    one = sampler(3, tokens=(0, 1, 1, 1, 1), context=5, repeat_last_n=back, presence_penalty=10.0)
    assert [one.sample(row(2, 1, 0)) for _ in range(2)] == [2, 0]


@pytest.mark.parametrize("options", [{"repeat_last_n": 0}, {"repeat_penalty": 1.0}])
def test_those_that_are_off_change_nothing(options):
    one = sampler(2, tokens=(0, 0), **{"repeat_penalty": 5.0, **options})
    assert one.sample(row(2, 1)) == 0


def test_the_place_of_an_image_is_no_token():
    one = sampler(3, tokens=(0, -1, -1), repeat_last_n=3, presence_penalty=10.0)
    assert [one.sample(row(2, 1, 3)) for _ in range(4)] == [2, 0, 1, 2]
