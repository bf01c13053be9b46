"""Executes a parsed template.

Control structures are kept on a stack of their own: how deep they, and the templates that call each other, may go does
not depend on how deep Python may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .budget import Budget, Exhausted
from .errors import TemplateError
from .evaluate import Evaluator
from .nodes import Action, Break, Continue, If, List, Node, Parsed, Range, TemplateCall, Text, With
from .printf import sprintf
from .printing import sprint
from .quoting import quote
from .utf8 import final
from .values import Kind, entries, kind, stored, truth
from .variables import Variables

__all__ = ["execute"]


def execute(
    parsed: Parsed,
    data: Any,
    functions: Mapping[str, Callable[..., Any]],
    *,
    max_steps: int = 1_000_000,
    max_output: int = 16 * 1024 * 1024,
    max_depth: int = 100,
) -> str:
    """What the template prints for the data, as `values` describes it.

    `functions` adds to Go's own; each gets plain values, None for nil. `max_steps` bounds nodes, commands, elements and
    what functions do to strings (see `Budget`), `max_output` the characters printed and those of any string on the
    way, `max_depth` the templates that call each other. Raises TemplateError.
    """
    budget = Budget(max_steps, max_output)
    evaluator = Evaluator(parsed, data, functions, budget)
    try:
        try:
            return final(_Execution(parsed, evaluator, max_depth).run(data))
        except Exhausted as error:
            evaluator.fail(str(error))
    except RecursionError:
        raise TemplateError(f"template: {parsed.name}: nested too deeply") from None
    except MemoryError:
        raise TemplateError(f"template: {parsed.name}: out of memory") from None


@dataclass(slots=True)
class _Loop:
    """A range that is being iterated over."""

    node: Range
    elements: Iterator[tuple[Any, Any]]
    variables: int
    """Those that the body starts with."""


@dataclass(slots=True)
class _Frame:
    """A list of nodes that is being executed, and what is put back behind it."""

    nodes: Iterator[Node]
    dot: Any
    variables: int
    loop: _Loop | None = None
    caller: tuple[str, Variables] | None = None


class _Execution:
    def __init__(self, parsed: Parsed, evaluator: Evaluator, max_depth: int) -> None:
        self._trees = parsed.trees
        self._name = parsed.name
        self._evaluator = evaluator
        self._budget = evaluator.budget
        self._max_depth = max_depth
        self._depth = 0
        self._parts: list[str] = []
        self._size = 0
        self._frames: list[_Frame] = []

    def run(self, data: Any) -> str:
        tree = self._trees.get(self._name)
        if tree is None:
            self._evaluator.fail(f"{quote(self._name)} is an incomplete or empty template")
        frames = self._frames
        self._enter(tree, data, 1)
        while frames:
            frame = frames[-1]
            for node in frame.nodes:
                self._budget.spend()
                self._evaluator.at = node
                if isinstance(node, Text):
                    self._write(node.text)
                elif isinstance(node, Action):
                    self._action(node, frame.dot)
                else:
                    self._control(node, frame.dot)
                    break
            else:
                self._leave()
        return "".join(self._parts)

    def _write(self, text: str) -> None:
        self._size += len(text)
        if self._size > self._budget.longest:
            self._budget.write(self._size)
        self._parts.append(text)

    def _action(self, node: Action, dot: Any) -> None:
        value = self._evaluator.pipeline(dot, node.pipe)
        if node.pipe.declare:
            return
        self._evaluator.at = node
        if value is None:
            self._write("<no value>")
        else:
            self._write(value if type(value) is str else sprint(self._budget, (value,)))

    def _enter(self, tree: List, dot: Any, variables: int) -> None:
        self._frames.append(_Frame(iter(tree.nodes), dot, variables))

    def _leave(self) -> None:
        """The end of a list: the next element of a loop, or what comes behind the list."""
        frame = self._frames[-1]
        if frame.loop is None or not self._next(frame, frame.loop):
            self._drop()

    def _drop(self) -> None:
        frame = self._frames.pop()
        evaluator = self._evaluator
        if frame.caller is None:
            evaluator.variables.drop(frame.variables)
        else:
            evaluator.template, evaluator.variables = frame.caller
            self._depth -= 1

    def _control(self, node: Node, dot: Any) -> None:
        match node:
            case If() | With():
                self._branch(node, dot)
            case Range():
                self._range(node, dot)
            case TemplateCall():
                self._template(node, dot)
            case Break() | Continue():
                self._jump(node)
            case List():
                self._enter(node, dot, len(self._evaluator.variables))
            case _:
                raise TypeError(f"not a node of a list: {type(node).__name__}")

    def _branch(self, node: If | With, dot: Any) -> None:
        variables = len(self._evaluator.variables)
        value = self._evaluator.pipeline(dot, node.pipe)
        if truth(value):
            self._enter(node.body, value if isinstance(node, With) else dot, variables)
        elif node.otherwise is not None:
            self._enter(node.otherwise, dot, variables)
        else:
            self._evaluator.variables.drop(variables)

    def _range(self, node: Range, dot: Any) -> None:
        evaluator = self._evaluator
        variables = len(evaluator.variables)
        elements = self._elements(node, evaluator.pipeline(dot, node.pipe))
        loop = _Loop(node, elements, len(evaluator.variables))
        frame = _Frame(iter(()), dot, variables, loop)
        self._frames.append(frame)
        if not self._next(frame, loop):
            frame.loop = None
            frame.nodes = iter(node.otherwise.nodes if node.otherwise else ())

    def _elements(self, node: Range, value: Any) -> Iterator[tuple[Any, Any]]:
        """Indexes or keys, and elements."""
        match kind(value):
            case Kind.INVALID:
                pairs: Iterable[tuple[Any, Any]] = ()
            case Kind.INT | Kind.UINT:
                if len(node.pipe.declare) > 1:
                    self._evaluator.fail(f"can't use {value} to iterate over more than one variable")
                pairs = ((None, number) for number in range(value))
            case Kind.SLICE:
                pairs = ((number, stored(value, element)) for number, element in enumerate(value))
            case Kind.MAP:
                self._budget.spend(len(value))
                pairs = entries(value)
            case _:
                self._evaluator.fail(f"range can't iterate over {sprintf(self._budget, '%v', (value,))}")
        return iter(pairs)

    def _next(self, frame: _Frame, loop: _Loop) -> bool:
        """Prepares the body for the next element; false if there is none."""
        pair = next(loop.elements, None)
        if pair is None:
            return False
        self._budget.spend()
        evaluator, pipe = self._evaluator, loop.node.pipe
        evaluator.variables.drop(loop.variables)
        values = pair[-len(pipe.declare) :] if pipe.declare else ()
        for place, value in enumerate(values, -len(values)):
            if pipe.assign:
                evaluator.assign(pipe.declare[place], value)
            else:
                evaluator.variables.replace(place, value)
        frame.dot = pair[1]
        frame.nodes = iter(loop.node.body.nodes)
        return True

    def _jump(self, node: Break | Continue) -> None:
        """Out of the body of the innermost loop, and out of the loop."""
        while self._frames and self._frames[-1].loop is None:
            self._drop()
        if self._frames:
            frame = self._frames[-1]
            if isinstance(node, Break):
                frame.loop = None
            frame.nodes = iter(())

    def _template(self, node: TemplateCall, dot: Any) -> None:
        evaluator = self._evaluator
        tree = self._trees.get(node.name)
        if tree is None:
            evaluator.fail(f"template {quote(node.name)} not defined")
        if self._depth == self._max_depth:
            evaluator.fail(f"exceeded maximum template depth ({self._max_depth})")
        value = None if node.pipe is None else evaluator.pipeline(dot, node.pipe)
        self._enter(tree, value, 1)
        self._frames[-1].caller = evaluator.template, evaluator.variables
        evaluator.template, evaluator.variables = node.name, Variables(value)
        self._depth += 1
