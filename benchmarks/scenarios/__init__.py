"""The questions that `make bench` answers, in the order in which they are asked and in which README.md shows them."""

from __future__ import annotations

from ..bench import Scenario
from . import long, neighbour, prefix, restart, schema, streams, warm

__all__ = ["SCENARIOS"]

_ALL = (streams, neighbour, prefix, restart, long, warm, schema)

SCENARIOS: dict[str, Scenario] = {module.SCENARIO.name: module.SCENARIO for module in _ALL}
