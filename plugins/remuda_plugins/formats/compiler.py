"""The process in which formats are compiled: `python -P -m remuda_plugins.formats.compiler FD PARENT`.

It knows nothing, holds no file but its socket, and may be killed at any time. A grammar is compiled here to see that
it can be: with less memory and a smaller stack than the process of a model has, so that what passes here passes there.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.gbnf_to_lark import gbnf_to_lark

from remuda.runner.worker import serve

from .compiled import Compile, Compiled, schema_grammar
from .fault import FormatFault
from .finite import without_endless
from .gbnf import respell
from .schema import rewrite_schema

__all__ = ["compile_format", "main"]

_MEMORY: Final = 256 * 1024 * 1024
_MOST_SECONDS: Final = 0.3
"""Of the processor's time, for the engine alone. A model's process compiles it again, and other answers wait there."""
_STACK: Final = 1024 * 1024
"""Bytes. The engine recurses over a grammar; a thread of another process has 8 MiB, and nothing catches its end."""
_LONGEST_ERROR: Final = 300

_LIMITS: Final = LLParserLimits(
    max_items_in_row=1000,
    step_max_items=25_000,
    max_grammar_size=250_000,
    verbose_errors=False,
)
"""Half of what the engine allows by default."""

_LARK: Final = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|#[^\n]*|/(?:[^/\\\n]|\\.)+/|(?P<token><)', re.DOTALL)


def compile_format(request: Compile) -> Compiled:
    """Compile, and turn whatever is wrong into a sentence."""
    if not request.kind:
        return Compiled()
    try:
        grammar = _GRAMMARS[request.kind](request.source)
        _try(grammar)
    except FormatFault as fault:
        return Compiled(error=str(fault)[:_LONGEST_ERROR])
    except RecursionError:
        return Compiled(error="it is nested too deep")
    return Compiled(grammar=grammar)


def _schema(source: str) -> str:
    try:
        schema: dict[str, Any] = msgspec.json.decode(source)
    except msgspec.DecodeError as error:
        raise FormatFault(str(error)) from None
    return schema_grammar(without_endless(rewrite_schema(schema)))


def _regex(source: str) -> str:
    return LLMatcher.grammar_from_regex(source)


def _lark(source: str) -> str:
    if any(found["token"] for found in _LARK.finditer(source)):
        raise FormatFault("a Lark grammar may not name tokens (<...>): a format is not bound to one model")
    return LLMatcher.grammar_from_lark(source)


def _gbnf(source: str) -> str:
    try:
        lark = gbnf_to_lark(respell(source))
    except (FormatFault, RecursionError):
        raise
    except IndexError:
        raise FormatFault("it ends in the middle of something") from None
    except Exception as error:  # the translation raises plain ones
        raise FormatFault(_sentence(str(error))) from None
    return LLMatcher.grammar_from_lark(lark)


_GRAMMARS: Final[dict[str, Callable[[str], str]]] = {
    "json_schema": _schema,
    "regex": _regex,
    "lark": _lark,
    "gbnf": _gbnf,
}
_TOKENIZER: Final = LLTokenizer("byte")


_SENTENCES: Final = {
    "NoExtension": "nothing can match it",
    "Unsatisfiable schema: Regex is empty": (
        'nothing can match it: no string fits its "pattern", "format", "enum" and lengths together'
    ),
    "Unable to determine if regex is empty": 'a "pattern" is too complex together with the lengths beside it',
    "circular references with sibling keys": '"$ref" with other keywords beside it must not lead back to itself',
    "recursion limit exceeded": "it is nested too deep",
    "Schema intersection stack level exceeded": "it is nested too deep, or intersects schemas that lead back to it",
    "schema too large": "its schemas are too many when they are intersected",
}
"""By the beginning of what the engine says: what to tell a client instead."""


def _try(grammar: str) -> None:
    """Raise `FormatFault` unless the engine takes the grammar and knows a first byte."""
    begun = time.process_time()
    matcher = LLMatcher(_TOKENIZER, grammar, log_level=0, limits=_LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise FormatFault(_sentence(matcher.get_error()))
    if time.process_time() - begun > _MOST_SECONDS:
        raise FormatFault("it is too complex")


def _sentence(error: str) -> str:
    """The engine's own words, without its drawings."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    for line in lines:
        if line.startswith("error: "):  # what an expression's own parser says, below its drawing
            return f"the regular expression is not supported: {line.removeprefix('error: ')}"
    first = lines[0] if lines else "it is not a grammar"
    for beginning, sentence in _SENTENCES.items():
        if first.startswith(beginning):
            return sentence
    return first.replace("Unsatisfiable schema: ", "nothing can match it: ")


def _limit_stack() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_STACK, (_STACK, resource.getrlimit(resource.RLIMIT_STACK)[1]))


def main() -> None:
    _limit_stack()
    serve(Compile, compile_format, memory=_MEMORY)


if __name__ == "__main__":
    main()
