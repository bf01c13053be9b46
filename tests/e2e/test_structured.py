"""Answers that must match: 200 random JSON Schemas on the demo model, eight at a time, through HTTP."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from random_schemas import random_schema

from remuda.testing import LiveServer

from .conftest import DEMO
from .tables import Table

COUNT = 200
BUDGETS = {1: 64, 2: 48, 3: 32, 4: 16, 5: 16}
"""Tokens by how deep a schema is nested: the plain are written to their end, the deep are cut and completed."""


@pytest.fixture
def demo(server: LiveServer) -> Iterator[Table]:
    with closing(Table(server, "/api/generate")) as table:
        yield table


def test_two_hundred_random_schemas_give_documents_that_match_them(demo: Table) -> None:
    dice = random.Random(4)
    depths = [1 + number % len(BUDGETS) for number in range(COUNT)]
    schemas = [random_schema(dice, depth=depth) for depth in depths]
    reasons = Counter[str]()

    def ask(number: int) -> str:
        options = {"num_predict": BUDGETS[depths[number]], "temperature": 0.8, "seed": number}
        fields = {"model": DEMO, "prompt": "Give an example.", "format": schemas[number], "options": options}
        reply = demo.whole(**fields)
        reasons[reply["done_reason"]] += 1
        faults = _faults(reply["response"], schemas[number])
        return f"{number}: {faults}: {reply['response']!r} for {json.dumps(schemas[number])}" if faults else ""

    with ThreadPoolExecutor(8) as pool:
        bad = [fault for fault in pool.map(ask, range(COUNT)) if fault]
    assert not bad, f"{len(bad)} of {COUNT}:\n" + "\n".join(bad[:5])
    assert set(reasons) <= {"stop", "length"}
    assert reasons["stop"] > COUNT // 4


def _faults(text: str, schema: dict[str, Any]) -> str:
    try:
        document = json.loads(text)
    except ValueError as error:
        return str(error)
    return "; ".join(error.message for error in Draft202012Validator(schema).iter_errors(document))


@pytest.mark.parametrize("length", [1, 2, 5, 17, 100])
def test_any_json_object_parses_wherever_it_is_cut(demo: Table, length: int) -> None:
    def ask(seed: int) -> list[dict[str, Any]]:
        options = {"num_predict": length, "temperature": 1.0, "seed": seed}
        return demo.lines(model=DEMO, prompt="Describe a cat as JSON.", format="json", options=options)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    for lines in answers:
        assert isinstance(json.loads("".join(line["response"] for line in lines)), dict)
        assert lines[-1]["done_reason"] == "length" or lines[-1]["eval_count"] <= length


@pytest.mark.parametrize(
    ("format", "pattern"),
    [
        ({"type": "regex", "pattern": "[A-Z]{3}-[0-9]{4}"}, r"[A-Z]{3}-[0-9]{4}"),
        ({"type": "gbnf", "grammar": 'root ::= ("yes" | "no") "!"'}, r"(yes|no)!"),
        ({"type": "lark", "grammar": 'start: "yes" | "no"'}, r"yes|no"),
        ({"enum": ["red", "blue"]}, r'"(red|blue)"'),
        ({"type": "integer", "minimum": 10, "maximum": 99}, r"[1-9][0-9]"),
        ({"type": "string", "pattern": "^[a-f]{4}$"}, r'"[a-f]{4}"'),
    ],
)
def test_every_kind_of_format(demo: Table, format: dict[str, Any], pattern: str) -> None:
    options = {"num_predict": 32, "temperature": 0.8, "seed": 1}
    whole = demo.whole(model=DEMO, prompt="Answer.", format=format, options=options)
    assert re.fullmatch(pattern, whole["response"].strip())
    assert whole["done_reason"] == "stop"


@pytest.mark.parametrize(
    ("format", "words"),
    [
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, "strin"),
        ({"type": "object", "not": {"required": ["a"]}}, "not"),
        ({"$ref": "#/$defs/none"}, "$ref"),
        ({"type": "regex", "pattern": "("}, "regular expression"),
        ({"type": "gbnf", "grammar": "root ::= ("}, "invalid format: "),
        ({"type": "lark", "grammar": "start: %"}, "invalid format: "),
        ({"type": "regex"}, "pattern"),
    ],
)
def test_a_format_that_cannot_be_honoured_is_refused_with_the_keyword(
    demo: Table, format: dict[str, Any], words: str
) -> None:
    assert words in demo.refused(model=DEMO, prompt="Answer.", format=format)
