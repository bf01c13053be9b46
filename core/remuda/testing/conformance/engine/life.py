"""Loading, what an engine says of itself, and its end."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from remuda.engine import Engine

from .driver import Driver
from .fixtures import EngineFixtures, Load

__all__ = ["LifeTests"]


class LifeTests(EngineFixtures):
    def test_what_it_offers_is_possible(self, shared_engine: Engine) -> None:
        """It may offer fewer places than were wished for, and at least one."""
        assert 1 <= shared_engine.parallel <= self.parallel
        assert 1 <= shared_engine.context <= self.context
        assert shared_engine.vocabulary >= 1
        assert shared_engine.embed_most >= 0
        assert shared_engine.embed_room > 0 or not shared_engine.embed_most

    def test_sizes_are_bytes(self, shared_engine: Engine) -> None:
        """`sizes`: `size` in all and `size_vram` of those on a GPU, or nothing."""
        sizes = shared_engine.sizes()
        assert set(sizes) in (set(), {"size"}, {"size", "size_vram"})
        assert all(type(size) is int and size >= 0 for size in sizes.values())
        assert sizes.get("size_vram", 0) <= sizes.get("size", 0)

    def test_counters_keep_their_names(self, load: Load) -> None:
        """`counters`: names in snake_case, the same at every call, before the first work as well."""
        told = self._counters(load())
        assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) for name in told[0])
        assert [sorted(figures.keys() ^ told[0].keys()) for figures in told if figures.keys() != told[0].keys()] == []

    def test_totals_only_grow(self, driver: Driver) -> None:
        """`counters`: figures are numbers, and one whose name ends in `_total` never becomes less."""
        before: dict[str, float] = {}
        for figures in self._counters(driver):
            assert all(math.isfinite(float(figure)) for figure in figures.values())
            less = [name for name, figure in before.items() if name.endswith("_total") and figures[name] < figure]
            assert not less
            before = figures

    def _counters(self, driver: Driver) -> list[dict[str, float]]:
        """What is told before work, at each step of it, and after it."""
        told = [driver.engine.counters()]
        for prompt in driver.starts:
            said = driver.submit(prompt, most=4)
            while said.end is None:
                driver.step()
                told.append(driver.engine.counters())
        driver.cancel(driver.submit(driver.starts[0]))
        return [*told, driver.engine.counters()]

    def test_progress_is_a_part_of_the_whole(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`load` may tell how much of it is done, 0 to 1."""
        told: list[float] = []
        monkeypatch.setattr(self.engine, "progress", told.append)
        self.open(weights).close()
        assert all(0 <= fraction <= 1 for fraction in told)

    def test_close_ends_what_is_live(self, weights: Path, writes: bool) -> None:
        """`close` frees everything, whoever is still there, and another engine can be loaded."""
        for _ in range(2):
            engine = self.open(weights)
            if writes:
                driver = Driver(engine, self.prompts)
                driver.submit(driver.starts[0])
                driver.step()
            engine.close()
