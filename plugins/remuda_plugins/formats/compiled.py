"""Formats that a child process compiles: the server's side.

A schema or a grammar is somebody else's program for the grammar engine, so the engine never runs in the server: the
child (`compiler`) checks, rewrites and compiles, and the server keeps the answer for the next request with the same
format. What the child lets through, the engine behind a model can compile within its own limits.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from remuda.errors import BadRequest
from remuda.output import Constraint
from remuda.runner.worker import Worker, WorkerEnded, WorkerLate

__all__ = ["JSON_GRAMMAR", "Compile", "Compiled", "GrammarFormat", "JsonFormat", "SchemaFormat", "schema_grammar"]

_LARGEST_SCHEMA: Final = 512 * 1024
_LARGEST_GRAMMAR: Final = {"regex": 64 * 1024, "lark": 256 * 1024, "gbnf": 64 * 1024}
_MOST_KEPT: Final = 256
_MOST_BYTES_KEPT: Final = 8 * 1024 * 1024
_TOO_COMPLEX: Final = "invalid format: it is too complex"


class Compile(Struct, frozen=True):
    """Down to the child: the format's name, and the schema as JSON or the grammar as it is. No name: only answer."""

    kind: str
    source: str


class Compiled(Struct, frozen=True):
    """Up from the child: a grammar for the engine, or what is wrong with the source."""

    grammar: str = ""
    error: str = ""


_OPTIONS: Final = {
    # One blank or one line break with its indentation at a time: more, and a small model may write nothing else.
    "whitespace_pattern": r" |\n[ \t]{0,20}",
    # No `\u....`: a key has one spelling then, and cannot come twice under two.
    "json_allowed_escapes": 'nrbtf\\"',
}


def schema_grammar(schema: dict[str, Any]) -> str:
    """A schema that the engine honours whole, as a grammar in its notation."""
    whole = {"grammars": [{"json_schema": {**schema, "x-guidance": _OPTIONS}}]}
    return msgspec.json.encode(whole).decode()


JSON_GRAMMAR: Final = schema_grammar({"type": "object"})


class JsonFormat:
    """`"json"`: any JSON object. A `remuda.hookspecs.OutputFormat`."""

    async def constraint(self, value: Any, *, timeout: float) -> Constraint:
        if value not in ("json", {"type": "json"}):
            raise BadRequest('invalid format: "json" takes nothing beside it; send a JSON Schema object instead')
        return Constraint(grammar=JSON_GRAMMAR)

    async def close(self) -> None:
        pass


class _InChild:
    """Asks the child, and remembers what it said."""

    def __init__(self) -> None:
        self._worker = Worker("remuda_plugins.formats.compiler", Compile("", ""), Compiled)
        self._kept: OrderedDict[Compile, Compiled] = OrderedDict()
        self._size = 0

    async def close(self) -> None:
        await self._worker.close()

    async def _compiled(self, kind: str, source: str, timeout: float) -> Constraint:
        question = Compile(kind, source)
        answer = self._kept.get(question)
        if answer is None:
            try:
                answer = await self._worker.ask(question, timeout=timeout)
            except WorkerLate:
                raise BadRequest(f"{_TOO_COMPLEX}: it could not be compiled within {timeout:g} s") from None
            except WorkerEnded:
                raise BadRequest(f"{_TOO_COMPLEX}: it needs more memory than a format may have") from None
            self._keep(question, answer)
        else:
            self._kept.move_to_end(question)
        if answer.error:
            raise BadRequest(f"invalid format: {answer.error}")
        return Constraint(grammar=answer.grammar)

    def _keep(self, question: Compile, answer: Compiled) -> None:
        if question in self._kept:  # asked twice at once
            return
        self._kept[question] = answer
        self._size += _size(question, answer)
        while len(self._kept) > _MOST_KEPT or self._size > _MOST_BYTES_KEPT:
            self._size -= _size(*self._kept.popitem(last=False))


def _size(question: Compile, answer: Compiled) -> int:
    return len(question.source) + len(answer.grammar)


class SchemaFormat(_InChild):
    """A JSON Schema object. A `remuda.hookspecs.OutputFormat`."""

    async def constraint(self, value: Any, *, timeout: float) -> Constraint:
        if not isinstance(value, dict):
            raise BadRequest('invalid format: expected "json" or a JSON Schema object')
        try:
            source = msgspec.json.encode(value)
        except (RecursionError, OverflowError, ValueError, msgspec.MsgspecError):
            raise BadRequest("invalid format: it is nested too deep or holds numbers that are too large") from None
        if len(source) > _LARGEST_SCHEMA:
            raise BadRequest(f"invalid format: a schema may have at most {_LARGEST_SCHEMA // 1024} KiB")
        return await self._compiled("json_schema", source.decode(), timeout)


class GrammarFormat(_InChild):
    """`{"type": "regex", "pattern": ...}`, `{"type": "lark", "grammar": ...}` and `{"type": "gbnf", "grammar": ...}`.

    A `remuda.hookspecs.OutputFormat` for one or more of them.
    """

    async def constraint(self, value: Any, *, timeout: float) -> Constraint:
        asked: dict[str, Any] = cast(dict[str, Any], value) if isinstance(value, dict) else {"type": value}
        kind: str = asked["type"]
        key = "pattern" if kind == "regex" else "grammar"
        source = asked.get(key)
        if asked.keys() != {"type", key} or not isinstance(source, str) or not source:
            raise BadRequest(f'invalid format: "{kind}" is an object {{"type": "{kind}", "{key}": "..."}}')
        if len(source) > _LARGEST_GRAMMAR[kind]:
            raise BadRequest(f'invalid format: a "{kind}" {key} may have at most {_LARGEST_GRAMMAR[kind] // 1024} KiB')
        return await self._compiled(kind, source, timeout)
