"""What rounds of streams come to."""

from __future__ import annotations

import pytest
from benchmarks.measure import Run, gaps, in_turn, median_ratio, percentile, summary


def run(rate: float, *arrivals: list[float]) -> Run:
    return Run(len(arrivals) or 1, round(rate * 10), 10.0, list(arrivals) or [[1.0]])


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [5.0, 1.0, 3.0, 2.0, 4.0]
    assert [percentile(values, share) for share in (0.0, 0.2, 0.21, 0.5, 0.95, 1.0)] == [1.0, 1.0, 2.0, 3.0, 5.0, 5.0]
    assert percentile(range(1, 101), 0.99) == 99
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_summary_takes_medians_of_rounds_and_percentiles_of_all_streams() -> None:
    runs = [run(10, [0.1, 0.2], [0.3, 0.4, 0.9]), run(30, [0.2], [0.4]), run(20, [0.5], [0.6])]
    assert summary(runs) == {
        "tokens_per_second": 20.0,
        "ttft_p50_ms": 350.0,
        "ttft_p95_ms": 600.0,
        "gap_p99_ms": 500.0,
        "rates": [10.0, 30.0, 20.0],
    }
    assert summary([run(10, [0.1])])["gap_p99_ms"] is None
    assert gaps([1.0]) == []


def test_a_ratio_is_taken_round_by_round() -> None:
    assert median_ratio([run(10), run(40), run(90)], [run(10), run(20), run(30)]) == 2.0
    with pytest.raises(ValueError):
        median_ratio([run(10)], [])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_everybody_has_one_turn_a_round_and_nobody_is_always_first(count: int) -> None:
    names = [str(number) for number in range(count)]
    orders = [in_turn(names, turn) for turn in range(2 * count)]
    assert all(sorted(order) == names for order in orders)
    assert {order[0] for order in orders} == set(names)
    assert in_turn([], 3) == []
