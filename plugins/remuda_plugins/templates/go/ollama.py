"""Renders a Go template as Ollama does (Ollama API, "Go template environment" and "Execution").

There are three ways. A prompt with a suffix is given to the template as it is. A template that knows `.Messages` walks
over them itself. Any other is rendered once for each exchange, and the last time only up to where the answer begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from .data import messages, thinking, tools, typescript_type
from .errors import TemplateError
from .execute import execute
from .gojson import to_json
from .nodes import (
    Action,
    Chain,
    Command,
    Field,
    If,
    List,
    Node,
    Operand,
    Parsed,
    Pipe,
    Range,
    TemplateCall,
    Variable,
    With,
)
from .parser import parse

__all__ = ["Template", "compiled", "forget", "render"]

_LONGEST_PROMPT: Final = 16 * 1024 * 1024
_STEPS: Final = 10_000_000
"""Enough for thousands of messages; the deadline comes first."""
_PARTS: Final = {"system": "System", "user": "Prompt", "assistant": "Response"}
"""What a message is in a template that is rendered for each exchange."""


class Template(Struct, frozen=True):
    """A parsed template, with `{{ .Response }}` at its end if it names neither that nor `.Messages`."""

    parsed: Parsed
    names: frozenset[str]
    """The lower-cased names of all fields and variables in it."""
    last: Parsed
    """Without what stands after the first `.Response`."""


def render(template: str, canonical: Mapping[str, Any]) -> str:
    """The prompt for what `remuda.TemplateEngine.render` takes. Raises `TemplateError`."""
    made = compiled(template)
    think = canonical.get("think")
    if think == "max" and "<|start|>" in template and "<|end|>" in template:
        think = "high"  # harmony has no more
    always = {"Response": "", **thinking(think)}
    prompt, suffix = canonical.get("prompt", ""), canonical.get("suffix", "")
    if prompt and suffix:
        return _execute(made.parsed, {"Prompt": prompt, "Suffix": suffix, **always}, FUNCTIONS)
    turns = canonical.get("messages") or [{"role": "user", "content": prompt}]
    if "messages" not in made.names:
        return _legacy(made, turns, always)
    data = {
        "System": "\n\n".join(turn.get("content", "") for turn in turns if turn["role"] == "system"),
        "Messages": messages(_collated(turns)),
        "Tools": tools(canonical.get("tools", ())),
        **always,
    }
    return _execute(made.parsed, data, FUNCTIONS)


def forget() -> None:
    """Give back the memory that parsed templates take."""
    compiled.cache_clear()


@lru_cache(maxsize=32)
def compiled(template: str) -> Template:
    """The template, ready for use. Raises `TemplateError`."""
    parsed = parse(template, FUNCTIONS)
    names = frozenset(name.lower() for tree in parsed.trees.values() for name in _names(tree))
    root = parsed.trees.get(parsed.name, List(0))
    if not names & {"messages", "response"}:
        end = len(template)
        response = Action(end, Pipe(end, (Command(end, (Field(end, ("Response",)),)),)))
        root = List(root.pos, (*root.nodes, response))
    parsed = _with_root(parsed, root)
    return Template(parsed, names, _with_root(parsed, _cut(root)[0]))


def _legacy(made: Template, turns: Iterable[Mapping[str, Any]], always: Mapping[str, Any]) -> str:
    pieces: list[str] = []
    left = _LONGEST_PROMPT
    pending = {"System": "", "Prompt": "", "Response": ""}

    def flush(parsed: Parsed, functions: Mapping[str, Callable[..., Any]]) -> None:
        nonlocal left
        pieces.append(_execute(parsed, {**always, **pending}, functions))
        pending.update(System="", Prompt="", Response="")
        left -= len(pieces[-1])
        if left < 0:
            raise TemplateError(f"the prompt is longer than {_LONGEST_PROMPT} characters")

    for turn in _collated(turns):
        role, content = turn["role"], turn.get("content", "")
        if (pending["Response"] and role in {"system", "user"}) or (pending["Prompt"] and role == "system"):
            flush(made.parsed, FUNCTIONS)
        if role in _PARTS:
            pending[_PARTS[role]] = content
    flush(made.last, {})
    return "".join(pieces)


def _execute(parsed: Parsed, data: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> str:
    return execute(parsed, dict(data), functions, max_steps=_STEPS, max_output=_LONGEST_PROMPT)


def _collated(turns: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Neighbours of one role as one, except results of tools; of a later one only the content is kept."""
    groups: list[list[Mapping[str, Any]]] = []
    for turn in turns:
        if groups and groups[-1][0]["role"] == turn["role"] != "tool":
            groups[-1].append(turn)
        else:
            groups.append([turn])
    return [
        {**group[0], "content": "\n\n".join(turn.get("content", "") for turn in group)} if group[1:] else group[0]
        for group in groups
    ]


