"""Go's literals of strings and characters, written and read."""

from __future__ import annotations

import re

from .utf8 import decode, encode

__all__ = ["can_backquote", "code_point", "quote", "quote_rune", "unquote", "unquote_char"]

_PLAIN = re.compile(r"[ !#-\[\]-~]*")  # what stands in quotes as it is
_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
_MEANINGS = {written[1]: ord(char) for char, written in _ESCAPES.items()} | {"\\": 0x5C, '"': 0x22, "'": 0x27}
_PIECE = re.compile(
    r"""(?P<plain>[^\\]+)|\\(?:(?P<char>[abfnrtv\\"'])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"""
    r"""|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))"""
)
_INVALID = "invalid syntax"


def quote(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """A literal between two `mark`s; with `ascii_only` other characters are escaped as well."""
    if mark == '"' and _PLAIN.fullmatch(text):
        return f'"{text}"'
    return mark + "".join([_escaped(char, mark, ascii_only) for char in text]) + mark


def quote_rune(code: int, *, ascii_only: bool = False) -> str:
    """A character constant. What is no code point is U+FFFD."""
    return quote(_rune(code), "'", ascii_only=ascii_only)


def code_point(char: str) -> str:
    """A character as `U+0041 'A'`, without the character where it cannot be shown."""
    return f"U+{ord(char):04X}" + (f" '{char}'" if char.isprintable() else "")


def can_backquote(text: str) -> bool:
    """Whether a raw string can hold the text as one line."""
    return not any(
        char in "`\x7f\ufeff" or (char < " " and char != "\t") or "\ud800" <= char <= "\udfff" for char in text
    )


def unquote(literal: str) -> str:
    """The string that a literal, with its quotes, stands for. Raises ValueError with Go's words."""
    body = literal[1:-1]
    if literal[0] == "`":
        return body.replace("\r", "")
    if "\\" not in body:
        return body
    octets = bytearray()
    at = 0
    while at < len(body):
        found = _PIECE.match(body, at)
        if found is None or found["char"] == "'":
            raise ValueError(_INVALID)
        if plain := found["plain"]:
            octets += encode(plain)
        else:
            code, is_byte = _meaning(found)
            octets += bytes((code,)) if is_byte else chr(code).encode()
        at = found.end()
    return decode(bytes(octets))


def unquote_char(literal: str) -> int:
    """The number that a character constant, with its quotes, stands for. Raises ValueError with Go's words."""
    first, rest = literal[1], literal[2:]
    if first == "\\":
        found = _PIECE.match(literal, 1)
        if found is None or found["char"] == '"':
            raise ValueError(_INVALID)
        code, rest = _meaning(found)[0], literal[found.end() :]
    elif first == "'":
        raise ValueError(_INVALID)
    else:
        code = ord(first)
    if rest != "'":
        raise ValueError(f"malformed character constant: {literal}")
    return code


def _meaning(found: re.Match[str]) -> tuple[int, bool]:
    """What an escape stands for, and whether that is a byte and not a character."""
    if char := found["char"]:
        return _MEANINGS[char], False
    if octal := found["octal"]:
        code = int(octal, 8)
        if code > 0xFF:
            raise ValueError(_INVALID)
        return code, True
    if byte := found["byte"]:
        return int(byte, 16), True
    code = int(found["short"] or found["long"], 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ValueError(_INVALID)
    return code, False


def _rune(code: int) -> str:
    return "\ufffd" if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF else chr(code)


def _escaped(char: str, mark: str, ascii_only: bool) -> str:
    if char in (mark, "\\"):
        return "\\" + char
    code = ord(char)
    if char.isprintable() and (code < 0x80 or not ascii_only):
        return char
    if char in _ESCAPES:
        return _ESCAPES[char]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xD800 <= code <= 0xDFFF:
        code = 0xFFFD
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
