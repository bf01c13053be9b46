"""Builds the trees of a template.

Control structures are kept on a stack of their own, so that only parentheses make the parser recurse; both are bounded,
and with them whatever walks a tree.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NoReturn

from .errors import TemplateError
from .functions import BUILTINS
from .lexer import Kind, Lexer, Token
from .nodes import Action, Break, Continue, If, List, Node, Parsed, Pipe, Range, TemplateCall, Text, With
from .pipelines import Pipelines
from .quoting import quote, unquote
from .tokens import Tokens
from .utf8 import joined

__all__ = ["DEEPEST", "LONGEST", "parse"]

LONGEST = 1024 * 1024
"""Characters of a template."""
DEEPEST = 200
"""Control structures in one another; each `else if` counts as one in the one before."""

_CONTROLS: dict[str, type[If | Range | With]] = {"if": If, "range": Range, "with": With}


def parse(text: str, functions: Collection[str] = (), name: str = "") -> Parsed:
    """The trees of a template. `functions` are the names it may call besides Go's own.

    Raises TemplateError.
    """
    if len(text) > LONGEST:
        raise TemplateError(f"template: {name}: longer than {LONGEST} characters")
    text = joined(text)
    try:
        return Parsed(name, text, _Parser(text, frozenset(functions) | BUILTINS.keys(), name).parse())
    except RecursionError:
        raise TemplateError(f"template: {name}: nested too deeply") from None


@dataclass(slots=True)
class _Open:
    """A structure whose `{{end}}` has not come yet, and what is put back when it has.

    A `define` or `block` has its own variables, and no loop around it that it could leave.
    """

    kind: str
    """What errors call it: `template` the whole, `define clause`, `block clause`, `if`, `range` or `with`."""
    pos: int = 0
    name: str = ""
    pipe: Pipe | None = None
    nodes: list[Node] = field(default_factory=list[Node])
    body: List | None = None
    """The first branch, once there was an `{{else}}`."""
    chained: bool = False
    """Made by `{{else if}}` or `{{else with}}`: ends together with the one it is in."""
    variables: int | dict[str, None] = 0
    loops: int = 0
    after: int = 0
    """Of a `block`: where errors about its end are said to be."""


class _Parser:
    def __init__(self, text: str, functions: Collection[str], name: str) -> None:
        lexer = Lexer(text, break_is_keyword="break" not in functions, continue_is_keyword="continue" not in functions)
        self._tokens = Tokens(text, name, lexer)
        self._pipelines = Pipelines(self._tokens, functions)
        self._trees: dict[str, List] = {}
        self._open = [_Open("template", name=name)]
        self._loops = 0

    def parse(self) -> dict[str, List]:
        tokens = self._tokens
        while (token := tokens.next_word()).kind is not Kind.EOF:
            if token.kind is Kind.TEXT:
                self._open[-1].nodes.append(Text(token.pos, token.value))
            elif token.kind is Kind.LEFT:
                self._action(token)
            else:
                tokens.unexpected(token, "input")
        if len(self._open) > 1:
            tokens.fail("unexpected EOF")
        self._add(self._open[0])
        return self._trees

    def _action(self, left: Token) -> None:
        tokens = self._tokens
        token = tokens.next_word()
        if token.kind is Kind.DEFINE and len(self._open) == 1:
            self._define()
            return
        tokens.action = left.pos
        if token.kind in _CONTROLS:
            self._control(token.kind)
            return
        match token.kind:
            case Kind.BLOCK:
                self._block()
                return
            case Kind.BREAK | Kind.CONTINUE:
                self._leave(token)
            case Kind.ELSE:
                self._else()
            case Kind.END:
                tokens.expect(Kind.RIGHT, "end")
                self._end()
            case Kind.TEMPLATE:
                self._template()
            case _:
                tokens.back(token)
                self._append(Action(token.pos, self._pipelines.pipeline("command")))
        tokens.action = None

    def _append(self, node: Node) -> None:
        self._open[-1].nodes.append(node)

    def _push(self, opened: _Open) -> None:
        if len(self._open) > DEEPEST:
            self._tokens.fail(f"more than {DEEPEST} control structures in one another")
        self._open.append(opened)

    def _leave(self, token: Token) -> None:
        what = "{{" + token.value + "}}"
        if (following := self._tokens.next_word()).kind is not Kind.RIGHT:
            self._tokens.unexpected(following, what)
        if not self._loops:
            self._tokens.fail(f"{what} outside {{{{range}}}}")
        self._append(Break(token.pos) if token.kind is Kind.BREAK else Continue(token.pos))

    def _control(self, kind: Kind, *, chained: bool = False) -> None:
        variables = len(self._pipelines.variables)
        pipe = self._pipelines.pipeline(kind.value)
        self._push(_Open(kind.value, pipe.pos, pipe=pipe, chained=chained, variables=variables))
        self._loops += kind is Kind.RANGE

    def _else(self) -> None:
        tokens, opened = self._tokens, self._open[-1]
        following = tokens.peek_word()
        if following.kind not in {Kind.IF, Kind.WITH}:
            tokens.expect(Kind.RIGHT, "else")
        if opened.pipe is None or opened.kind == "block clause":
            self._misplaced(opened, "{{else}}")
        if opened.body is not None:
            tokens.fail("expected end; found {{else}}")
        opened.body, opened.nodes = List(opened.pos, tuple(opened.nodes)), []
        self._loops -= opened.kind == "range"
        if following.kind.value == opened.kind:
            tokens.next_word()
            tokens.action = None
            self._control(following.kind, chained=True)

    def _misplaced(self, opened: _Open, what: str) -> NoReturn:
        place = "" if opened.kind == "template" else f" in {opened.kind}"
        self._tokens.fail(f"unexpected {what}{place}", opened.after if opened.kind == "block clause" else None)

    def _end(self) -> None:
        chained = True
        while chained:
            if len(self._open) == 1:
                self._misplaced(self._open[0], "{{end}}")
            opened = self._open.pop()
            chained = opened.chained
            self._close(opened)

    def _close(self, opened: _Open) -> None:
        if isinstance(opened.variables, dict):
            self._add(opened)
            self._pipelines.variables, self._loops = opened.variables, opened.loops
            if opened.kind == "block clause":
                self._append(TemplateCall(opened.pos, opened.name, opened.pipe))
            return
        self._pipelines.forget(opened.variables)
        branch = List(opened.pos, tuple(opened.nodes))
        body, otherwise = (branch, None) if opened.body is None else (opened.body, branch)
        self._loops -= opened.kind == "range" and opened.body is None
        if opened.pipe is not None:
            self._append(_CONTROLS[opened.kind](opened.pos, opened.pipe, body, otherwise))

    def _define(self) -> None:
        token = self._tokens.next_word()
        name = self._template_name(token, "define clause")
        self._tokens.expect(Kind.RIGHT, "define clause")
        self._scope(_Open("define clause", token.pos, name))

    def _block(self) -> None:
        token = self._tokens.next_word()
        name = self._template_name(token, "block clause")
        pipe = self._pipelines.pipeline("block clause")
        self._scope(_Open("block clause", token.pos, name, pipe, after=self._tokens.pos))
        self._tokens.action = None

    def _scope(self, opened: _Open) -> None:
        """Goes into a template of its own."""
        opened.variables, opened.loops = self._pipelines.variables, self._loops
        self._push(opened)
        self._pipelines.variables, self._loops = {"$": None}, 0

    def _template(self) -> None:
        tokens = self._tokens
        token = tokens.next_word()
        name = self._template_name(token, "template clause")
        following = tokens.next_word()
        pipe = None
        if following.kind is not Kind.RIGHT:
            tokens.back(following)
            pipe = self._pipelines.pipeline("template clause")
        self._append(TemplateCall(token.pos, name, pipe))

    def _template_name(self, token: Token, context: str) -> str:
        if token.kind is not Kind.STRING:
            self._tokens.unexpected(token, context)
        try:
            return unquote(token.value)
        except ValueError as error:
            self._tokens.fail(str(error))

    def _add(self, opened: _Open) -> None:
        """Files a tree under its name. One with nothing but space in it gives way to another."""
        tree = List(opened.pos, tuple(opened.nodes))
        if opened.name not in self._trees or _is_blank(self._trees[opened.name]):
            self._trees[opened.name] = tree
        elif not _is_blank(tree):
            self._tokens.fail(f"template: multiple definition of template {quote(opened.name)}")


def _is_blank(tree: List) -> bool:
    return all(isinstance(node, Text) and not node.text.strip() for node in tree.nodes)
