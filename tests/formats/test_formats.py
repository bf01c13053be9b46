"""The formats as the server has them: registered, cheap to import, remembered, and asked for by many at once."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from typing import Any

import pytest
from anyio import to_thread
from random_documents import accepts, random_document

from remuda.errors import BadRequest, EngineError
from remuda.plugins import load_plugins
from remuda_plugins.formats.compiled import GrammarFormat, JsonFormat, SchemaFormat

pytestmark = pytest.mark.anyio


def _child(format: Any) -> int | None:
    """The pid of the process that compiles, if there is one."""
    link = format._worker._link
    return link.child.pid if link is not None else None


async def test_json_is_any_object() -> None:
    grammar = (await JsonFormat().constraint("json", timeout=1)).grammar
    assert accepts(grammar, '{"a": [1, "x", {"b": null}]}')
    assert not accepts(grammar, "[1]")
    assert not accepts(grammar, '{"a":   1}')
    rng = random.Random(0)
    for length in (0, 10, 100, 1000):
        text = await to_thread.run_sync(random_document, grammar, rng, length)
        assert isinstance(json.loads(text), dict)


async def test_json_takes_nothing_beside_it() -> None:
    assert (await JsonFormat().constraint({"type": "json"}, timeout=1)).grammar
    with pytest.raises(BadRequest, match=r'^invalid format: "json" takes nothing beside it'):
        await JsonFormat().constraint({"type": "json", "properties": {}}, timeout=1)


@pytest.mark.parametrize("value", ["json_schema", ["a"], 5, True])
async def test_a_schema_is_an_object(schemas: SchemaFormat, value: Any) -> None:
    with pytest.raises(BadRequest, match=r'^invalid format: expected "json" or a JSON Schema object$'):
        await schemas.constraint(value, timeout=1)


async def test_the_formats_are_registered() -> None:
    plugins = await to_thread.run_sync(load_plugins)
    made = {name: type(plugins.formats.get(name)) for name in ("json", "json_schema", "regex", "lark", "gbnf")}
    assert list(made.values()) == [JsonFormat, SchemaFormat, GrammarFormat, GrammarFormat, GrammarFormat]


async def test_the_server_does_not_import_the_grammar_engine() -> None:
    code = (
        "import sys, remuda_plugins.formats.plugin, remuda_plugins.formats.compiled; print('llguidance' in sys.modules)"
    )
    ran = await to_thread.run_sync(
        lambda: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    )
    assert ran.stdout.strip() == "False"


async def test_a_format_is_remembered(schemas: SchemaFormat) -> None:
    good = {"type": "object", "properties": {"a": {"type": "null"}}, "title": "remembered"}
    bad = {"type": "object", "not": {}, "title": "remembered"}
    first = await schemas.constraint(good, timeout=20)
    with pytest.raises(BadRequest) as before:
        await schemas.constraint(bad, timeout=20)
    await schemas._worker._drop()
    assert await schemas.constraint(dict(good), timeout=20) == first
    with pytest.raises(BadRequest) as after:
        await schemas.constraint(bad, timeout=20)
    assert str(after.value) == str(before.value)
    assert _child(schemas) is None, "nobody was asked"


async def test_what_came_too_late_is_not_remembered(schemas: SchemaFormat) -> None:
    schema = {"type": "null", "title": "in no time at all"}
    with pytest.raises(BadRequest, match=r"too complex: it could not be compiled within 1e-06 s$"):
        await schemas.constraint(schema, timeout=1e-6)
    assert (await schemas.constraint(schema, timeout=20)).grammar


async def test_the_memory_for_formats_is_bounded() -> None:
    format = SchemaFormat()
    try:
        for number in range(300):
            await format.constraint({"const": number}, timeout=20)
        assert len(format._kept) == 256
        for number in range(30):
            await format.constraint({"type": "null", "title": f"{number}" + "x" * 400_000}, timeout=20)
        kept = sum(len(question.source) + len(answer.grammar) for question, answer in format._kept.items())
        assert kept == format._size <= 8 * 1024 * 1024
    finally:
        await format.close()


async def test_ten_at_once(schemas: SchemaFormat) -> None:
    wanted = [{"type": "object", "properties": {f"p{n}": {"const": n}}, "required": [f"p{n}"]} for n in range(10)]
    got = await asyncio.gather(*(schemas.constraint(schema, timeout=20) for schema in wanted))
    for number, constraint in enumerate(got):
        assert accepts(constraint.grammar, json.dumps({f"p{number}": number}))
    same = await asyncio.gather(*(schemas.constraint({"const": "same"}, timeout=20) for _ in range(10)))
    assert {constraint.grammar for constraint in same} == {same[0].grammar}


async def test_one_that_is_refused_takes_no_other_along(schemas: SchemaFormat) -> None:
    bomb = {"enum": [[[[n]]] for n in range(40_000)]}
    asked = [bomb if n % 3 == 0 else {"const": f"beside {n}"} for n in range(6)]
    got = await asyncio.gather(*(schemas.constraint(each, timeout=0.8) for each in asked), return_exceptions=True)
    assert [isinstance(each, BadRequest) for each in got] == [True, False, False, True, False, False]


async def test_a_request_that_leaves_is_not_waited_for(schemas: SchemaFormat) -> None:
    left = asyncio.create_task(schemas.constraint({"enum": [[[[n]]] for n in range(40_000)]}, timeout=60))
    others = [asyncio.create_task(schemas.constraint({"const": f"stays {n}"}, timeout=20)) for n in range(2)]
    await asyncio.sleep(0)
    left.cancel()
    results = await asyncio.gather(left, *others, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(getattr(each, "grammar", "") for each in results[1:])


async def test_a_format_starts_no_child_before_it_is_asked_and_none_after_it_was_closed() -> None:
    format = GrammarFormat()
    assert _child(format) is None
    await format.close()
    with pytest.raises(EngineError, match="was closed"):
        await format.constraint({"type": "regex", "pattern": "a"}, timeout=1)
    assert _child(format) is None
