"""The regular expressions of JSON Schema, rewritten for an engine whose notation looks the same and is not.

A schema's `pattern` is an ECMA-262 expression, its readers check it with that, Python's `re` or another engine, and
the grammar engine takes Rust's notation, in which `[a&&b]` is empty, `\\<` the beginning of a word and `\\W` something
else again. So an expression is read here and written anew, from pieces that mean the same to all of them. Where they
differ over a class, as for `\\s`, the text is held to what all call a match. What cannot be written so is refused.
"""

from __future__ import annotations

import re
from typing import Final

from .fault import FormatFault

__all__ = ["rewrite", "unwritable"]

_LONGEST: Final = 10_000
_DEEPEST: Final = 50
_LARGEST: Final = 10_000

_CONTROL: Final = r"\x00-\x07\x0b\x0e-\x1f\x7f"
"""What a JSON string cannot hold here. Kept out of all sets: with these in one, the engine takes a quote for one."""
_SPACE: Final = r" \t\n\x0b\x0c\r"
_ANY_SPACE: Final = r"\s\x1c-\x1f\x{85}\x{180e}\x{feff}"
_WORD: Final = "0-9A-Za-z_"
_ANY_WORD: Final = r"\p{L}\p{M}\p{N}\p{Pc}\x{200c}\x{200d}"

_NARROW: Final = {
    "d": "0-9",
    "D": r"\P{Nd}",
    "w": _WORD,
    "W": f"[^{_ANY_WORD}]",
    "s": _SPACE,
    "S": f"[^{_ANY_SPACE}]",
}
"""Inside of brackets: what every engine takes for a digit, a word character, a space."""
_WIDE: Final = {
    "d": r"\p{Nd}",
    "D": "[^0-9]",
    "w": _ANY_WORD,
    "W": f"[^{_WORD}]",
    "s": _ANY_SPACE,
    "S": f"[^{_SPACE}]",
}
"""What any engine takes for one: the same for brackets that exclude."""
_DOT: Final = rf"[^\n\r\x{{2028}}\x{{2029}}{_CONTROL}]"

_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_REPEAT: Final = re.compile(r"\{(\d{1,9})(?:(,)(\d{0,9}))?\}")
_GROUP: Final = re.compile(r"\(\?(?::|P?<[A-Za-z_]\w*>)", re.ASCII)
_CODE: Final = re.compile(r"x([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})")
_CATEGORY: Final = re.compile(r"[pP]\{[LMNPSZ][a-z]?\}")
_LOOK: Final = ("(?=", "(?!", "(?<=", "(?<!")


def unwritable(text: str) -> bool:
    r"""Whether a JSON string cannot hold `text` here: `\u....` is never written, so that a key has one spelling."""
    return any((char < " " and char not in "\b\t\n\f\r") or char == "\x7f" for char in text)


