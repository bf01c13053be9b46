"""README's figures, made of what was measured: `python -m benchmarks.report [benchmarks/figures.json]`.

They are between two comments in README.md; what stands around them is written by hand. A test fails while the page
says anything else than the figures that are kept beside this file.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from .scenarios import SCENARIOS
from .table import table

__all__ = ["FIGURES", "README", "render", "replaced"]

FIGURES = Path(__file__).with_name("figures.json")
README = Path(__file__).resolve().parents[1] / "README.md"

_PART = re.compile(r"(<!-- measured by make bench -->\n).*?(<!-- end of what was measured -->)", re.DOTALL)
_WIDTH = 118
_ALIKE = ("machine", "cores", "python", "llama_cpp_python", "model")
"""What all scenarios must have in common to stand on one page."""


def render(figures: dict[str, dict[str, Any]]) -> str:
    """Paragraphs and tables. Raises `ValueError` for figures of different machines, models or versions."""
    known = {name: scenario for name, scenario in SCENARIOS.items() if name in figures}
    facts = [{key: figures[name][key] for key in _ALIKE} for name in known]
    if not facts or any(each != facts[0] for each in facts):
        raise ValueError("the figures were not measured under the same conditions: measure all of them again")
    parts = [_INTRODUCTION.format(**{**facts[0], "cores": _count(facts[0]["cores"], "core")})]
    for name, scenario in known.items():
        own = figures[name]
        about = f"{scenario.about.format(**own)} Medians of {_count(own['rounds'], 'round')}."
        parts += [about, table(scenario.columns, own["rows"])]
    return "\n".join(part if part.startswith("|") else f"{textwrap.fill(part, _WIDTH)}\n" for part in parts)


_INTRODUCTION = (
    "On {cores} ({machine}), with {model}, llama-cpp-python {llama_cpp_python} and Python {python}, client and"
    " server on the same cores. In every round each contestant has its turn with the same prompts; llama-server is"
    " built from the sources that llama-cpp-python ships. `make bench` measures all of it, with `LLAMA_SERVER=` and"
    " `BATCHED_BENCH=` naming those two programs."
)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def replaced(page: str, part: str) -> str:
    """`page` with `part` where the figures are. Raises `ValueError` if the page has no such place, or several."""
    fresh, places = _PART.subn(lambda found: f"{found[1]}\n{part}\n{found[2]}", page)
    if places != 1:
        raise ValueError(f"the page has {places} places for figures; it must have one")
    return fresh


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else FIGURES
    page = README.read_text("utf-8")
    fresh = replaced(page, render(json.loads(source.read_text("utf-8"))))
    if fresh != page:
        README.write_text(fresh, "utf-8")
        print(README)


if __name__ == "__main__":
    main()