def _with_root(parsed: Parsed, root: List) -> Parsed:
    return msgspec.structs.replace(parsed, trees={**parsed.trees, parsed.name: root})


def _names(node: Node | Operand | Command | None) -> Iterator[str]:
    match node:
        case Field() | Variable():
            yield from node.idents
        case Chain():
            yield from node.fields
            yield from _names(node.node)
        case List():
            for each in node.nodes:
                yield from _names(each)
        case Pipe():
            for command in node.commands:
                yield from _names(command)
        case Command():
            for arg in node.args:
                yield from _names(arg)
        case If() | With() | Range():
            yield from _names(node.pipe)
            yield from _names(node.body)
            yield from _names(node.otherwise)
        case Action() | TemplateCall():
            yield from _names(node.pipe)
        case _:
            return


def _cut(tree: List) -> tuple[List, bool]:
    """The tree up to and with the first `.Response`, and whether there is one.

    Conditions do not count. The two branches of a condition come neither before nor after each other.
    """
    kept: list[Node] = []
    for node in tree.nodes:
        found = False
        match node:
            case Action():
                pipe, found = _cut_pipe(node.pipe)
                kept.append(Action(node.pos, pipe))
            case If() | With() | Range():
                body, found = _cut(node.body)
                otherwise, found_too = _cut(node.otherwise) if node.otherwise else (None, False)
                found = found or found_too
                kept.append(msgspec.structs.replace(node, body=body, otherwise=otherwise))
            case _:
                kept.append(node)
        if found:
            return List(tree.pos, tuple(kept)), True
    return tree, False


def _cut_pipe(pipe: Pipe) -> tuple[Pipe, bool]:
    """The arguments behind `.Response` are gone; what it is piped to stays."""
    for place, command in enumerate(pipe.commands):
        for index, arg in enumerate(command.args):
            inner, found = _cut_pipe(arg) if isinstance(arg, Pipe) else (arg, _is_response(arg))
            if found:
                shorter = Command(command.pos, (*command.args[:index], inner))
                commands = (*pipe.commands[:place], shorter, *pipe.commands[place + 1 :])
                return msgspec.structs.replace(pipe, commands=commands), True
    return pipe, False


def _is_response(operand: Operand) -> bool:
    match operand:
        case Field():
            return "Response" in operand.idents
        case Variable():
            return operand.idents[0] == "$" and "Response" in operand.idents
        case _:
            return False


def _date(days: int) -> str:
    return (datetime.now(UTC).astimezone() + timedelta(days=days)).strftime("%Y-%m-%d")


def _current_date(*_: Any) -> str:
    return _date(0)


def _yesterday_date(*_: Any) -> str:
    return _date(-1)


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "json": to_json,
    "currentDate": _current_date,
    "yesterdayDate": _yesterday_date,
    "toTypeScriptType": typescript_type,
}
"""What templates may call beside Go's own functions."""
