"""Sequences that cannot be: each fails alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from remuda.engine import Engine, Failed

from .driver import Driver
from .fixtures import EngineFixtures, needs_batching

__all__ = ["RefusalTests"]

_IMPOSSIBLE: Final[dict[str, Callable[[Engine], tuple[list[int], int]]]] = {
    "empty": lambda engine: ([], 8),
    "no room": lambda engine: ([1, 1, 1, 1], 4),
    "too long": lambda engine: ([1] * (engine.context + 1), engine.context + 2),
    "above the vocabulary": lambda engine: ([1, engine.vocabulary], 8),
    "far above it": lambda engine: ([2**31 - 1, 1], 8),
    "below it": lambda engine: ([1, -2], 8),
    "an image that is not there": lambda engine: ([1, Engine.MEDIA], 8),
}
"""Prompts and limits."""


class RefusalTests(EngineFixtures):
    @pytest.mark.parametrize("which", _IMPOSSIBLE)
    def test_an_impossible_prompt_fails(self, driver: Driver, which: str) -> None:
        """An exception from `submit` fails the one request; `Failed` does, too. The place is free again."""
        expected = driver.alone(driver.starts[0]).data
        _refused(driver, which)
        assert driver.alone(driver.starts[0]).data == expected

    @needs_batching
    @pytest.mark.parametrize("which", _IMPOSSIBLE)
    def test_an_impossible_prompt_harms_nobody_else(self, driver: Driver, which: str) -> None:
        """Nor does it end the step of those who are live, or change what they say."""
        prompt = driver.lasting(10)
        expected = driver.alone(prompt, most=10).data
        running = driver.submit(prompt, most=10)
        driver.until(running, 2)
        _refused(driver, which)
        driver.run(running)
        assert running.data == expected

    @needs_batching
    def test_one_more_than_there_are_places_is_refused(self, driver: Driver) -> None:
        """`Engine.parallel` is how many it takes at once: so many fit, and the next does not take somebody's place."""
        prompt = driver.lasting(6)
        expected = driver.alone(prompt, most=6).data
        saids = [driver.submit(prompt, most=6) for _ in range(driver.places)]
        with pytest.raises(Exception):  # noqa: B017, PT011
            driver.submit(prompt, most=6)
        driver.run(*saids)
        assert [said.data for said in saids] == [expected] * len(saids)


def _refused(driver: Driver, which: str) -> None:
    tokens, limit = _IMPOSSIBLE[which](driver.engine)
    try:
        said = driver.submit(tokens, limit=limit)
    except Exception:
        return
    driver.run(said)
    assert isinstance(said.end, Failed), f"a prompt that is impossible ({which}) was taken"
