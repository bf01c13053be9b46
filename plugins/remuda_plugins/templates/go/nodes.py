"""The tree that a template is parsed into, and the text of a node as errors quote it.

Nodes are frozen: a tree may be shared between executions, and somebody who wants a different one builds it from the
nodes of the old. Every node has `pos`, the index in the template's text of what an error about it points at;
`Parsed.place` turns that into a line and a column. (Leaves refer to nothing, so the garbage collector need not look.)
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from .quoting import quote
from .utf8 import length

__all__ = [
    "Action",
    "Bool",
    "Break",
    "Chain",
    "Command",
    "Continue",
    "Dot",
    "Field",
    "Identifier",
    "If",
    "List",
    "Nil",
    "Node",
    "Number",
    "Operand",
    "Parsed",
    "Pipe",
    "Range",
    "String",
    "TemplateCall",
    "Text",
    "Variable",
    "With",
    "place",
    "source",
]


class List(Struct, frozen=True):
    """A sequence of nodes: a template's body, or a branch of a control structure."""

    pos: int
    nodes: tuple[Node, ...] = ()


class Text(Struct, frozen=True, gc=False):
    """Plain text between actions, already trimmed by `{{-` and `-}}`. Never empty."""

    pos: int
    text: str


class Action(Struct, frozen=True):
    """`{{pipeline}}`: prints the value, unless the pipeline declares or assigns variables."""

    pos: int
    pipe: Pipe


class If(Struct, frozen=True):
    """`{{if}}`. An `{{else if}}` is an `If` alone in `otherwise`."""

    pos: int
    pipe: Pipe
    body: List
    otherwise: List | None = None


class With(Struct, frozen=True):
    """`{{with}}`: `body` sees the pipeline's value as dot. An `{{else with}}` is a `With` alone in `otherwise`."""

    pos: int
    pipe: Pipe
    body: List
    otherwise: List | None = None


class Range(Struct, frozen=True):
    """`{{range}}`: `body` once for each element, `otherwise` when there is none."""

    pos: int
    pipe: Pipe
    body: List
    otherwise: List | None = None


class TemplateCall(Struct, frozen=True):
    """`{{template "name" pipeline}}`, and what `{{block}}` leaves in its place. Without a pipeline dot is nil."""

    pos: int
    name: str
    pipe: Pipe | None = None


class Break(Struct, frozen=True, gc=False):
    pos: int


class Continue(Struct, frozen=True, gc=False):
    pos: int


class Pipe(Struct, frozen=True):
    """`$x, $y := command | command`. `assign` tells `=` from `:=` where there are variables in `declare`."""

    pos: int
    commands: tuple[Command, ...]
    declare: tuple[Variable, ...] = ()
    assign: bool = False


class Command(Struct, frozen=True):
    """An operand, or a function followed by its arguments. Never empty."""

    pos: int
    args: tuple[Operand, ...]


class Identifier(Struct, frozen=True, gc=False):
    """The name of a function."""

    pos: int
    name: str


class Field(Struct, frozen=True, gc=False):
    """`.A.B` as `("A", "B")`. `pos` is that of the second name where there is one."""

    pos: int
    idents: tuple[str, ...]


class Variable(Struct, frozen=True, gc=False):
    """`$x.A.B` as `("$x", "A", "B")`; the data itself is `("$",)`."""

    pos: int
    idents: tuple[str, ...]


class Chain(Struct, frozen=True):
    """Fields of something that is neither a field nor a variable: `(pipeline).A.B`, `function.A`."""

    pos: int
    node: Operand
    fields: tuple[str, ...]


class Dot(Struct, frozen=True, gc=False):
    pos: int


class Nil(Struct, frozen=True, gc=False):
    pos: int


class Bool(Struct, frozen=True, gc=False):
    pos: int
    value: bool


class Number(Struct, frozen=True, gc=False):
    """A number or a character constant. An integer may be one too large for Go's `int`; using it is then an error."""

    pos: int
    value: int | float
    text: str


class String(Struct, frozen=True, gc=False):
    """A string constant: its value, and how it was written."""

    pos: int
    value: str
    quoted: str


Node: TypeAlias = List | Text | Action | If | With | Range | TemplateCall | Break | Continue
"""What stands in a list."""

Operand: TypeAlias = Identifier | Field | Variable | Chain | Pipe | Dot | Nil | Bool | Number | String
"""What a command consists of. A `Pipe` is one in parentheses."""


class Parsed(Struct, frozen=True):
    """A parsed template: its own tree under its name, and one for each `define` and `block`."""

    name: str
    text: str
    trees: dict[str, List]

    def place(self, pos: int) -> tuple[int, int]:
        """The line and column of `pos`; see the function `place`."""
        return place(self.text, pos)


def place(text: str, pos: int) -> tuple[int, int]:
    """The line of an index in a text, from 1, and the column in bytes, from 0, as Go counts them."""
    start = text.rfind("\n", 0, pos) + 1
    return text.count("\n", 0, pos) + 1, length(text[start:pos])


def source(node: Node | Operand | Command) -> str:
    """The node as it would be written. Of a control structure only its beginning."""
    match node:
        case Pipe():
            return _pipe(node)
        case Command():
            return " ".join(_enclosed(arg) for arg in node.args)
        case Field():
            return "." + ".".join(node.idents)
        case Variable():
            return ".".join(node.idents)
        case Chain():
            return ".".join((_enclosed(node.node), *node.fields))
        case Identifier():
            return node.name
        case Dot():
            return "."
        case Nil():
            return "nil"
        case Bool():
            return "true" if node.value else "false"
        case Number():
            return node.text
        case String():
            return node.quoted
        case List():
            return "".join(map(source, node.nodes))
        case Text():
            return node.text
        case _:
            return "{{" + _statement(node) + "}}"


def _statement(node: Action | If | With | Range | TemplateCall | Break | Continue) -> str:
    match node:
        case Action():
            return _pipe(node.pipe)
        case TemplateCall():
            return f"template {quote(node.name)}" + (f" {_pipe(node.pipe)}" if node.pipe else "")
        case Break():
            return "break"
        case Continue():
            return "continue"
        case _:
            return f"{type(node).__name__.lower()} {_pipe(node.pipe)}"


def _pipe(pipe: Pipe) -> str:
    declared = ", ".join(map(source, pipe.declare))
    commands = " | ".join(map(source, pipe.commands))
    return f"{declared} {'=' if pipe.assign else ':='} {commands}" if declared else commands


def _enclosed(operand: Operand) -> str:
    return f"({_pipe(operand)})" if isinstance(operand, Pipe) else source(operand)
