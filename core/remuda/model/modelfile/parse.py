"""Reading Modelfiles.

Instructions begin where a line begins. A value runs to the end of its line, unless it begins with a quote or three:
then it runs to the first line that ends with the same, and nothing in it is an escape. Characters that cannot be
printed are dropped first, all but tabs and the ends of lines, so that what is read is what an editor shows.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final, NoReturn

from .command import BLANKS, INSTRUCTIONS, QUOTE, ROLES, TRIPLE, Command, ModelfileError, printable

__all__ = ["parse_modelfile"]

_ENCODINGS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_BETWEEN: Final = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*+")
_WORD: Final = re.compile(r"[A-Za-z]*")
_KEYS: Final = {"parameter": re.compile(r"[A-Za-z0-9_]*"), "message": _WORD}
_GAP: Final = re.compile(r"[ \t]*")
_LINE: Final = re.compile(r"[^\r\n]*")
_ENDS: Final = {quotes: re.compile(quotes + r"(?=[ \t]*+(?:[\r\n]|\Z))") for quotes in (QUOTE, TRIPLE)}

_UNFINISHED: Final = "unexpected EOF"


def parse_modelfile(data: bytes | str) -> list[Command]:
    """The commands in their order. Bytes are UTF-8, or UTF-16 if they begin with its mark.

    Raises `ModelfileError` with the protocol's texts; `\\r` and `\\n` each count as a line in them.
    """
    commands = list(_Reader(printable(data if isinstance(data, str) else _decoded(data))).commands())
    if all(command.name != "from" for command in commands):
        raise ModelfileError("no FROM line")
    return commands


def _decoded(data: bytes) -> str:
    for mark, encoding in _ENCODINGS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("utf-8", "replace")


class _Reader:
    """A text, and how far it has been read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def commands(self) -> Iterator[Command]:
        while True:
            self._take(_BETWEEN)
            if self._at == len(self._text):
                return
            name = self._instruction()
            key = self._key(name)
            yield Command(name, key, self._value())

    def _instruction(self) -> str:
        name = self._take(_WORD).lower()
        if name and self._at == len(self._text):
            raise ModelfileError(_UNFINISHED)
        if name not in INSTRUCTIONS or not self._gap():
            self._refuse("command", INSTRUCTIONS)
        return name

    def _key(self, name: str) -> str:
        if name not in _KEYS:
            return ""
        key = self._take(_KEYS[name])
        if self._at == len(self._text):
            raise ModelfileError(_UNFINISHED)
        if not key or not self._gap():
            raise ModelfileError(f"{_UNFINISHED}: {key}")
        if name == "message" and key not in ROLES:
            self._refuse("message role", ROLES)
        return key

    def _value(self) -> str:
        for quotes in (TRIPLE, QUOTE):
            if self._text.startswith(quotes, self._at):
                begin = self._at + len(quotes)
                end = _ENDS[quotes].search(self._text, begin)
                if end is None:
                    raise ModelfileError(_UNFINISHED)
                self._at = end.end()
                return self._text[begin : end.start()]
        return self._take(_LINE).strip(BLANKS)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _gap(self) -> bool:
        return bool(self._take(_GAP))

    def _refuse(self, what: str, allowed: tuple[str, ...]) -> NoReturn:
        line = 1 + sum(self._text.count(end, 0, self._at) for end in "\r\n")
        names = [f'"{name}"' for name in allowed]
        listed = f"{', '.join(names[:-1])}, or {names[-1]}"
        raise ModelfileError(f"(line {line}): {what} must be one of {listed}")
