"""Parses what stands inside an action: pipelines, commands, operands."""

from __future__ import annotations

from collections.abc import Collection

from .lexer import Kind, Token
from .nodes import Bool, Chain, Command, Dot, Field, Identifier, Nil, Number, Operand, Pipe, String, Variable, source
from .numbers import read_number
from .quoting import quote, unquote, unquote_char
from .tokens import Tokens

__all__ = ["Pipelines"]

_DEEPEST = 100
_OPERANDS = {
    Kind.BOOL,
    Kind.CHAR,
    Kind.COMPLEX,
    Kind.DOT,
    Kind.FIELD,
    Kind.IDENTIFIER,
    Kind.NUMBER,
    Kind.NIL,
    Kind.STRING,
    Kind.VARIABLE,
    Kind.OPEN,
}
_CONSTANTS = (Bool, Dot, Nil, Number, String)


class Pipelines:
    """`variables` are the names that may be used at the moment, as keys, in the order in which they were declared."""

    def __init__(self, tokens: Tokens, functions: Collection[str]) -> None:
        self._tokens = tokens
        self._functions = functions
        self._depth = 0
        self.variables: dict[str, None] = {"$": None}

    def forget(self, count: int) -> None:
        """Leaves only the first `count` variables."""
        while len(self.variables) > count:
            self.variables.popitem()

    def pipeline(self, context: str, end: Kind = Kind.RIGHT) -> Pipe:
        """A pipeline and the `end` that closes it."""
        tokens = self._tokens
        pos = tokens.peek_word().pos
        declared, assign = self._declarations(context)
        commands: list[Command] = []
        while (token := tokens.next_word()).kind is not end:
            if token.kind not in _OPERANDS:
                tokens.unexpected(token, context)
            tokens.back(token)
            commands.append(self._command())
        if not commands:
            tokens.fail(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.args[0], _CONSTANTS):
                tokens.fail(f"non executable command in pipeline stage {stage}")
        return Pipe(pos, tuple(commands), tuple(declared), assign)

    def _declarations(self, context: str) -> tuple[list[Variable], bool]:
        """The variables before `:=` or `=`, two at most and that only in a range; whether it is `=`."""
        tokens = self._tokens
        declared: list[Variable] = []
        while (variable := tokens.peek_word()).kind is Kind.VARIABLE:
            tokens.next_word()
            adjacent = tokens.next()
            following = tokens.next_word() if adjacent.kind is Kind.SPACE else adjacent
            comma = following.kind is Kind.CHARACTER and following.value == ","
            if not comma and following.kind not in {Kind.ASSIGN, Kind.DECLARE}:
                tokens.back(*((variable, following) if following is adjacent else (variable, adjacent, following)))
                break
            declared.append(Variable(variable.pos, (variable.value,)))
            self.variables.setdefault(variable.value)
            if not comma:
                return declared, following.kind is Kind.ASSIGN
            if context != "range" or len(declared) > 1:
                tokens.fail(f"too many declarations in {context}")
            if tokens.peek_word().kind not in {Kind.VARIABLE, Kind.RIGHT, Kind.CLOSE}:
                tokens.fail("range can only initialize variables")
        return declared, False

    def _command(self) -> Command:
        """Operands up to a `|`, which is taken, or the end of the pipeline, which is not."""
        tokens = self._tokens
        pos = tokens.peek_word().pos
        args: list[Operand] = []
        while True:
            operand = self._operand()
            if operand is not None:
                args.append(operand)
            token = tokens.next()
            if token.kind is Kind.SPACE:
                continue
            if token.kind in {Kind.RIGHT, Kind.CLOSE}:
                tokens.back(token)
            elif token.kind is not Kind.PIPE:
                tokens.unexpected(token, "operand")
            break
        if not args:
            tokens.fail("empty command")
        return Command(pos, tuple(args))

    def _operand(self) -> Operand | None:
        """A term with the fields behind it; None if none comes."""
        tokens = self._tokens
        term = self._term(tokens.next_word())
        if term is None or tokens.peek().kind is not Kind.FIELD:
            return term
        pos = tokens.peek().pos
        names: list[str] = []
        while tokens.peek().kind is Kind.FIELD:
            names.append(tokens.next().value[1:])
        if isinstance(term, Field | Variable):
            return type(term)(pos, (*term.idents, *names))
        if isinstance(term, _CONSTANTS):
            tokens.fail(f"unexpected . after term {quote(source(term))}")
        return Chain(pos, term, tuple(names))

    def _term(self, token: Token) -> Operand | None:
        match token.kind:
            case Kind.IDENTIFIER:
                if token.value not in self._functions:
                    self._tokens.fail(f"function {quote(token.value)} not defined")
                return Identifier(token.pos, token.value)
            case Kind.DOT:
                return Dot(token.pos)
            case Kind.NIL:
                return Nil(token.pos)
            case Kind.FIELD:
                return Field(token.pos, (token.value[1:],))
            case Kind.VARIABLE:
                if token.value not in self.variables:
                    self._tokens.fail(f"undefined variable {quote(token.value)}")
                return Variable(token.pos, (token.value,))
            case Kind.BOOL:
                return Bool(token.pos, token.value == "true")
            case Kind.CHAR | Kind.NUMBER | Kind.COMPLEX | Kind.STRING:
                return self._literal(token)
            case Kind.OPEN:
                return self._parenthesised()
            case _:
                self._tokens.back(token)
                return None

    def _literal(self, token: Token) -> Number | String:
        try:
            match token.kind:
                case Kind.STRING:
                    return String(token.pos, unquote(token.value), token.value)
                case Kind.CHAR:
                    return Number(token.pos, unquote_char(token.value), token.value)
                case _:
                    return Number(token.pos, read_number(token.value), token.value)
        except ValueError as error:
            self._tokens.fail(str(error))

    def _parenthesised(self) -> Pipe:
        if self._depth >= _DEEPEST:
            self._tokens.fail("max expression depth exceeded")
        self._depth += 1
        pipe = self.pipeline("parenthesized pipeline", Kind.CLOSE)
        self._depth -= 1
        return pipe
