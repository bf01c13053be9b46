"""What a Go template can say, read from its tree (Ollama API, "Capabilities", "Thinking and tool-call parsing")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from remuda.hookspecs import TemplateTraits

from .nodes import (
    Action,
    Chain,
    Command,
    Field,
    If,
    List,
    Node,
    Operand,
    Pipe,
    Range,
    TemplateCall,
    Text,
    Variable,
    With,
)
from .ollama import compiled

__all__ = ["inspect"]

_RESULTS: Final = re.compile(r'eq\s+\$?[\w.]*\.Role\s+"tool"|tool_response|TOOL_RESULTS')


def inspect(template: str) -> TemplateTraits:
    """Raises `TemplateError` for a template that cannot be parsed."""
    made = compiled(template)
    trees = made.parsed.trees.values()
    channels = "<|channel|>" in template and "thinking" in made.names
    open_, close = ("", "") if channels else _think_tags(trees)
    tools = "tools" in made.names
    return TemplateTraits(
        messages="messages" in made.names,
        tools=tools,
        tool_results=tools and "toolcalls" in made.names and bool(_RESULTS.search(template)),
        tool_tag=_tool_tag(trees),
        thinking=channels or bool(open_),
        think_open=open_,
        think_close=close,
        insert="suffix" in made.names,
    )


def _think_tags(trees: Iterable[List]) -> tuple[str, str]:
    """The first and last text of the list that `.Thinking` is written in; the last place that has both is taken."""
    tags = ("", "")
    for tree in trees:
        for around in _thinking(tree, tree, False):
            first, last = around.nodes[0], around.nodes[-1]
            if isinstance(first, Text) and isinstance(last, Text) and first.text.strip() and last.text.strip():
                tags = first.text.strip(), last.text.strip()
    return tags


def _thinking(node: Node | Operand | Command | None, around: List, walking: bool) -> Iterator[List]:
    """The list round each `.Thinking` that stands in a walk over `.Messages`."""
    match node:
        case Field() | Variable():
            if walking and "Thinking" in node.idents:
                yield around
        case List():
            for each in node.nodes:
                yield from _thinking(each, node, walking)
        case If() | With() | Range():
            walking = walking or (isinstance(node, Range) and _mentions(node.pipe, "Messages"))
            for each in (node.pipe, node.body, node.otherwise):
                yield from _thinking(each, around, walking)
        case Action() | TemplateCall():
            yield from _thinking(node.pipe, around, walking)
        case Pipe():
            for command in node.commands:
                for arg in command.args:
                    yield from _thinking(arg, around, walking)
        case Chain():
            yield from _thinking(node.node, around, walking)
        case _:
            return


def _tool_tag(trees: Iterable[List]) -> str:
    """What is written first where there are `.ToolCalls`, up to a `{`."""
    for tree in trees:
        block = _tool_block(tree)
        if block is not None:
            return (_first_text(block) or "").partition("{")[0].strip()
    return ""


def _tool_block(node: Node | None) -> List | None:
    match node:
        case If() | With() | Range():
            if _mentions(node.pipe, "ToolCalls"):
                return node.body
            return _tool_block(node.body) or _tool_block(node.otherwise)
        case List():
            return next((block for each in node.nodes if (block := _tool_block(each))), None)
        case _:
            return None


def _first_text(block: List | None) -> str | None:
    """The first text that is not blank: empty if a value is printed before it, None if nothing is printed at all."""
    for node in block.nodes if block else ():
        found = None
        match node:
            case Text():
                found = node.text if node.text.strip() else None
            case If() | With() | Range():
                branches = _first_text(node.body), _first_text(node.otherwise)
                found = branches[0] or branches[1] or (None if branches == (None, None) else "")
            case Action():
                found = None if node.pipe.declare else ""
            case _:
                continue
        if found is not None:
            return found
    return None


def _mentions(operand: Operand, name: str) -> bool:
    match operand:
        case Field() | Variable():
            return name in operand.idents
        case Pipe():
            return any(_mentions(arg, name) for command in operand.commands for arg in command.args)
        case Chain():
            return name in operand.fields or _mentions(operand.node, name)
        case _:
            return False
