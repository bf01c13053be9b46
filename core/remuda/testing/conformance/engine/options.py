"""Options: what they do to a text, and that none of their values breaks anything."""

from __future__ import annotations

from typing import Any, Final

import pytest

from remuda.errors import LoadFailed
from remuda.wire.options import RULES

from .driver import Driver, Said
from .fixtures import EngineFixtures, Load

__all__ = ["OptionTests"]


_ELSEWHERE: Final = {"num_ctx", "num_thread"}
"""The first is the engine's context. A thousand threads may keep a machine busy for ever, and nobody ends them in this
process: the suite of backends tries it, in one that can be ended."""


def _extremes(acts: str) -> list[tuple[str, Any]]:
    """Every option that acts so, with the lowest and the highest value that a request may give it."""
    found: list[tuple[str, Any]] = []
    for rule in RULES:
        kinds = {"integer": int, "float32": float, "boolean": bool}
        bounds = (0, 2**32 - 1) if rule.name == "seed" else (rule.low, rule.high)  # what the host makes of it
        if rule.acts == acts and rule.kind in kinds and rule.name not in _ELSEWHERE:
            found += [(rule.name, kinds[rule.kind](bound)) for bound in bounds]
    return found


_PENALTIES: Final = ({"repeat_penalty": 2.0}, {"presence_penalty": 100.0}, {"frequency_penalty": 100.0})
_TOGETHER: Final[dict[str, dict[str, Any]]] = {
    "narrow": {"top_k": 1, "top_p": 0.0, "min_p": 1.0, "typical_p": 0.0},
    "wide": {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "temperature": 100.0},
    "punishing": {"repeat_penalty": 100.0, "presence_penalty": 100.0, "frequency_penalty": 100.0, "repeat_last_n": -1},
    "praising": {"repeat_penalty": 0.01, "presence_penalty": -100.0, "frequency_penalty": -100.0, "repeat_last_n": -1},
}


class OptionTests(EngineFixtures):
    def test_no_temperature_is_the_likeliest_token(self, driver: Driver) -> None:
        """`temperature` 0 always takes it, and so does `top_k` 1."""
        prompt = driver.lasting(12)
        greedy = driver.alone(prompt, temperature=0.0, top_k=0, top_p=1.0).tokens
        assert driver.alone(prompt, temperature=0.0).tokens == greedy
        for seed in (1, 2):
            assert driver.alone(prompt, temperature=1.0, top_k=1, seed=seed).tokens == greedy

    @pytest.mark.parametrize("penalty", _PENALTIES, ids=lambda penalty: next(iter(penalty)))
    def test_a_penalty_does_not_make_tokens_repeat(self, driver: Driver, penalty: dict[str, float]) -> None:
        """Above its neutral value it makes repeated tokens less likely. An engine without it says the same as ever."""
        prompt = driver.lasting(12)
        plain = driver.alone(prompt, most=40)
        said = driver.alone(prompt, most=40, repeat_last_n=-1, **penalty)
        assert said.tokens == plain.tokens or _repeats(said) <= _repeats(plain)

    @pytest.mark.parametrize(("name", "value"), _extremes("sampling"))
    def test_any_value_that_may_be_asked_for_gives_a_text(self, driver: Driver, name: str, value: float) -> None:
        """The ranges of `remuda.wire.options.RULES` are there so that nothing absurd reaches an engine."""
        said = driver.alone(driver.starts[0], most=4, **{"temperature": 1.0, name: value})
        assert said.ended.reason in {"stop", "length"}

    @pytest.mark.parametrize("options", _TOGETHER.values(), ids=_TOGETHER)
    def test_extremes_together_give_a_text(self, driver: Driver, options: dict[str, Any]) -> None:
        """As above."""
        said = driver.alone(driver.starts[0], most=8, **{"temperature": 1.0, **options})
        assert said.ended.reason in {"stop", "length"}

    @pytest.mark.parametrize(("name", "value"), _extremes("load"))
    def test_any_value_that_may_be_asked_for_loads_or_is_refused(self, load: Load, name: str, value: int) -> None:
        """`Engine.load` takes the options or raises `LoadFailed`; what it loads writes."""
        try:
            driver = load(parallel=1, **{name: value})
        except LoadFailed:
            return
        assert driver.alone(driver.starts[0], most=2).ended.reason in {"stop", "length"}


def _repeats(said: Said) -> int:
    """How many of its tokens it had said before."""
    return len(said.tokens) - len(set(said.tokens))
