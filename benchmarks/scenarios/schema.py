"""What a format costs: text under a JSON Schema against free text after prompts of the same kind."""

from __future__ import annotations

from typing import Any

from ..bench import Bench, Scenario, one_turn
from ..client import run_streams
from ..contestants import ALONE, Served, open_bare, open_remuda
from ..measure import Run, median_ratio, summary
from ..prompts import Candidates
from ..table import Row

__all__ = ["SCENARIO"]

_CONTEXT = 1024
_FREE, _FORMED = "free", "schema"
_PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "role": {"enum": ["reader", "writer", "owner"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age", "role", "tags"],
    "additionalProperties": False,
}
_SCHEMA = {"type": "array", "items": _PERSON, "minItems": 8}
"""A document that does not end before the tokens do."""


class _Formed:
    """The same server, asked for a document."""

    name = _FORMED

    def __init__(self, served: Served) -> None:
        self._served = served

    async def run(self, prompts: list[str], tokens: int) -> Run:
        return await run_streams(self._served.target, prompts, tokens, _SCHEMA)


async def _measure(bench: Bench) -> list[Row]:
    most = max(bench.streams)
    runs: dict[int, dict[str, list[Run]]] = {count: {_FREE: [], _FORMED: []} for count in bench.streams}
    async with (
        open_bare(bench, most, _CONTEXT, "bare loop", apart=True) as bare,
        # The second to ask must not find what the first has left.
        open_remuda(bench, _FREE, most, _CONTEXT, ALONE) as free,
    ):
        candidates = Candidates(bare, bench.words, bench.tokens, most)

        async def take(count: int = most) -> list[str]:
            return await candidates.take(count)

        both: list[Any] = [free, _Formed(free)]
        await one_turn(both, 0, take, bench.tokens)
        for turn in bench.turns():
            for count in bench.streams:
                by_name = await one_turn(both, turn, lambda count=count: take(count), bench.tokens)
                for name, run in by_name.items():
                    runs[count][name].append(run)
    rows: list[Row] = []
    for count, by_name in runs.items():
        free_rate, formed_rate = (summary(by_name[name])["tokens_per_second"] for name in (_FREE, _FORMED))
        ratio = round(median_ratio(by_name[_FORMED], by_name[_FREE]), 3)
        rows.append({"streams": count, "free": free_rate, "schema": formed_rate, "ratio": ratio})
    return rows


SCENARIO = Scenario(
    "schema",
    "Free text against text under a JSON Schema, reuse and drafting off.",
    {
        "streams": "streams",
        "free": "free text, tokens/s",
        "schema": "under a JSON Schema, tokens/s",
        "ratio": "schema / free",
    },
    _measure,
)
