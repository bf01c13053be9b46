from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec import structs

from remuda.errors import BadRequest
from remuda.wire import RULES, Options, merge_options, parse_options


def test_the_table_and_the_struct_tell_the_same_options() -> None:
    assert {rule.name for rule in RULES} == {field.name for field in structs.fields(Options)}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"num_ctx": 1.9}, {"num_ctx": 1}),
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"stop": "END"}, {"stop": ("END",)}),
        ({"stop": ["a", "", "b"]}, {"stop": ("a", "b")}),
        ({"max_tokens": 5}, {"num_predict": 5}),
        ({"max_tokens": 5, "num_predict": 7}, {"num_predict": 7}),
        ({"num_predict": 7, "max_tokens": 5}, {"num_predict": 7}),
        ({"max_tokens": 5, "num_predict": None}, {"num_predict": 5}),
        ({"seed": None}, {}),
        ({"use_mmap": False}, {"use_mmap": False}),
    ],
)
def test_values_are_read_as_the_protocol_says(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    assert parse_options(raw) == (expected, [])


@pytest.mark.parametrize(
    ("raw", "fragments"),
    [
        ({"temperature": "0.7"}, ('option "temperature" must be of type float32',)),
        ({"num_ctx": True}, ('option "num_ctx" must be of type integer',)),
        ({"use_mmap": 1}, ('option "use_mmap" must be of type boolean',)),
        ({"stop": 3}, ('option "stop" must be of type array',)),
        ({"stop": [3]}, ('option "stop" must be of an array of strings',)),
        ({"stop": ["x"] * 65}, ("stop", "64")),
        ({"num_ctx": 2**63}, ("num_ctx", "9223372036854775808", "2147483647")),
        ({"num_predict": -3}, ("num_predict", "-3", "-2 to")),
        ({"temperature": -1}, ("temperature", "0 to 100")),
        ({"temperature": math.nan}, ("temperature", "finite")),
        ({"top_p": math.inf}, ("top_p", "finite")),
        ({"seed": 2**63}, ("seed",)),
        ({"max_tokens": "x"}, ("max_tokens",)),
        ({"repeat_penalty": 0}, ("repeat_penalty", "0.01")),
    ],
)
def test_bad_values_are_refused_by_name_and_range(raw: dict[str, Any], fragments: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_options(raw)
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_option_has_a_range_that_holds(rule: Any) -> None:
    if rule.kind not in {"integer", "float32"}:
        return
    step = 1 if rule.kind == "integer" else 0.001
    for good in (rule.low, rule.high):
        number = int(good) if rule.kind == "integer" else good
        assert parse_options({rule.name: number})[0] == {rule.name: number}
    for bad in (
        int(rule.low) - 1 if step == 1 else rule.low - step,
        int(rule.high) + 1 if step == 1 else rule.high + 1,
    ):
        with pytest.raises(BadRequest, match=rule.name):
            parse_options({rule.name: bad})


def test_unknown_options_are_told_not_refused() -> None:
    assert parse_options({"mirostat": 1, "seed": 2}) == ({"seed": 2}, ["mirostat"])


def test_later_layers_win_key_by_key() -> None:
    merged = merge_options(({"stop": ("a",), "seed": 1}, {"stop": ("b",)}))
    assert (merged.stop, merged.seed, merged.top_k) == (("b",), 1, 40)


@given(
    st.dictionaries(st.sampled_from([rule.name for rule in RULES]), st.floats() | st.integers() | st.text() | st.none())
)
def test_whatever_passes_makes_options(raw: dict[str, Any]) -> None:
    try:
        values, _ = parse_options(raw)
    except BadRequest as error:
        assert 'option "' in str(error)
    else:
        assert isinstance(merge_options((values,)), Options)
