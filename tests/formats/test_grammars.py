"""Formats that clients write in another notation: `regex`, `lark` and `gbnf`."""

from __future__ import annotations

from typing import Any

import pytest
from random_documents import accepts

from remuda.errors import BadRequest
from remuda_plugins.formats.compiled import GrammarFormat

pytestmark = pytest.mark.anyio

JSON_IN_GBNF = r"""root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws   # a comment with "quotes" and [brackets
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""

ACCEPTED: list[tuple[str, str, list[str], list[str]]] = [
    ("regex", r"\d{3}-\d{4}", ["555-1234"], ["555-123", "x555-1234", "555-1234x"]),
    ("regex", r"^[a-z]+$", ["abc"], ["", "aBc"]),
    ("regex", r"yes|no/maybe", ["yes", "no/maybe"], ["maybe"]),
    ("regex", "a\nb", ["a\nb"], ["ab"]),
    ("lark", 'start: "a" rest\nrest: /[0-9]+/', ["a12"], ["a", "12"]),
    ("lark", 'start: %json {"type": "object", "required": ["<a>"]}', ['{"<a>":1}'], ["{}"]),
    ("lark", '// <none>\nstart: "<b>" /<[a-z]+>/ # <none>', ["<b><i>"], ["<b>"]),
    ("gbnf", JSON_IN_GBNF, ['{"a": [1,2,"x\\n"]}', "{}", '{"a/b": -1.5e+5}'], ["1", '{"a":1', "[]"]),
    ("gbnf", 'root ::= "yes" | "no"', ["yes", "no"], ["maybe"]),
    ("gbnf", 'root ::= item+\nitem ::= "- " [^\\r\\n]+ "\\n"', ["- a\n- b\n"], ["- a"]),
    ("gbnf", 'root ::= Foo foo a-b a_b\nFoo ::= "1"\nfoo ::= "2"\na-b ::= "3"\na_b ::= "4"', ["1234"], ["1243"]),
    ("gbnf", r'root ::= "\u0041\x42" [\u00e9-\u00ff] "\U0001F600"', ["ABé\U0001f600"], ["ABe"]),
    ("gbnf", r'root ::= "[\]\"" [&&x] [^\]/] .', ['[]"&a\n', '[]"xb.'], ['[]"a//']),
    ("gbnf", 'root ::= ("a"\n "b"){2,3} "c"{2} "d"{1,}', ["ababccd", "abababccdd"], ["abccd", "ababcd"]),
    ("gbnf", 'root ::= "(?i)a.*"', ["(?i)a.*"], ["A"]),
    ("gbnf", 'root ::= start\nstart ::= "日本" [ぁ-ん]*', ["日本あん"], ["日"]),
]


def _value(kind: str, source: Any) -> dict[str, Any]:
    return {"type": kind, "pattern" if kind == "regex" else "grammar": source}


@pytest.mark.parametrize(("kind", "source", "matching", "others"), ACCEPTED, ids=lambda value: str(value)[:40])
async def test_a_grammar_is_taken(
    grammars: GrammarFormat, kind: str, source: str, matching: list[str], others: list[str]
) -> None:
    grammar = (await grammars.constraint(_value(kind, source), timeout=20)).grammar
    assert [text for text in matching if not accepts(grammar, text)] == []
    assert [text for text in others if accepts(grammar, text)] == []


REFUSED: list[tuple[str, str, str]] = [
    ("regex", "(", "unclosed group"),
    ("regex", "a(?=b)", "look-around"),
    ("regex", r"(a)\1", "backreferences"),
    ("regex", r"[^\s\S]", "nothing can match it"),
    ("lark", "begin: /a/", "no start rule found"),
    ("lark", "start: missing", 'unknown name: "missing"'),
    ("lark", "start: (((", "Expected token"),
    ("lark", "start: start", "nothing can match it"),
    ("lark", "start: A\nA: B\nB: A", "circular reference"),
    ("lark", 'start: <|im_end|> "a"', "may not name tokens"),
    ("lark", 'start: "a" <[2]>', "may not name tokens"),
    ("lark", 'start: %json {"type": "array", "uniqueItems": true}', "uniqueItems"),
    ("gbnf", 'start ::= "a"', "No 'root' rule found"),
    ("gbnf", "root ::= missing", "missing"),
    ("gbnf", 'root ::= "a', 'a " is not closed'),
    ("gbnf", "root ::= [a", "a [ is not closed"),
    ("gbnf", "root ::= ()(", "Expected ')'"),
    ("gbnf", "root ::= []", "empty brackets"),
    ("gbnf", "root ::= [z-a]", "is empty"),
    ("gbnf", r'root ::= "\d"', r"\d is no escape sequence"),
    ("gbnf", r'root ::= "\ud800"', r"\ud800 is no character"),
    ("gbnf", "root ::= root", "nothing can match it"),
]


@pytest.mark.parametrize(("kind", "source", "words"), REFUSED)
async def test_a_faulty_grammar_is_refused(grammars: GrammarFormat, kind: str, source: str, words: str) -> None:
    with pytest.raises(BadRequest, match=r"^invalid format: ") as caught:
        await grammars.constraint(_value(kind, source), timeout=20)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("regex", '{"type": "regex", "pattern": "..."}'),
        ({"type": "regex"}, '{"type": "regex", "pattern": "..."}'),
        ({"type": "regex", "pattern": 5}, '{"type": "regex", "pattern": "..."}'),
        ({"type": "regex", "pattern": ""}, '{"type": "regex", "pattern": "..."}'),
        ({"type": "regex", "grammar": "a"}, '{"type": "regex", "pattern": "..."}'),
        ({"type": "lark", "grammar": ["a"]}, '{"type": "lark", "grammar": "..."}'),
        ({"type": "gbnf", "grammar": 'root ::= "a"', "root": "b"}, '{"type": "gbnf", "grammar": "..."}'),
    ],
)
async def test_a_value_of_another_form(grammars: GrammarFormat, value: Any, form: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await grammars.constraint(value, timeout=20)
    assert str(caught.value).endswith(f"is an object {form}")
