"""A text cut anywhere is completed: it parses, and it validates. No model writes here, but a draw of the lots."""

from __future__ import annotations

import json
import random
import re
import time

import jsonschema
import numpy as np
import pytest
from llguidance import LLMatcher
from small_schemas import random_schema

from remuda.sampling import completion


@pytest.fixture
def finish(grammars, vocabulary):
    """What `completion` adds to a text that was written under a grammar."""

    def run(grammar: str, text: bytes) -> bytes | None:
        matcher = grammars.matcher(grammar)
        assert matcher.could_take_bytes(text)
        matcher.take_bytes(text)
        return completion(matcher, grammar, vocabulary.piece)

    return run


def schema(value: object) -> str:
    return LLMatcher.grammar_from_json_schema(json.dumps(value))


def cuts(grammars, vocabulary, grammar: str, seed: int, every: int):
    """A random text of tokens that the grammar allows, cut after every so many of them, and what completes it."""
    draw, matcher, text = random.Random(seed), grammars.matcher(grammar), b""
    for count in range(100):
        if count % every == 0:
            tail = completion(matcher, grammar, vocabulary.piece)
            assert tail is not None, text
            yield text, tail
        pieces = [(token, vocabulary.piece(token)) for token in np.flatnonzero(~matcher.forbidden()).tolist()]
        # White space may be had without end, and would be all that is drawn.
        pieces = [(token, data) for token, data in pieces if data and (data.strip() or draw.random() < 0.01)]
        if matcher.ended or not pieces:
            return
        token, data = draw.choice(pieces)
        matcher.take(token)
        text += data


@pytest.mark.parametrize("seed", range(16))
def test_random_schemas_cut_at_every_third_token_give_documents_that_validate(grammars, vocabulary, seed):
    wanted = random_schema(seed)
    validator = jsonschema.Draft202012Validator(wanted)
    count = 0
    for text, tail in cuts(grammars, vocabulary, schema(wanted), seed, every=3):
        validator.validate(json.loads(text + tail))
        count += 1
    assert count > 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, ""),
        ({}, '{"a": [1, {"b": "x\\u00'),
        ({}, "-"),
        ({}, "1.5e"),
        ({}, "tr"),
        ({"type": "string", "minLength": 3000}, '"'),
        ({"type": "string", "minLength": 30, "maxLength": 31}, '"abc'),
        ({"type": "string", "pattern": r"\.txt$"}, '"any name. at all'),
        ({"type": "string", "pattern": r"@example\.(com|org)$"}, '"x@exa'),
        ({"type": "string", "pattern": r"foo\d{3}"}, '"fo'),
        ({"type": "string", "pattern": r"^(a|b)*c[xyz]{4}-\d+$"}, '"abba'),
        ({"type": "string", "format": "email"}, '"me'),
        ({"type": "string", "format": "date-time"}, '"2024-0'),
        ({"type": "integer", "minimum": 1500, "maximum": 1600}, "1"),
        ({"type": "integer", "multipleOf": 97}, "1"),
        ({"type": "number", "exclusiveMinimum": 0.25, "maximum": 0.375}, "0."),
        ({"type": "array", "minItems": 100, "items": {"type": "string", "pattern": r"foo\d$"}}, '["a'),
        ({"enum": ["red", "green", 7]}, '"gre'),
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}}}, '{"a": true, "x": {"y": ['),
        ({"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 1}, "{"),
    ],
)
def test_what_schemas_ask_for_is_found(finish, value, text):
    tail = finish(schema(value), text.encode())
    assert tail is not None
    jsonschema.Draft202012Validator(value).validate(json.loads(text.encode() + tail))


def test_it_is_short_and_plain(finish):
    assert finish(schema({}), b'{"a": {"b": ["some tex') == b'"]}}'
    assert finish(schema({}), b'{"a": 1') == b"}"
    assert finish(schema({}), b"[1, 2") == b"]"
    assert finish(schema({"type": "object"}), b"") == b"{}"
    assert finish(schema({"type": "array", "items": {"type": "integer"}, "minItems": 3}), b"[17") == b",0,1]"
    assert finish(schema({"type": "string", "pattern": r"\.txt$"}), b'"readme') == b'.txt"'
    assert finish(schema({"type": "string", "pattern": r"\x{40}a\x{2e}(?:com|org)$"}), b'"me') == b'@a.com"'
    assert finish(schema({"type": "string", "pattern": r"foo[[0-9]--[\x00-\x07]]{3}"}), b'"me') == b'foo000"'


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a*b", ""),
        ("a*b", "aaa"),
        ("[a-z ]*end[0-9]{5}x", "in the en"),
        (r"(.|\n)*\nAnswer: [A-D]", "because\nAns"),
        (r"(.|\n)*</done>", 'text with "quotes" </do'),
        ("[日本]{3}", ""),
        (r"\{\{[^}]*\}\}", "{{a"),
        (r"(?s:.)*(?:\x2e|[.]{2})[t]xt[\n]", "x."),
    ],
)
def test_what_expressions_ask_for_is_found(finish, pattern, text):
    tail = finish(LLMatcher.grammar_from_regex(pattern), text.encode())
    assert tail is not None
    assert re.fullmatch(pattern, text + tail.decode())


@pytest.mark.parametrize(
    ("lark", "text", "whole"),
    [
        ('start: e\ne: e "+" t | t\nt: "(" e ")" | /[0-9]+/', "((1+", r"\(\(1\+\d+\)\)"),
        ('start: "a" start start | "b"', "aaa", "aaabbbb"),
        ('start: "(" start ")" | "x"', "(((", r"\(\(\(x\)\)\)"),
        ('start: text\ntext[suffix="</done>"]: /(.|\\n)*/', "hello </", "hello .*</done>"),
        (
            'start: "call " %json {"type": "object", "required": ["x"], "properties": {"x": {"const": 7}}}',
            "",
            "call .*7}",
        ),
    ],
)
def test_what_grammars_ask_for_is_found(finish, lark, text, whole):
    tail = finish(lark, text.encode())
    assert tail is not None
    assert re.fullmatch(whole, text + tail.decode())


def test_a_character_cut_in_two_is_completed(finish):
    text = '{"a": "🦄'.encode()
    for cut in (1, 2, 3):
        whole = text[:-cut] + (finish(schema({}), text[:-cut]) or b"")
        assert len(json.loads(whole)["a"]) == 1


def test_what_matches_needs_nothing(finish):
    assert finish(schema({}), b"{}") == b""
    assert finish(LLMatcher.grammar_from_regex("a+"), b"aa") == b""


@pytest.mark.parametrize("lark", ['start: "a" start', "start: /[0-9]/ start", 'start: "a" start "b"'])
def test_a_grammar_without_an_end_is_given_up_in_time(finish, lark):
    began = time.thread_time()
    assert finish(lark, b"") is None
    assert time.thread_time() - began < 2.0
