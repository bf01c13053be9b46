"""README quotes the figures that are kept, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks.report import FIGURES, README, render, replaced
from benchmarks.scenarios import SCENARIOS
from benchmarks.table import table

FACTS: dict[str, Any] = {
    "machine": "x86_64",
    "cores": 2,
    "python": "3.11.7",
    "llama_cpp_python": "0.3.36",
    "model": "tiny",
    "rounds": 1,
    "prompt": 130,
    "tokens": 64,
}


def test_the_page_says_what_was_measured() -> None:
    page = README.read_text("utf-8")
    figures = json.loads(FIGURES.read_text("utf-8"))
    assert replaced(page, render(figures)) == page, "run `python -m benchmarks.report`"


def test_another_figure_makes_another_page() -> None:
    page = README.read_text("utf-8")
    figures = json.loads(FIGURES.read_text("utf-8"))
    for name, section in figures.items():
        shown = next(key for key in SCENARIOS[name].columns if isinstance(section["rows"][0].get(key), float))
        kept = section["rows"][0][shown]
        section["rows"][0][shown] = kept + 1
        assert replaced(page, render(figures)) != page, name
        section["rows"][0][shown] = kept


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_every_scenario_makes_a_paragraph_and_a_table(name: str) -> None:
    scenario = SCENARIOS[name]
    row = {key: number + 0.5 for number, key in enumerate(scenario.columns)}
    part = render({name: {**FACTS, "rows": [row]}})
    assert table(scenario.columns, [row]) in part
    assert "Medians of 1 round." in " ".join(part.split())
    assert all(len(line) <= 120 for line in part.splitlines() if not line.startswith("|"))


def test_figures_of_two_machines_are_not_mixed() -> None:
    other = {**FACTS, "cores": 64, "rows": []}
    with pytest.raises(ValueError, match="same conditions"):
        render({"warm": {**FACTS, "rows": []}, "long": other})
    with pytest.raises(ValueError, match="same conditions"):
        render({})


@pytest.mark.parametrize(
    "page", ["no place", "<!-- measured by make bench -->\n<!-- end of what was measured -->\n" * 2]
)
def test_a_page_has_one_place_for_figures(page: str) -> None:
    with pytest.raises(ValueError, match="it must have one"):
        replaced(page, "| a |\n")


def test_what_a_row_lacks_is_a_dash() -> None:
    rows = [{"who": "a", "rate": 1234.5}, {"who": "b", "rate": None}, {"who": "c"}]
    assert table({"who": "", "rate": "tokens/s"}, rows) == (
        "|  | tokens/s |\n|---|---|\n| a | 1,234.5 |\n| b | - |\n| c | - |\n"
    )