def rewrite(pattern: str) -> str:
    """The same expression in the engine's notation, still to be searched for. Raises `FormatFault`."""
    if len(pattern) > _LONGEST:
        raise FormatFault(f"it is longer than {_LONGEST} characters")
    return _Reader(pattern).read()


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._text, self._at = pattern, 0
        self._out: list[str] = []
        self._repeatable = False
        self._sizes = [0]
        """Of the groups that are open, the whole first: how many characters they were, written out."""
        self._last = 0

    def read(self) -> str:
        while self._at < len(self._text):
            self._piece(self._text[self._at])
        if len(self._sizes) > 1:
            raise FormatFault('a "(" is not closed')
        return "".join(self._out)

    def _piece(self, char: str) -> None:
        if char in "*+?" or (char == "{" and _REPEAT.match(self._text, self._at)):
            self._repeat(char)
        elif char == "(":
            self._open()
        elif char == ")":
            if len(self._sizes) == 1:
                raise FormatFault('a ")" closes nothing')
            self._put(")", 1, size=self._sizes.pop())
        elif char in "|^$":
            self._put(char, 1, size=0, repeatable=False)
        elif char == ".":
            self._put(_DOT, 1)
        elif char == "[":
            self._class()
        elif char == "{" and self._text.startswith("{,", self._at):
            raise FormatFault('"{,n}" is not supported; write "{0,n}"')
        else:
            self._at += char == "\\"
            self._single(self._escape() if char == "\\" else self._next())

    def _put(self, piece: str, length: int, *, size: int = 1, repeatable: bool = True) -> None:
        """Write a piece that was `length` characters of the source; `size` as it is counted in `_sizes`."""
        self._out.append(piece)
        self._at += length
        self._repeatable, self._last = repeatable, size
        self._sizes[-1] += size
        if self._sizes[-1] > _LARGEST:
            raise FormatFault(f"written out without repetitions it is longer than {_LARGEST} characters")

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _single(self, item: str | _Set) -> None:
        if isinstance(item, _Set):
            self._put(_set(item.narrow), 0)
            return
        if unwritable(item):
            raise FormatFault("control characters are not supported outside of brackets")
        self._put(_literal(item), 0)

    def _repeat(self, char: str) -> None:
        if not self._repeatable:
            raise FormatFault(f'there is nothing before "{char}" that it could repeat')
        found = _REPEAT.match(self._text, self._at) if char == "{" else None
        piece = found[0] if found else char
        times = max(int(found[1]), int(found[3] or 0), 1) if found else 1
        self._put(piece, len(piece), size=self._last * (times - 1), repeatable=False)
        self._at += self._text.startswith("?", self._at)  # lazy: which texts match is the same

    def _open(self) -> None:
        if self._text.startswith(_LOOK, self._at):
            raise FormatFault("lookahead and lookbehind are not supported")
        length = 1
        if self._text.startswith("(?", self._at):
            found = _GROUP.match(self._text, self._at)
            if not found:
                raise FormatFault('only "(?:" and named groups are supported of what begins with "(?"')
            length = len(found[0])
        self._put("(?:", length, size=0, repeatable=False)
        self._sizes.append(0)
        if len(self._sizes) > _DEEPEST:
            raise FormatFault(f"groups are nested deeper than {_DEEPEST}")

    def _escape(self) -> str | _Set:
        """What stands after a backslash: a character, or a set of them."""
        if self._at >= len(self._text):
            raise FormatFault("it ends with a backslash")
        char = self._text[self._at]
        if char in _NARROW:
            self._at += 1
            return _Set(_NARROW[char], _WIDE[char])
        if char in _CONTROLS:
            self._at += 1
            return _CONTROLS[char]
        if char in ("p", "P"):
            found = _CATEGORY.match(self._text, self._at)
            if not found:
                raise FormatFault(r'of "\p" only general categories such as "\p{Lu}" are supported')
            self._at += len(found[0])
            return _Set("\\" + found[0], "\\" + found[0])
        if char in ("x", "u"):
            return self._coded()
        if char in ("b", "B"):
            raise FormatFault(rf'word boundaries ("\{char}") are not supported')
        if char == "k" or char in "123456789":
            raise FormatFault("backreferences are not supported")
        if (char.isalnum() and char.isascii()) or unwritable(char):
            raise FormatFault(rf'"\{char}" is not supported')
        return self._next()

    def _coded(self) -> str:
        found = _CODE.match(self._text, self._at)
        if not found:
            raise FormatFault(r'after "\x" come two hexadecimal digits, after "\u" four')
        self._at += len(found[0])
        code = int(found[1] or found[2] or found[3], 16)
        if 0xD800 <= code < 0xDC00 and self._text.startswith("\\", self._at):  # half of a pair
            low = _CODE.match(self._text, self._at + 1)
            if low and low[3] and 0xDC00 <= (half := int(low[3], 16)) < 0xE000:
                self._at += 1 + len(low[0])
                code = 0x10000 + ((code - 0xD800) << 10) + (half - 0xDC00)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise FormatFault(rf'"\{found[0]}" is no character')
        return chr(code)

    def _class(self) -> None:
        self._at += 1
        negated = self._text.startswith("^", self._at)
        self._at += negated
        if self._text.startswith("]", self._at):
            raise FormatFault("empty brackets are not supported")
        parts: list[str] = []
        writable = negated
        while not self._text.startswith("]", self._at):
            low = self._member()
            if isinstance(low, _Set):
                parts.append(low.wide if negated else low.narrow)
                writable = True
                continue
            high = self._range_end(low)
            parts.append(_literal(low) if high == low else f"{_literal(low)}-{_literal(high)}")
            writable = writable or not unwritable(low) or not unwritable(high)
        if not writable:
            raise FormatFault("brackets with nothing but control characters are not supported")
        inside = "".join(parts)
        self._put(f"[^{inside}{_CONTROL}]" if negated else _set(inside), 1)

    def _member(self) -> str | _Set:
        if self._at >= len(self._text):
            raise FormatFault('a "[" is not closed')
        char = self._next()
        if char != "\\":
            return char
        if self._text.startswith("b", self._at):
            self._at += 1
            return "\b"
        return self._escape()

    def _range_end(self, low: str) -> str:
        """The last character of the range that begins with `low`; `low` itself if none does."""
        if not self._text.startswith("-", self._at) or self._text.startswith("-]", self._at):
            return low
        before = self._at
        self._at += 1
        high = self._member()
        if isinstance(high, _Set):  # `[a-\d]`: the hyphen is meant
            self._at = before
            return low
        if high < low:
            raise FormatFault(f'the range "{low}-{high}" is empty')
        return high


class _Set:
    """Several characters, as they are written inside of brackets; `wide` for brackets that exclude."""

    def __init__(self, narrow: str, wide: str) -> None:
        self.narrow, self.wide = narrow, wide


def _set(inside: str) -> str:
    return f"[[{inside}]--[{_CONTROL}]]"


def _literal(char: str) -> str:
    return char if char.isalnum() and char.isascii() else f"\\x{{{ord(char):x}}}"
