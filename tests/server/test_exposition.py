"""The text that Prometheus reads."""

from __future__ import annotations

import math

import pytest

from remuda.server.exposition import Family, exposition


def test_a_family_says_what_it_is_and_has_a_line_for_each_set_of_labels() -> None:
    family, bare = Family("a_total", "counter", "Things.", "one", "two"), Family("b", "gauge", "Others.")
    family.add(1, "x", "y")
    family.add(2.5, "x", "z")
    family.add(3, "x", "y")
    bare.add(0)
    assert exposition([family, bare]).decode().splitlines() == [
        "# HELP a_total Things.",
        "# TYPE a_total counter",
        'a_total{one="x",two="y"} 4',
        'a_total{one="x",two="z"} 2.5',
        "# HELP b Others.",
        "# TYPE b gauge",
        "b 0",
    ]


def test_any_text_may_be_a_value_of_a_label() -> None:
    family = Family("a", "gauge", "A.", "text")
    family.add(1, 'q"\\\n é')
    family.add(2, "\ud800")
    assert exposition([family]).decode().splitlines()[2:] == ['a{text="q\\"\\\\\\n é"} 1', 'a{text="?"} 2']


def test_all_labels_have_values() -> None:
    with pytest.raises(ValueError):
        Family("a", "gauge", "A.", "one", "two").add(1, "x")


@pytest.mark.parametrize(
    ("value", "text"), [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (1e300, "1e+300"), (2**60, 2**60)]
)
def test_numbers_as_prometheus_writes_them(value: float, text: object) -> None:
    family = Family("a", "gauge", "A.")
    family.add(value)
    assert str(family).splitlines()[-1] == f"a {text}"


def test_the_ranges_of_a_histogram_hold_those_below() -> None:
    family = Family("a", "histogram", "A.", "of")
    family.add_histogram([3, 0, 2], [0.5, 1.0], 9.25, "x")
    assert str(family).splitlines()[2:] == [
        'a_bucket{of="x",le="0.5"} 3',
        'a_bucket{of="x",le="1.0"} 3',
        'a_bucket{of="x",le="+Inf"} 5',
        'a_sum{of="x"} 9.25',
        'a_count{of="x"} 5',
    ]
