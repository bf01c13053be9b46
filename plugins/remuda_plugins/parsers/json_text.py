"""JSON as models write it: where an object ends while it still streams, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

__all__ = ["DEPTH", "JsonScanner", "Malformed", "decode"]

DEPTH = 64
"""How deep objects and arrays may stand in each other. Arguments of tools stay far below it."""

_STRING = re.compile(r'[^"\\]*')
_SCALAR = re.compile(r"[-+.0-9A-Za-z]*")
_SPACES = re.compile(r"[ \t\r\n]*")
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f]")

_VALUE, _FIRST_VALUE, _KEY, _FIRST_KEY, _COLON, _AFTER, _START = range(7)
_CLOSED_BY = {"{": "}", "[": "]"}


class Malformed(ValueError):
    """What was taken for a call is none. It never leaves this package: what raised it becomes text."""


class JsonScanner:
    """Finds where one object or string ends, a piece at a time; each character is looked at once.

    It refuses the first character that cannot stand in JSON where it stands, so that what only looks like a call is
    not held back longer than needed. What numbers and literals say is left to `decode`.
    """

    def __init__(self, first: str = "{") -> None:
        """`first` is what it has to begin with: `{` or a double quote."""
        self.done = False
        self.bad = False
        self._first = first
        self._state = _START
        self._closers: list[str] = []
        self._in_string = False
        self._in_scalar = False
        self._escaped = False

    def scan(self, text: str, at: int, end: int) -> int:
        """Read `text[at:end]`. The index after what was read: behind it if `done`, at the culprit if `bad`."""
        while at < end and not self.done:
            if self._in_string:
                at = self._string(text, at, end)
                continue
            if self._in_scalar:
                at = _end(_SCALAR, text, at, end)
                self._in_scalar = at == end
                continue
            at = _end(_SPACES, text, at, end)
            if at < end:
                if not self._step(text[at]):
                    self.bad = True
                    return at
                at += 1
        return at

    def _string(self, text: str, at: int, end: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        at = _end(_STRING, text, at, end)
        if at == end:
            return at
        if text[at] == "\\":
            self._escaped = True
        else:
            self._in_string = False
            self.done = not self._closers
        return at + 1

    def _step(self, char: str) -> bool:
        """Take one character outside strings; false if it cannot stand here."""
        state = self._state
        if state == _AFTER:
            if char == ",":
                self._state = _KEY if self._closers[-1] == "}" else _VALUE
                return True
            return self._close(char)
        if state == _COLON:
            self._state = _VALUE
            return char == ":"
        if state in (_KEY, _FIRST_KEY):
            self._in_string = char == '"'
            self._state = _COLON
            return self._in_string or (state == _FIRST_KEY and self._close(char))
        if state == _START and char != self._first:
            return False
        if state == _FIRST_VALUE and char == "]":
            return self._close(char)
        self._state = _AFTER
        if char in _CLOSED_BY:
            return self._open(char)
        self._in_string = char == '"'
        self._in_scalar = char == "-" or (char.isascii() and char.isalnum())
        return self._in_string or self._in_scalar

    def _open(self, char: str) -> bool:
        self._closers.append(_CLOSED_BY[char])
        self._state = _FIRST_KEY if char == "{" else _FIRST_VALUE
        return len(self._closers) <= DEPTH

    def _close(self, char: str) -> bool:
        if self._closers[-1] != char:
            return False
        self._closers.pop()
        self._state = _AFTER
        self.done = not self._closers
        return True


def _end(pattern: re.Pattern[str], text: str, at: int, end: int) -> int:
    match = pattern.match(text, at, end)
    return match.end() if match else at


def decode(text: str) -> Any:
    """The value of a JSON text; raises `Malformed`.

    Line ends and tabs may stand unescaped in strings: it is what small models get wrong most often when an argument
    is code. What comes back can always be encoded again: no lone surrogates, no infinities, no depth beyond `DEPTH`.
    """
    try:
        value = _decoded(text)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if text.count("{") + text.count("[") > DEPTH and _depth(value) > DEPTH:
        raise Malformed("too deep")
    return value


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except ValueError:
        return msgspec.json.decode(_QUOTED.sub(_escape_controls, text))


def _escape_controls(quoted: re.Match[str]) -> str:
    return _CONTROL.sub(lambda char: f"\\u{ord(char[0]):04x}", quoted[0])


def _depth(value: Any) -> int:
    depth = 0
    level = [value]
    while level := [child for node in level if isinstance(node, (dict, list)) for child in _children(node)]:
        depth += 1
    return depth + 1


def _children(node: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node
