"""Regular expressions of schemas mean what they mean to the readers of these schemas."""

from __future__ import annotations

import json
import re

import pytest
from random_documents import accepts

from remuda.errors import BadRequest
from remuda_plugins.formats.compiled import SchemaFormat

pytestmark = pytest.mark.anyio

TEXTS = [
    *"aAbzx19_ -&~[]^$.*+?(){}|\\/<>#,\"'",
    *("", "ab", "ba", "aa", "aaa", "aaaa", "xa", "yxa", "12", "é", "٣", "\u00a0", "\u2028", "\ufeff", "\n", "\t"),
    *("a\n", "a&", "{,3}", "a{2", "Aa", "\U0001f600", "a.b", "b]", "a-z", "x\\"),
]

PATTERNS = [
    r"^\d+$",
    r"^\D$",
    r"^\w+$",
    r"^\W$",
    r"^\s$",
    r"^\S+$",
    r"^[\d\s]$",
    r"^[^\d\s]$",
    r"^[^\W_]$",
    r"^[\W_]$",
    r"^[^\S]$",
    r"^.$",
    r"^[^\"]$",
    r"^[^\"\\\\]$",
    r"^[^\n]$",
    r"^[\x00-\x1fa]$",
    r"^[a&&b]$",
    r"^[a~~b]$",
    r"^[!--/]$",
    r"^[\[a]b]$",
    r"^[[a]b]$",
    r"^[a-]$",
    r"^[\w-]$",
    r"^[\w.-]+$",
    r"^\<a$",
    r"^\-\/$",
    r"^[\-\/]$",
    r"^\x41\u0061$",
    r"^[\u0041-\u005a]+$",
    "^\U0001f600$",
    r"^a|b$",
    r"^(a|b)$",
    r"(^a|b)b?$",
    r"(^|x)a$",
    r"^(?:a|b){2}$",
    r"^(?P<name>a)$",
    r"^a{2,3}$",
    r"^a{2,}?$",
    r"^a+?$",
    r"^a{2$",
    r"^]$",
    r"^}$",
    r"^(|a)$",
    r"^$",
    r"",
    r"^#a? ?$",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
async def test_what_matches_also_matches_for_a_reader(schemas: SchemaFormat, pattern: str) -> None:
    grammar = (await schemas.constraint({"type": "string", "pattern": pattern}, timeout=20)).grammar
    reader = re.compile(pattern)
    written = {text for text in TEXTS if accepts(grammar, json.dumps(text, ensure_ascii=False))}
    assert {text for text in written if not reader.search(text)} == set()
    plain = {text for text in TEXTS if reader.search(text) and text.isascii() and text.isprintable()}
    assert plain - written == set(), "only what engines disagree about is left out"


async def test_a_pair_of_surrogates_is_one_character(schemas: SchemaFormat) -> None:
    grammar = (await schemas.constraint({"type": "string", "pattern": r"^\ud83d\ude00$"}, timeout=20)).grammar
    assert accepts(grammar, '"\U0001f600"')


async def test_categories_of_unicode(schemas: SchemaFormat) -> None:
    grammar = (await schemas.constraint({"type": "string", "pattern": r"^\p{Lu}\p{L}*$"}, timeout=20)).grammar
    assert accepts(grammar, '"Éa"')
    assert not accepts(grammar, '"éa"')


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"^(?=a)b", "lookahead and lookbehind are not supported"),
        (r"(?<!a)b", "lookahead and lookbehind are not supported"),
        (r"(a)\1", "backreferences are not supported"),
        (r"(?<n>a)\k<n>", "backreferences are not supported"),
        (r"\bword\b", "word boundaries"),
        (r"(?i)abc", 'of what begins with "(?"'),
        (r"^\Aa\Z$", r"\A"),
        (r"^\z$", r"\z"),
        (r"\cA", r"\c"),
        (r"\p{Script=Greek}", "general categories"),
        (r"\p{Cc}", "general categories"),
        (r"^\x01$", "control characters"),
        (r"^[\x00-\x07]$", "control characters"),
        (r"^[^]$", "empty brackets"),
        (r"^[z-a]$", 'the range "z-a" is empty'),
        (r"^[a", 'a "[" is not closed'),
        (r"^(a", 'a "(" is not closed'),
        (r"a)", 'a ")" closes nothing'),
        (r"*a", 'nothing before "*"'),
        (r"a**", 'nothing before "*"'),
        (r"a{,3}", 'write "{0,n}"'),
        (r"a{3,2}", "repetition"),
        ("a\\", "it ends with a backslash"),
        (r"\xzz", "two hexadecimal digits"),
        (r"\ud83d", "is no character"),
        (r"a$b", "lookarounds"),
        (r"^((a{100}){100}){100}$", "longer than 10000 characters"),
        ("(" * 60 + ")" * 60, "nested deeper than 50"),
        ("a" * 10_001, "longer than 10000 characters"),
    ],
)
async def test_what_cannot_be_said_is_refused(schemas: SchemaFormat, pattern: str, words: str) -> None:
    with pytest.raises(BadRequest, match=r"^invalid format: ") as caught:
        await schemas.constraint({"type": "string", "pattern": pattern}, timeout=20)
    assert words in str(caught.value)
