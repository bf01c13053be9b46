"""Formats made to hurt: refused soon, and the server goes on (its loop answers, its next question is answered)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from remuda.errors import BadRequest
from remuda_plugins.formats.compiled import GrammarFormat, SchemaFormat

pytestmark = pytest.mark.anyio

DEADLINE = 0.8


def nested(times: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = {}
    for _ in range(times):
        value = wrap(value)
    return value


def definitions(count: int, body: Callable[[int], Any], last: Any) -> dict[str, Any]:
    return {"$defs": {**{f"d{n}": body(n) for n in range(count)}, f"d{count}": last}, "$ref": "#/$defs/d0"}


def ref(number: int) -> dict[str, str]:
    return {"$ref": f"#/$defs/d{number}"}


SCHEMAS: dict[str, Any] = {
    "objects 10,000 deep": nested(10_000, lambda inner: {"type": "object", "properties": {"a": inner}}),
    "objects 400 deep": nested(400, lambda inner: {"type": "object", "properties": {"a": inner}}),
    "schemas 800 deep": nested(800, lambda inner: {"not": inner}),
    "a constant 10,000 deep": {"const": nested(10_000, lambda inner: [inner])},
    "a constant 900 deep": {"const": nested(900, lambda inner: [inner])},
    "schemas doubled": nested(14, lambda inner: {"anyOf": [inner, inner]}),
    "a reference to itself": {"$ref": "#"},
    "references in a circle": definitions(1, lambda _: ref(1), ref(0)),
    "references that double when intersected": definitions(
        40, lambda n: {"type": "object", "anyOf": [ref(n + 1), ref(n + 1)]}, {"properties": {"a": {}}}
    ),
    "intersected circles": {
        "$defs": {
            "d0": {"type": "object", "properties": {"x": ref(0), "y": ref(1)}},
            "d1": {"type": "object", "properties": {"x": ref(1), "y": ref(0)}},
        },
        "allOf": [ref(0), ref(1)],
    },
    "a chain of references": definitions(4000, lambda n: {"type": "array", "items": ref(n + 1)}, {}),
    "maxItems": {"type": "array", "maxItems": 10**9},
    "minItems": {"type": "array", "minItems": 10**9},
    "minLength": {"type": "string", "minLength": 10**9},
    "maxProperties": {"type": "object", "maxProperties": 10**9},
    "a number of a thousand digits": {"const": 10**1000},
    "a pattern repeated and repeated": {"type": "string", "pattern": "^((a{100}){100}){100}$"},
    "a pattern of parentheses": {"type": "string", "pattern": "(" * 5000 + ")" * 5000},
    "a long pattern": {"type": "string", "pattern": "a" * 100_000},
    "patterns that multiply": {
        "allOf": [{"type": "string", "pattern": f".*x{{{n},{n * 3}}}.*{chr(97 + n)}"} for n in range(1, 20)]
    },
    "patterns that overlap": {"patternProperties": {f"^{'a' * n}b": {} for n in range(300)}},
    "choices that multiply": {
        "allOf": [
            {"anyOf": [{"type": "object", "properties": {f"a{n}": {"const": m}}} for m in range(4)]} for n in range(12)
        ]
    },
    "5000 properties": {"type": "object", "properties": {f"p{n}": {} for n in range(5000)}},
    "deep values in a long enum": {"enum": [[[[n]]] for n in range(60_000)]},
    "10 MB": {"type": "object", "description": "x" * 10_000_000},
}

GRAMMARS: dict[str, dict[str, str]] = {
    "a regex of 5 MB": {"type": "regex", "pattern": "a" * 5_000_000},
    "a regex repeated and repeated": {"type": "regex", "pattern": "((((a{99}){99}){99}){99}){99}"},
    "a regex of dots": {"type": "regex", "pattern": ".*" * 30_000},
    "a regex of parentheses": {"type": "regex", "pattern": "(" * 30_000 + ")" * 30_000},
    "a lark grammar of 10 MB": {"type": "lark", "grammar": f'start: "{"a" * 10_000_000}"'},
    "a lark grammar of parentheses": {"type": "lark", "grammar": f'start: {"(" * 20_000}"a"{")" * 20_000}'},
    "a chain of lark rules": {
        "type": "lark",
        "grammar": "start: a0\n" + "".join(f"a{n}: a{n + 1} a{n + 1}\n" for n in range(4000)) + 'a4000: "x"',
    },
    "a gbnf grammar of parentheses": {"type": "gbnf", "grammar": f'root ::= {"(" * 20_000}"a"{")" * 20_000}'},
    "a gbnf grammar of brackets": {"type": "gbnf", "grammar": f"root ::= {'[' * 60_000}"},
    "a chain of gbnf rules": {
        "type": "gbnf",
        "grammar": "root ::= a0\n"
        + "".join(f"a{n} ::= a{n + 1} | a{n + 1} root\n" for n in range(1500))
        + 'a1500 ::= "x"',
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
async def test_a_hostile_schema_is_refused_within_a_second(schemas: SchemaFormat, name: str) -> None:
    await schemas.constraint({"type": "object", "title": f"the child is up before: {name}"}, timeout=20)
    await _refused(schemas, SCHEMAS[name])
    after = {"type": "object", "title": f"and the next one is answered: {name}"}
    assert (await schemas.constraint(after, timeout=20)).grammar


@pytest.mark.parametrize("name", GRAMMARS)
async def test_a_hostile_grammar_is_refused_within_a_second(grammars: GrammarFormat, name: str) -> None:
    await grammars.constraint({"type": "regex", "pattern": f"{len(name)}before"}, timeout=20)
    await _refused(grammars, GRAMMARS[name])
    assert (await grammars.constraint({"type": "regex", "pattern": f"{len(name)}after"}, timeout=20)).grammar


async def _refused(format: SchemaFormat | GrammarFormat, value: Any) -> None:
    late: list[float] = []
    watch = asyncio.create_task(_watch(late))
    begun = time.monotonic()
    try:
        with pytest.raises(BadRequest, match=r"^invalid format: "):
            await format.constraint(value, timeout=DEADLINE)
        # Room for a busy machine; what the deadline ends takes no longer than it does.
        assert time.monotonic() - begun < 3 * DEADLINE
    finally:
        watch.cancel()
    assert max(late, default=0) < 0.5, "the loop stood still"


async def _watch(late: list[float]) -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        late.append(time.monotonic() - before - 0.01)
