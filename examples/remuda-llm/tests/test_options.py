"""Options of the protocol, and the switch for thinking, as a model's own options."""

from __future__ import annotations

from typing import Any

import llm
import pytest

from remuda.errors import BadRequest
from remuda_llm.options import model_options
from remuda_llm.thinking import can_think, thinking_options


class _Few:
    class Options(llm.Options):
        temperature: float | None = None
        max_output_tokens: int | None = None
        stop_sequences: list[str] | None = None
        thinking: bool | None = None


class _OneStop:
    class Options(llm.Options):
        stop: str | None = None
        reasoning_effort: str | None = None


class _None:
    class Options(llm.Options):
        pass


def test_each_goes_by_the_name_that_the_model_has_for_it() -> None:
    given = {"temperature": 0.5, "num_predict": 7, "stop": ("a", "b"), "top_k": 3, "num_ctx": 1024}
    assert model_options(_Few, given) == {"temperature": 0.5, "max_output_tokens": 7, "stop_sequences": ["a", "b"]}


def test_what_stands_for_no_bound_is_left_out() -> None:
    assert model_options(_Few, {"num_predict": -1}) == model_options(_Few, {"num_predict": 0}) == {}


@pytest.mark.parametrize(("stops", "taken"), [(("a",), {"stop": "a"}), (("a", "b"), {})])
def test_stop_strings_go_to_models_that_can_take_them(stops: tuple[str, ...], taken: Any) -> None:
    """Those that cannot are not refused: answers are cut by Remuda all the same."""
    assert model_options(_OneStop, {"stop": stops}) == taken


def test_a_value_that_the_model_refuses_is_named() -> None:
    class Cold:
        class Options(llm.Options):
            temperature: int | None = None

    with pytest.raises(BadRequest, match='option "temperature" does not suit this model: Input should be a valid int'):
        model_options(Cold, {"temperature": 0.5})


@pytest.mark.parametrize(
    ("model", "think", "taken"),
    [
        (_Few, None, {}),
        (_Few, True, {"thinking": True}),
        (_Few, "high", {"thinking": True}),
        (_Few, False, {"thinking": False}),
        (_OneStop, True, {"reasoning_effort": "medium"}),
        (_OneStop, "low", {"reasoning_effort": "low"}),
        (_OneStop, False, {}),
        (_None, True, {}),
    ],
)
def test_thinking_is_an_option_by_one_of_two_names(model: Any, think: Any, taken: Any) -> None:
    assert thinking_options(model, think) == taken
    assert can_think(model) == (model is not _None)
