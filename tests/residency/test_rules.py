from __future__ import annotations

import math

import pytest

from remuda.residency.rules import expiry, must_grow, next_keep_alive, queue_is_full


@pytest.mark.parametrize(
    ("current", "asked", "expected"),
    [(None, None, 300), (None, 5, 5), (60, None, 60), (60, 0, 0), (60, math.inf, math.inf), (0, None, 0)],
)
def test_keep_alive_is_sticky(current: float | None, asked: float | None, expected: float) -> None:
    assert next_keep_alive(current, asked, 300) == expected


def test_expiry() -> None:
    assert expiry(100, 5) == 105
    assert expiry(100, 0) == 100
    assert math.isinf(expiry(100, math.inf))


def test_a_model_is_loaded_anew_only_to_grow() -> None:
    assert must_grow(4096, [1024, 8192])
    assert not must_grow(4096, [1024, 4096])


def test_the_queue_has_an_end() -> None:
    assert not queue_is_full(present=11, parallel=4, queue=8)
    assert queue_is_full(present=12, parallel=4, queue=8)
