"""Cuts a template into tokens, one at a time as the parser asks for them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from .quoting import code_point, quote
from .utf8 import length

__all__ = ["Kind", "Lexer", "Token"]

_SPACES = " \t\r\n"
_TRIMMING_END = re.compile(r"[ \t\r\n]-\}\}")
_SPACE = re.compile(r"[ \t\r\n]+")
_NAMED = re.compile(r"[^0-9]", re.DOTALL)
_WORD = re.compile(r"\w*")
_QUOTED = {
    '"': re.compile(r'"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"'),
    "'": re.compile(r"'[^'\\\n]*(?:\\[^\n][^'\\\n]*)*'"),
    "`": re.compile(r"`[^`]*`"),
}
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[oO][0-7_]*(?:\.[0-7_]*)?"
    r"|0[bB][01_]*(?:\.[01_]*)?|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)


class Kind(StrEnum):
    ERROR = "error"
    EOF = "EOF"
    TEXT = "text"
    LEFT = "{{"
    RIGHT = "}}"
    SPACE = "space"
    CHARACTER = "character"
    """Something printable that is none of the others: a comma, or a mistake."""
    DECLARE = ":="
    ASSIGN = "="
    PIPE = "|"
    OPEN = "("
    CLOSE = ")"
    DOT = "."
    FIELD = "field"
    VARIABLE = "variable"
    IDENTIFIER = "identifier"
    BOOL = "bool"
    NUMBER = "number"
    COMPLEX = "complex"
    CHAR = "char constant"
    STRING = "string"
    NIL = "nil"
    BLOCK = "block"
    BREAK = "break"
    CONTINUE = "continue"
    DEFINE = "define"
    ELSE = "else"
    END = "end"
    IF = "if"
    RANGE = "range"
    TEMPLATE = "template"
    WITH = "with"


_KEYWORDS = {word: Kind(word) for word in "nil block break continue define else end if range template with".split()}
_SIGNS = {kind.value: kind for kind in (Kind.ASSIGN, Kind.PIPE, Kind.OPEN, Kind.CLOSE)}
_UNTERMINATED = {'"': "unterminated quoted string", "'": "unterminated character constant"}


class Token(NamedTuple):
    """`value` is the token as written, or the text of an error; `pos` its index in the template."""

    kind: Kind
    value: str
    pos: int

    def __str__(self) -> str:
        """As errors show it."""
        if self.kind is Kind.EOF:
            return "EOF"
        if self.kind is Kind.ERROR:
            return self.value
        if self.kind is Kind.DOT or self.kind in _KEYWORDS.values():
            return f"<{self.value}>"
        if length(self.value) > 10:
            return quote(self.value[:10]) + "..."
        return quote(self.value)


class Lexer:
    """After an error there is nothing more to ask for."""

    def __init__(self, text: str, *, break_is_keyword: bool = True, continue_is_keyword: bool = True) -> None:
        self._text = text
        self._pos = 0
        self._inside = False
        self._parens = 0
        self._keywords = dict(_KEYWORDS)
        if not break_is_keyword:
            del self._keywords["break"]
        if not continue_is_keyword:
            del self._keywords["continue"]

    def next(self) -> Token:
        return self._action() if self._inside else self._outside()

    def _token(self, kind: Kind, end: int) -> Token:
        start, self._pos = self._pos, end
        return Token(kind, self._text[start:end], start)

    def _error(self, text: str, start: int) -> Token:
        return Token(Kind.ERROR, text, start)

    def _outside(self) -> Token:
        """Text up to the next action, or what begins that action. Comments are passed over."""
        text = self._text
        while True:
            start, left = self._pos, text.find("{{", self._pos)
            if left < 0:
                return self._token(Kind.TEXT if start < len(text) else Kind.EOF, len(text))
            marked = text.startswith("-", left + 2) and text[left + 3 : left + 4] in _SPACES and left + 3 < len(text)
            end = left
            if marked:
                while end > start and text[end - 1] in _SPACES:
                    end -= 1
            if end > start:
                token = self._token(Kind.TEXT, end)
                self._pos = left
                return token
            self._pos = left
            after = left + (4 if marked else 2)
            if not text.startswith("/*", after):
                token = self._token(Kind.LEFT, left + 2)
                self._pos, self._inside, self._parens = after, True, 0
                return token
            if (error := self._comment(after)) is not None:
                return error

    def _comment(self, start: int) -> Token | None:
        """Goes to what follows a comment."""
        end = self._text.find("*/", start + 2)
        if end < 0:
            return self._error("unclosed comment", start)
        self._pos = end + 2
        if not self._at_right():
            return self._error("comment ends before closing delimiter", start)
        self._right()
        return None

    def _at_right(self) -> bool:
        return self._text.startswith("}}", self._pos) or _TRIMMING_END.match(self._text, self._pos) is not None

    def _right(self) -> Token:
        """The end of an action, with the space behind it that ` -}}` trims."""
        trims = not self._text.startswith("}}", self._pos)
        self._pos += 2 if trims else 0
        token = self._token(Kind.RIGHT, self._pos + 2)
        if trims and (space := _SPACE.match(self._text, self._pos)):
            self._pos = space.end()
        self._inside = False
        return token

    def _action(self) -> Token:
        if self._at_right():
            return self._error("unclosed left paren", self._pos) if self._parens else self._right()
        text, start = self._text, self._pos
        if start >= len(text):
            return self._error("unclosed action", start)
        char = text[start]
        if char in _SPACES:
            return self._space()
        if char in _SIGNS:
            self._parens += (char == "(") - (char == ")")
            if self._parens < 0:
                return self._error("unexpected right paren", start)
            return self._token(_SIGNS[char], start + 1)
        if char == ":":
            if text.startswith(":=", start):
                return self._token(Kind.DECLARE, start + 2)
            return self._error("expected :=", start)
        if char in _QUOTED:
            return self._quoted(char)
        if char == "$" or (char == "." and _NAMED.match(text, start + 1)):
            return self._name(char)
        if char in "+-.0123456789":
            return self._number()
        if char == "_" or char.isalpha() or char.isdecimal():
            return self._identifier()
        if "!" <= char <= "~":
            return self._token(Kind.CHARACTER, start + 1)
        return self._error(f"unrecognized character in action: {code_point(char)}", start)

    def _space(self) -> Token:
        """A run of spaces, without the last one where that belongs to ` -}}`."""
        found = _SPACE.match(self._text, self._pos)
        end = found.end() if found else self._pos
        return self._token(Kind.SPACE, end - 1 if _TRIMMING_END.match(self._text, end - 1) else end)

    def _quoted(self, mark: str) -> Token:
        found = _QUOTED[mark].match(self._text, self._pos)
        if found is None:
            return self._error(_UNTERMINATED.get(mark, "unterminated raw quoted string"), self._pos)
        return self._token(Kind.CHAR if mark == "'" else Kind.STRING, found.end())

    def _name(self, char: str) -> Token:
        """A field or a variable with its dot or dollar sign, or these alone."""
        end = self._word_end(self._pos + 1)
        if not self._ends_word(end):
            return self._error(f"bad character {code_point(self._text[end])}", self._pos)
        if char == "$":
            return self._token(Kind.VARIABLE, end)
        return self._token(Kind.FIELD if end > self._pos + 1 else Kind.DOT, end)

    def _identifier(self) -> Token:
        end = self._word_end(self._pos)
        if not self._ends_word(end):
            return self._error(f"bad character {code_point(self._text[end])}", self._pos)
        word = self._text[self._pos : end]
        if word in {"true", "false"}:
            return self._token(Kind.BOOL, end)
        return self._token(self._keywords.get(word, Kind.IDENTIFIER), end)

    def _word_end(self, start: int) -> int:
        """Where letters, decimal digits and underscores end. Python's `\\w` has a few characters more than Go."""
        found = _WORD.match(self._text, start)
        end = found.end() if found else start
        word = self._text[start:end]
        if not word.isascii():
            for index, char in enumerate(word):
                if not (char == "_" or char.isalpha() or char.isdecimal()):
                    return start + index
        return end

    def _ends_word(self, pos: int) -> bool:
        return pos >= len(self._text) or self._text[pos] in " \t\r\n.,|:)(" or self._text.startswith("}}", pos)

    def _number(self) -> Token:
        start = self._pos
        end, good = self._number_end(start)
        if good and self._text[end : end + 1] in {"+", "-"}:
            end, good = self._number_end(end)
            if good and self._text[end - 1] == "i":
                return self._token(Kind.COMPLEX, end)
            good = False
        if not good:
            return self._error(f"bad number syntax: {quote(self._text[start:end])}", start)
        return self._token(Kind.NUMBER, end)

    def _number_end(self, start: int) -> tuple[int, bool]:
        found = _NUMBER.match(self._text, start)
        end = found.end() if found else start
        following = self._text[end : end + 1]
        if following == "_" or following.isalpha() or following.isdecimal():
            return end + 1, False
        return end, True
