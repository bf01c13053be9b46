"""Schemas as a whole: what they leave open is held as people mean it, and what is let through is honoured."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from anyio import to_thread
from random_documents import accepts, random_document
from random_schemas import random_schema

from remuda.errors import BadRequest
from remuda_plugins.formats.compiled import SchemaFormat

pytestmark = pytest.mark.anyio

VALIDATOR = jsonschema.Draft202012Validator


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _check(schema: Any, grammar: str, rng: random.Random) -> None:
    validator = VALIDATOR(schema, format_checker=VALIDATOR.FORMAT_CHECKER)
    for length in (0, 30, 200):
        text = random_document(grammar, rng, length)
        validator.validate(json.loads(text))


@pytest.mark.parametrize("part", range(8))
async def test_whatever_a_grammar_lets_through_matches_its_schema(schemas: SchemaFormat, part: int) -> None:
    rng = random.Random(part)
    made = [random_schema(rng, recursive=number % 2 == 1) for number in range(25)]
    assert max(map(_depth, made)) >= 10, "objects in objects, five deep, and their keywords between"
    for schema in made:
        constraint = await schemas.constraint(schema, timeout=20)
        await to_thread.run_sync(_check, schema, constraint.grammar, rng)


@pytest.mark.parametrize(
    ("schema", "text", "tighter"),
    [
        ({"type": "object", "properties": {"a": {}}}, '{"a":1}', '{"a":1,"b":2}'),
        ({"properties": {"a": {}}}, '{"a":1}', "1"),
        ({"items": {"type": "null"}}, "[null]", '"x"'),
        ({"minLength": 1}, '"x"', "1"),
        ({"type": "array", "prefixItems": [{}]}, "[1]", "[1,2]"),
        ({"type": "integer"}, "1", "9007199254740993"),
        ({"type": "object", "properties": {"a": {}, "b": {}}}, '{"a":1,"b":1}', '{"b":1,"a":1}'),
    ],
)
async def test_what_a_schema_leaves_open_is_held_as_people_mean_it(
    schemas: SchemaFormat, schema: Any, text: str, tighter: str
) -> None:
    grammar = (await schemas.constraint(schema, timeout=20)).grammar
    assert VALIDATOR(schema).is_valid(json.loads(tighter))
    assert accepts(grammar, text)
    assert not accepts(grammar, tighter)


async def test_schemas_that_are_put_together_stay_open_to_each_other(schemas: SchemaFormat) -> None:
    schema = {
        "$defs": {"named": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
        "allOf": [{"$ref": "#/$defs/named"}, {"properties": {"age": {"type": "integer"}}, "required": ["age"]}],
    }
    grammar = (await schemas.constraint(schema, timeout=20)).grammar
    assert accepts(grammar, '{"name":"x","age":3}')
    assert not accepts(grammar, '{"name":"x"}')
    assert not accepts(grammar, '{"age":3}')


async def test_properties_come_in_the_order_of_the_schema(schemas: SchemaFormat) -> None:
    names = ["zulu", "alpha", "mike"]
    schema = {"type": "object", "properties": {name: {"type": "null"} for name in names}, "required": names}
    grammar = (await schemas.constraint(schema, timeout=20)).grammar
    assert accepts(grammar, '{"zulu":null,"alpha":null,"mike":null}')
    assert not accepts(grammar, '{"alpha":null,"mike":null,"zulu":null}')


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ('{"a":[1,2]}', True),
        ('{"a": [1, 2]}', True),
        ('{\n  "a": [\n    1,\n    2\n  ]\n}', True),
        ('{"a":  [1,2]}', False),
        ('{"a":\n\n[1,2]}', False),
        ("{\n" + " " * 21 + '"a":[1,2]}', False),
        (' {"a":[1,2]}', False),
        ('{"a":[1,2]}\n', False),
    ],
)
async def test_white_space_is_modest(schemas: SchemaFormat, text: str, allowed: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}
    assert accepts((await schemas.constraint(schema, timeout=20)).grammar, text) is allowed


async def test_a_key_has_one_spelling(schemas: SchemaFormat) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}}
    grammar = (await schemas.constraint(schema, timeout=20)).grammar
    assert accepts(grammar, '{"a":1,"b":"x"}')
    assert not accepts(grammar, '{"a":1,"a":"x"}')
    assert not accepts(grammar, '{"a":1,"\\u0061":"x"}')


@pytest.mark.parametrize(
    "branches",
    [
        [{"type": "string"}, {"type": ["integer", "null"]}],
        [{"enum": ["a", 1]}, {"enum": ["b", 2.5, True]}],
        [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
        [{"allOf": [{"$ref": "#/$defs/cat"}]}, {"anyOf": [{"$ref": "#/$defs/dog"}, {"type": "null"}]}],
        [{"properties": {"a": {}}, "required": ["a"], "type": "object"}, {"$ref": "#/$defs/closed"}],
    ],
)
async def test_one_of_schemas_that_exclude_each_other(schemas: SchemaFormat, branches: list[Any]) -> None:
    schema = {"oneOf": branches, "$defs": ANIMALS}
    rng = random.Random(0)
    constraint = await schemas.constraint(schema, timeout=20)
    await to_thread.run_sync(_check, schema, constraint.grammar, rng)


@pytest.mark.parametrize(
    "branches",
    [
        [{"type": "string"}, {"maxLength": 3}],
        [{"type": "integer"}, {"type": "number"}],
        [{"const": 1}, {"const": 1.0}],
        [{"const": [1]}, {"enum": [[1.0]]}],
        [{"type": "array"}, {"type": "array", "minItems": 1}],
        [{"$ref": "#/$defs/cat"}, {"type": "object", "properties": {"kind": {"type": "string"}}}],
        # Neither requires what sets them apart: a document without it matches both.
        [{"properties": {"k": {"const": 1}}, "type": "object"}, {"properties": {"k": {"const": 2}}, "type": "object"}],
        [{"type": "object"}, {"$ref": "#/$defs/closed"}],
        [True, {"type": "null"}],
        [{"$ref": "#/$defs/loop"}, {"$ref": "#/$defs/loop"}],
    ],
)
async def test_one_of_schemas_that_may_both_match_is_refused(schemas: SchemaFormat, branches: list[Any]) -> None:
    with pytest.raises(BadRequest, match='"oneOf" is supported where its schemas exclude each other'):
        await schemas.constraint({"oneOf": branches, "$defs": ANIMALS}, timeout=20)


ANIMALS = {
    "cat": {
        "type": "object",
        "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer", "maximum": 9, "minimum": 0}},
        "required": ["kind"],
    },
    "dog": {"type": "object", "properties": {"kind": {"enum": ["dog"]}}, "required": ["kind"]},
    "closed": {"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": False},
    "loop": {"anyOf": [{"$ref": "#/$defs/loop"}, {"type": "null"}]},
}
