"""The tokens of a template as its parser takes them: with looking ahead, and with errors that name the place."""

from __future__ import annotations

from typing import NoReturn

from .errors import TemplateError
from .lexer import Kind, Lexer, Token
from .nodes import place

__all__ = ["Tokens"]


class Tokens:
    """`action` is where the action that is being parsed began, None between actions."""

    def __init__(self, text: str, name: str, lexer: Lexer) -> None:
        self._text = text
        self._name = name
        self._lexer = lexer
        self._returned: list[Token] = []
        self.pos = 0
        """Of the token read last, which errors are about."""
        self.action: int | None = None

    def next(self) -> Token:
        if self._returned:
            return self._returned.pop()
        token = self._lexer.next()
        self.pos = token.pos
        return token

    def back(self, *tokens: Token) -> None:
        """Gives tokens back; the first is the next one to come."""
        self._returned.extend(reversed(tokens))

    def peek(self) -> Token:
        token = self.next()
        self._returned.append(token)
        return token

    def next_word(self) -> Token:
        """The next token that is no space."""
        token = self.next()
        while token.kind is Kind.SPACE:
            token = self.next()
        return token

    def peek_word(self) -> Token:
        token = self.next_word()
        self._returned.append(token)
        return token

    def expect(self, kind: Kind, context: str) -> Token:
        token = self.next_word()
        if token.kind is not kind:
            self.unexpected(token, context)
        return token

    def unexpected(self, token: Token, context: str) -> NoReturn:
        if token.kind is not Kind.ERROR:
            self.fail(f"unexpected {token} in {context}")
        text = token.value
        started = 0 if self.action is None else place(self._text, self.action)[0]
        if started not in {0, place(self._text, token.pos)[0]}:
            text += "" if text.endswith(" action") else " in action"
            text += f" started at {self._name}:{started}"
        self.fail(text)

    def fail(self, text: str, pos: int | None = None) -> NoReturn:
        """Raises the error, at the token read last unless a place is given."""
        line, column = place(self._text, self.pos if pos is None else pos)
        raise TemplateError(f"template: {self._name}:{line}: {text}", line=line, column=column)
