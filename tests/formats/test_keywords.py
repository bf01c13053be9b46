"""Which keywords are honoured, by documents that match and documents that do not; and which are refused, by name."""

from __future__ import annotations

from typing import Any

import pytest
from random_documents import accepts

from remuda.errors import BadRequest
from remuda_plugins.formats.compiled import SchemaFormat

pytestmark = pytest.mark.anyio

A_OR_B = {"a": {"type": "integer"}, "b": {"type": "integer"}}
TREE = {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}

HONOURED: list[tuple[Any, list[str], list[str]]] = [
    ({}, ["1", "null", '{"a":[{}]}'], ["", "nul"]),
    ({"type": "object"}, ['{"a":1,"b":[]}', "{}"], ["[]", "1"]),
    ({"type": ["string", "null"]}, ['"x"', "null"], ["1", "{}"]),
    ({"type": "boolean"}, ["true"], ["null", '"true"']),
    ({"enum": ["a", 1, None, [1, {"b": 2}]]}, ['"a"', "1", "null", '[1,{"b":2}]'], ['"b"', "2", "[1]"]),
    ({"const": {"a": [1, "x"]}}, ['{"a":[1,"x"]}'], ['{"a":[1]}', "{}"]),
    ({"const": 1.0}, ["1"], ["2"]),
    ({"type": "string", "enum": ["a", 1]}, ['"a"'], ["1"]),
    ({"enum": ["a", "bb"], "minLength": 2}, ['"bb"'], ['"a"']),
    ({"type": "string", "minLength": 1, "maxLength": 2}, ['"é"', '"😀😀"', r'"\n\n"'], ['""', '"abc"']),
    ({"type": "string", "pattern": "^a.c$"}, ['"abc"'], ['"abcd"', '"xabc"']),
    ({"type": "string", "pattern": "b"}, ['"abc"', '"b"'], ['"ac"']),
    ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2023-02-29"', '"0000-01-01"', '"2024-13-01"']),
    ({"type": "string", "format": "date", "pattern": "^2"}, ['"2024-02-29"'], ['"1999-01-01"', '"2xxx-01-01"']),
    ({"type": "string", "format": "time"}, ['"23:59:59Z"', '"01:02:03.5+01:00"'], ['"24:00:00Z"', '"12:00:00"']),
    ({"type": "string", "format": "ipv4"}, ['"1.2.3.4"'], ['"256.1.1.1"', '"01.2.3.4"']),
    ({"type": "integer", "format": "int32"}, ["1"], ['"1"']),
    ({"type": "integer", "minimum": -2, "maximum": 11}, ["-2", "0", "11"], ["-3", "12", "1.0"]),
    ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 3}, ["2"], ["1", "3"]),
    ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, ["0.5"], ["0", "-1"]),
    ({"type": "number", "minimum": 0.1, "maximum": 0.3}, ["0.1", "0.25"], ["0.09", "0.31", "1"]),
    ({"type": "number", "minimum": 0.1 + 0.2, "maximum": 1 - 0.9 + 0.3}, ["0.300000000000001"], ["0.3", "0.5"]),
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, ["0.5", "0.01"], ["0", "-0"]),
    ({"type": "number", "minimum": -10.5, "exclusiveMaximum": -10}, ["-10.5", "-10.1"], ["-10"]),
    ({"allOf": [{"type": "number", "exclusiveMinimum": 3}, {"maximum": 3.25}]}, ["3.1"], ["3"]),
    ({"type": "number", "exclusiveMaximum": -1e-30}, ["-1"], ["0"]),
    ({"type": "integer", "multipleOf": 7}, ["0", "21", "-7"], ["1", "20"]),
    ({"type": "integer"}, ["9007199254740991", "-5"], ["9007199254740992", "1e3"]),
    ({"type": "integer", "maximum": 2**63 - 1, "minimum": -1e300}, ["1"], ["9223372036854775807"]),
    (
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
        ["[1]", "[1,2]"],
        ["[]", "[1,2,3]"],
    ),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}]}, ["[1,null]", "[1]"], ["[null]"]),
    ({"type": "array", "prefixItems": [{}], "items": {"type": "null"}}, ["[1,null,null]"], ["[1,2]"]),
    ({"items": [{"type": "integer"}], "additionalItems": {"type": "null"}}, ["[1,null]"], ["[1,2]"]),
    ({"type": "array", "uniqueItems": False}, ["[1,1]"], ["1"]),
    ({"type": "object", "properties": A_OR_B, "required": ["b"]}, ['{"a":1,"b":2}', '{"b":2}'], ['{"a":1}', "{}"]),
    ({"type": "object", "properties": A_OR_B, "additionalProperties": True}, ['{"c":"x"}'], ['{"a":"x"}']),
    ({"type": "object", "additionalProperties": {"type": "null"}}, ['{"c":null}'], ['{"c":1}']),
    ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, ['{"a":1,"b":2}', '{"b":[]}'], ['{"a":1}']),
    ({"type": "object", "patternProperties": {"^x": {"type": "null"}}}, ['{"xa":null,"b":1}'], ['{"xa":1}']),
    ({"type": "object", "minProperties": 1}, ['{"a":1}'], ["{}"]),
    ({"type": "object", "properties": A_OR_B, "required": ["a", "b"], "minProperties": 2}, ['{"a":1,"b":2}'], ["{}"]),
    ({"type": "object", "properties": A_OR_B, "maxProperties": 1}, ['{"a":1}', '{"b":1}'], ['{"a":1,"b":1}']),
    ({"type": "object", "maxProperties": 1}, ["{}", '{"x":1}'], ['{"x":1,"y":1}']),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ['"x"', "4"], ["2", "null"]),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, ['"x"', "4"], ["2.5", "null"]),
    ({"oneOf": [{"const": 1, "title": "one"}, {"const": 2}]}, ["1", "2"], ["3"]),
    ({"allOf": [{"type": "string"}, {"minLength": 2}, {"maxLength": 3}]}, ['"ab"'], ['"a"', '"abcd"', "1"]),
    (
        {"allOf": [{"properties": {"a": {"type": "null"}}}, {"required": ["a"]}], "type": "object"},
        ['{"a":null}'],
        ["{}"],
    ),
    ({"$defs": {"s": {"type": "string"}}, "$ref": "#/$defs/s", "maxLength": 1}, ['"a"'], ['"ab"', "1"]),
    ({"definitions": {"a b/c~": {"type": "null"}}, "$ref": "#/definitions/a%20b~1c~0"}, ["null"], ["1"]),
    ({"properties": {"a": {"type": "null"}, "b": {"$ref": "#/properties/a"}}}, ['{"b":null}'], ['{"b":1}']),
    ({"prefixItems": [{"type": "null"}, {"$ref": "#/prefixItems/0"}]}, ["[null,null]"], ["[null,1]"]),
    (TREE, ["[]", "[[],[[]]]"], ["[1]"]),
    (
        {"properties": {"$ref": {"type": "null"}, "enum": {"type": "null"}}},
        ['{"$ref":null,"enum":null}'],
        ['{"enum":1}'],
    ),
    ({"type": "object", "properties": {"x": False, "y": {}}}, ['{"y":1}', "{}"], ['{"x":1}']),
    ({"type": "string", "minItems": 3, "multipleOf": 2}, ['"x"'], ["2"]),
    ({"type": "null", "$comment": "x", "deprecated": True, "readOnly": True, "x-order": 3}, ["null"], ["1"]),
    ({"type": "null", "discriminator": {"propertyName": "k"}, "nullable": True, "example": 1}, ["null"], ["1"]),
    ({"$schema": "http://json-schema.org/draft-04/schema#", "id": "x", "const": 3}, ["3"], ["4"]),
    ({"$schema": "urn:mine", "$id": "https://example.com/s", "type": "null"}, ["null"], ["1"]),
]


