"""Log probabilities: the model's own, before any option or constraint changed them."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest

from remuda.output import TokenLogprob

from .driver import Driver, Said
from .fixtures import EngineFixtures

__all__ = ["LogprobTests"]

_SLACK: Final = 1e-3


class LogprobTests(EngineFixtures):
    """Left out for an engine whose pieces never tell any."""

    @pytest.mark.parametrize("most", [0, 5, 20])
    def test_as_many_as_were_asked_for_likeliest_first(self, driver: Driver, most: int) -> None:
        """`Sequence.logprobs`: how many of the likeliest tokens each piece tells beside its own."""
        for told in _told(driver.alone(driver.lasting(8), most=8, logprobs=most)):
            values = [one.logprob for one in told.top]
            assert len(values) == min(most, driver.engine.vocabulary)
            assert values == sorted(values, reverse=True)
            assert all(not one.top for one in told.top)

    def test_they_are_logarithms_of_probabilities(self, driver: Driver) -> None:
        """None is above 0, and the likeliest together make up no more than 1."""
        said = driver.alone(driver.lasting(8), most=8, logprobs=20, temperature=1.0, top_k=0, top_p=1.0)
        for told in _told(said):
            assert all(one.logprob <= _SLACK for one in [told, *told.top])
            assert sum(math.exp(one.logprob) for one in told.top) <= 1 + _SLACK

    def test_a_greedy_token_is_the_likeliest(self, driver: Driver) -> None:
        """What is taken at temperature 0 heads the list, with the same value."""
        for told in _told(driver.alone(driver.lasting(8), most=8, logprobs=2)):
            assert told.data == told.top[0].data
            assert told.logprob == pytest.approx(told.top[0].logprob, abs=_SLACK)

    def test_options_do_not_change_them(self, driver: Driver) -> None:
        """They are those before any option: the first token's list is the same however it is chosen."""
        prompt = driver.lasting(8)
        wishes: list[dict[str, Any]] = [{}, {"temperature": 2.0, "top_k": 2}]
        wishes.append({"temperature": 0.5, "top_p": 0.1, "repeat_penalty": 1.5})
        firsts = [_told(driver.alone(prompt, most=2, logprobs=5, **wish))[0] for wish in wishes]
        values = [[one.logprob for one in told.top] for told in firsts]
        assert values[1] == pytest.approx(values[0], abs=_SLACK)
        assert values[2] == pytest.approx(values[0], abs=_SLACK)

    def test_asking_for_them_changes_no_text(self, driver: Driver) -> None:
        """They are told beside the text."""
        prompt = driver.lasting(8)
        for wish in ({}, {"temperature": 1.0, "seed": 5}):
            plain = driver.alone(prompt, most=8, **wish)
            assert driver.alone(prompt, most=8, logprobs=20, **wish).tokens == plain.tokens
            assert plain.logprobs == [None] * len(plain.pieces), "nobody has asked for log probabilities"


def _told(said: Said) -> list[TokenLogprob]:
    """One for each piece."""
    told = [logprob for logprob in said.logprobs if logprob is not None]
    if not told:
        pytest.skip("this engine tells no log probabilities")
    assert len(told) == len(said.pieces), "some pieces tell their log probability and others do not"
    for piece, logprob in zip(said.pieces, told, strict=True):
        assert logprob.data == piece.data or not piece.data, "a log probability is told of another token"
    return told
