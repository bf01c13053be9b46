"""Evaluates pipelines: what stands inside an action."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

from .budget import Budget
from .errors import TemplateError
from .functions import BUILTINS, Function, custom
from .nodes import (
    Bool,
    Chain,
    Command,
    Dot,
    Field,
    Identifier,
    Nil,
    Node,
    Number,
    Operand,
    Parsed,
    Pipe,
    String,
    Variable,
    source,
)
from .quoting import quote
from .values import NIL, Record, held, stored, truth, type_name
from .variables import Variables

__all__ = ["Evaluator"]

_LARGEST_INT = (1 << 63) - 1


class _Missing:
    """Stands for the value from the command before where there is none."""


_MISSING = _Missing()


class Evaluator:
    """`at` is what an error would be about, `template` the name of the template that is being executed.

    Values from methods with an underscore may be in an `Interface`, as `values` explains.
    """

    __slots__ = ("_functions", "_parsed", "at", "budget", "template", "variables")

    def __init__(self, parsed: Parsed, data: Any, functions: Mapping[str, Callable[..., Any]], budget: Budget) -> None:
        self._parsed = parsed
        self._functions = BUILTINS | {name: custom(function) for name, function in functions.items()}
        self.at: Node | Operand | Command | None = None
        self.template = parsed.name
        self.variables = Variables(data)
        self.budget = budget

    def fail(self, text: str) -> NoReturn:
        """Raises the error with its place: what was looked at last."""
        name, executing = self._parsed.name, quote(self.template)
        if self.at is None:
            raise TemplateError(f"template: {self.template}: {text}")
        line, column = self._parsed.place(self.at.pos)
        place = f"{name}:{line}:{column}: executing {executing} at <{source(self.at)}>"
        raise TemplateError(f"template: {place}: {text}", line=line, column=column)

    def pipeline(self, dot: Any, pipe: Pipe) -> Any:
        """The value of a pipeline, whose variables are set to it as well."""
        self.at = pipe
        value: Any = _MISSING
        for command in pipe.commands:
            self.budget.spend()
            value = held(self._command(dot, command, value))
        for variable in pipe.declare:
            if pipe.assign:
                self.assign(variable, value)
            else:
                self.variables.declare(variable.idents[0], value)
        return value

    def assign(self, variable: Variable, value: Any) -> None:
        try:
            self.variables.assign(variable.idents[0], value)
        except KeyError:
            self.fail(f"undefined variable: {variable.idents[0]}")

    def _command(self, dot: Any, command: Command, final: Any) -> Any:
        args = command.args
        first = args[0]
        match first:
            case Field():
                self.at = first
                return self._fields(dot, first.idents, args, final)
            case Chain():
                return self._chain(dot, first, args, final)
            case Identifier():
                return self._call(dot, first, command, args[1:], final)
            case Variable():
                return self._variable(first, args, final)
            case Pipe():
                self._no_arguments(args, final)
                return self.pipeline(dot, first)
            case _:
                self.at = first
                self._no_arguments(args, final)
                if isinstance(first, Nil):
                    self.fail("nil is not a command")
                return dot if isinstance(first, Dot) else self._constant(first)

    def _no_arguments(self, args: Sequence[Operand], final: Any) -> None:
        if len(args) > 1 or final is not _MISSING:
            self.fail(f"can't give argument to non-function {source(args[0])}")

    def _argument(self, dot: Any, node: Operand) -> Any:
        self.at = node
        match node:
            case Field():
                return self._fields(dot, node.idents)
            case Variable():
                return self._variable(node)
            case Dot():
                return dot
            case Pipe():
                return self.pipeline(dot, node)
            case Identifier():
                return self._call(dot, node, node)
            case Chain():
                return self._chain(dot, node)
            case Nil():
                return None
            case _:
                return self._constant(node)

    def _constant(self, node: Bool | Number | String) -> Any:
        self.at = node
        if isinstance(node, Number) and isinstance(node.value, int) and node.value > _LARGEST_INT:
            self.fail(f"{node.text} overflows int")
        return node.value

    def _variable(self, node: Variable, args: Sequence[Operand] = (), final: Any = _MISSING) -> Any:
        self.at = node
        try:
            value = self.variables.value(node.idents[0])
        except KeyError:
            self.fail(f"undefined variable: {node.idents[0]}")
        if len(node.idents) > 1:
            return self._fields(value, node.idents[1:], args, final)
        self._no_arguments(args, final)
        return value

    def _chain(self, dot: Any, node: Chain, args: Sequence[Operand] = (), final: Any = _MISSING) -> Any:
        self.at = node
        return self._fields(self._argument(dot, node.node), node.fields, args, final)

    def _fields(self, value: Any, names: Sequence[str], args: Sequence[Operand] = (), final: Any = _MISSING) -> Any:
        for name in names[:-1]:
            self.budget.spend()
            value = self._field(value, name)
        return self._field(value, names[-1], has_arguments=len(args) > 1 or final is not _MISSING)

    def _field(self, holder: Any, name: str, *, has_arguments: bool = False) -> Any:
        """A field of a struct, or what a map has under the name. Nil has nothing under any name."""
        value = held(holder)
        if isinstance(value, Record):
            if name in value.fields:
                if has_arguments:
                    self.fail(f"{name} has arguments but cannot be invoked as function")
                found = value.fields[name]
                return NIL if found is None else found
        elif isinstance(value, dict):
            if has_arguments:
                self.fail(f"{name} is not a method but has arguments")
            values = cast(dict[str, Any], value)
            return stored(values, values.get(name))
        elif holder is None:
            return None
        elif value is None:
            self.fail(f"nil pointer evaluating interface {{}}.{name}")
        return self.fail(f"can't evaluate field {name} in type {type_name(holder)}")

    def _call(
        self, dot: Any, node: Identifier, whole: Operand | Command, args: Sequence[Operand] = (), final: Any = _MISSING
    ) -> Any:
        """Calls a function; `whole` is what an error of the function itself is about."""
        self.at = node
        name = node.name
        function = self._functions.get(name)
        if function is None:
            self.fail(f"{quote(name)} is not a defined function")
        self._count(name, function, len(args), final)
        values: list[Any] = []
        for number, arg in enumerate(args):
            self.budget.spend()
            value = self._form(dot, arg) if function.form_first and not number else self._argument(dot, arg)
            values.append(held(value) if function.takes_any else value)
            if function.stops_at is not None and truth(value) is function.stops_at:
                return value
        if final is not _MISSING:
            values.append(self._as_form(final) if function.form_first and not args else final)
        if name == "call" and function is BUILTINS["call"]:
            values.insert(0, source(args[0]) if args else _shown(final))
        try:
            return function.run(self.budget, values)
        except ValueError as error:
            self.at = whole
            self.fail(f"error calling {name}: {error}")

    def _count(self, name: str, function: Function, given: int, final: Any) -> None:
        """Go counts the value from the command before, but does not name it where it asks for more."""
        count = given + (final is not _MISSING)
        if function.variadic and count < function.fixed:
            self.fail(f"wrong number of args for {name}: want at least {function.fixed} got {given}")
        if not function.variadic and count != function.fixed:
            self.fail(f"wrong number of args for {name}: want {function.fixed} got {count}")

    def _form(self, dot: Any, node: Operand) -> str:
        """An argument that has to be a string."""
        self.at = node
        if isinstance(node, Nil | Bool | Number):
            nil = isinstance(node, Nil)
            self.fail("cannot assign nil to string" if nil else f"expected string; found {source(node)}")
        return node.value if isinstance(node, String) else self._as_form(self._argument(dot, node))

    def _as_form(self, value: Any) -> str:
        if value is None:
            self.fail("invalid value; expected string")
        text = held(value)
        if not isinstance(text, str):
            self.fail(f"wrong type for value; expected string; got {type_name(value if text is None else text)}")
        return text


def _shown(value: Any) -> str:
    """What Go calls a value that has no name."""
    return value if isinstance(value, str) else f"<{type_name(value)} Value>"