@pytest.mark.parametrize(("schema", "matching", "others"), HONOURED, ids=lambda value: str(value)[:60])
async def test_what_is_honoured(schemas: SchemaFormat, schema: Any, matching: list[str], others: list[str]) -> None:
    grammar = (await schemas.constraint(schema, timeout=20)).grammar
    assert [text for text in matching if not accepts(grammar, text)] == []
    assert [text for text in others if accepts(grammar, text)] == []


REFUSED = {
    "not": {"type": "string"},
    "if": {"type": "string"},
    "contains": {"type": "string"},
    "minContains": 1,
    "maxContains": 1,
    "uniqueItems": True,
    "unevaluatedItems": False,
    "unevaluatedProperties": False,
    "propertyNames": {"pattern": "^a"},
    "dependentRequired": {"a": ["b"]},
    "dependentSchemas": {"a": {}},
    "dependencies": {"a": ["b"]},
    "$dynamicRef": "#x",
    "$recursiveRef": "#",
    "extends": {},
    "disallow": "string",
    "divisibleBy": 2,
}


@pytest.mark.parametrize("keyword", sorted(REFUSED))
async def test_what_cannot_be_honoured_is_refused_by_name_and_place(schemas: SchemaFormat, keyword: str) -> None:
    schema = {"type": "object", "properties": {"tags": {"type": ["array", "object"], keyword: REFUSED[keyword]}}}
    # A draft that does not know the keyword is no reason to leave it out.
    for draft in ({}, {"$schema": "http://json-schema.org/draft-04/schema#"}):
        with pytest.raises(BadRequest) as caught:
            await schemas.constraint({**draft, **schema}, timeout=20)
        expected = f'invalid format: JSON Schema keyword "{keyword}" is not supported (at $.properties.tags)'
        assert str(caught.value) == expected


PARTLY: list[tuple[dict[str, Any], str]] = [
    ({"type": "string", "pattern": "^(?=a)b"}, '"pattern"'),
    ({"type": "string", "format": "regex"}, "'regex' is not supported"),
    ({"format": "unknown"}, "'unknown' is not supported"),
    ({"minProperties": 2}, '"minProperties" is supported up to 1'),
    ({"properties": A_OR_B, "maxProperties": 1, "additionalProperties": True}, "maxProperties"),
    ({"allOf": [{"patternProperties": {"a": {}}}, {"additionalProperties": False}]}, '"patternProperties"'),
    ({"patternProperties": {"^a": {}, "b$": {}}}, "disjoint"),
    ({"allOf": [{"multipleOf": 65537}, {"multipleOf": 65539}]}, '"multipleOf"'),
    ({"multipleOf": 3.14159265358979}, "multipleOf"),
    ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, '"oneOf"'),
    ({"const": 2**53 + 1}, '"const"'),
    ({"enum": ["a", [10.567641159200889]]}, '"enum"'),
    ({"const": "a\0"}, "control characters"),
    ({"minimum": 1e300}, '"minimum"'),
    ({"$ref": "https://example.com/schema"}, '"$ref" must point into the schema itself'),
    ({"$ref": "#anchor"}, '"$ref" must point into the schema itself'),
    ({"$ref": "#/$defs/none"}, '"$ref" points to nothing'),
    ({"$ref": "#/$defs/a/b", "$defs": {"a": "text"}}, '"$ref" points to nothing'),
    ({"items": {"$id": "https://example.com/x", "items": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}}, '"$id"'),
    ({"$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a", "minProperties": 1}}}}, "$ref": "#/$defs/a"}, '"$ref"'),
    ({"prefixItems": [{}], "items": [{}]}, '"prefixItems"'),
]


@pytest.mark.parametrize(("schema", "words"), PARTLY, ids=lambda value: str(value)[:60])
async def test_what_would_be_honoured_in_part_is_refused(schemas: SchemaFormat, schema: Any, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await schemas.constraint(schema, timeout=20)
    assert str(caught.value).startswith("invalid format: ")
    assert words in str(caught.value)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "strin"}, '"type" must be a type or an array of types, out of null, boolean, object'),
    ({"type": 5}, '"type" must be'),
    ({"type": []}, '"type" must be'),
    ({"properties": []}, '"properties" must be an object of schemas'),
    ({"properties": {"a": 1}}, "a schema must be an object or true or false (at $.properties.a)"),
    ({"items": 5}, '"items" must be'),
    ({"items": {"anyOf": []}}, '"anyOf" must be an array of schemas, not empty (at $.items)'),
    ({"anyOf": ["string"]}, "a schema must be an object or true or false (at $.anyOf[0])"),
    ({"enum": []}, '"enum" must be an array, not empty'),
    ({"required": "a"}, '"required" must be an array of strings'),
    ({"required": [1]}, '"required" must be an array of strings'),
    ({"minLength": -1}, '"minLength" must be a whole number, 0 or more'),
    ({"minLength": 1.5}, '"minLength" must be'),
    ({"minItems": True}, '"minItems" must be'),
    ({"minimum": "1"}, '"minimum" must be a number'),
    ({"minimum": True}, '"minimum" must be a number'),
    ({"multipleOf": 0}, '"multipleOf" must be a number above 0'),
    ({"pattern": 5}, '"pattern" must be'),
    ({"$ref": 5}, '"$ref" must be a string'),
]


@pytest.mark.parametrize(("schema", "words"), WRONG, ids=lambda value: str(value)[:60])
async def test_a_value_that_is_none_for_its_keyword(schemas: SchemaFormat, schema: Any, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await schemas.constraint(schema, timeout=20)
    assert str(caught.value).startswith(f"invalid format: {words}")


IMPOSSIBLE: list[dict[str, Any]] = [
    {"type": "integer", "minimum": 3, "maximum": 2},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4},
    {"type": "integer", "minimum": 4, "maximum": 5, "multipleOf": 3},
    {"type": "array", "minItems": 3, "maxItems": 2},
    {"type": "array", "minItems": 2, "items": False},
    {"type": "string", "minLength": 3, "maxLength": 2},
    {"type": "string", "pattern": "^a", "maxLength": 0},
    {"type": "string", "pattern": "^a", "enum": ["b"]},
    {"type": "object", "required": ["a"], "additionalProperties": False},
    {"type": "object", "required": ["a"], "properties": {"a": False}},
    {"type": "object", "required": ["a", "b"], "maxProperties": 1},
    {"allOf": [{"type": "string"}, {"type": "integer"}]},
    {"allOf": [False]},
    {"$ref": "#"},
    {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    {"anyOf": [{"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1}]},
]


@pytest.mark.parametrize("schema", IMPOSSIBLE, ids=lambda value: str(value)[:60])
async def test_what_no_document_can_match(schemas: SchemaFormat, schema: Any) -> None:
    with pytest.raises(BadRequest, match=r"^invalid format: (nothing|no finite document) can match it"):
        await schemas.constraint(schema, timeout=20)
