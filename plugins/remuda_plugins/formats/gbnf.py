"""Grammars in llama.cpp's notation (GBNF), spelled so that `llguidance`'s own translation to Lark keeps their meaning.

That translation takes names as they are, although Lark tells rules from terminals by case and knows no hyphens, and
copies characters as they are, although those mean something else inside of Lark's strings and brackets.
"""

from __future__ import annotations

import re
from typing import Final

from .fault import FormatFault

__all__ = ["respell"]

_PIECE: Final = re.compile(
    r'(?P<comment>#[^\r\n]*)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<set>\[(?:[^\]\\]|\\.)*\])'
    r'|(?P<unclosed>["\[].*)'
    r"|(?P<repeat>\{[^}]*\})|(?P<name>[A-Za-z0-9][\w-]*)|(?P<any>\.)|(?P<other>.)",
    re.ASCII | re.DOTALL,
)
_CHAR: Final = re.compile(
    r"\\(?:x(?P<x>[0-9A-Fa-f]{2})|u(?P<u>[0-9A-Fa-f]{4})|U(?P<big>[0-9A-Fa-f]{8})|(?P<c>.))|(?P<plain>.)", re.DOTALL
)
_LETTERS: Final = re.compile("[^a-z]")
_NAMED: Final = {"n": "\n", "r": "\r", "t": "\t"}
_ITSELF: Final = '"\\[]'
_DEEPEST: Final = 50


def respell(grammar: str) -> str:
    """The same grammar. Raises `FormatFault` where it is none."""
    names = {"root": "root"}
    depth = 0
    out: list[str] = []
    for piece in _PIECE.finditer(grammar):
        text = piece[0]
        match piece.lastgroup:
            case "comment":
                continue
            case "string":
                text = '"' + "".join(map(_spelled, _characters(text[1:-1]))) + '"'
            case "set":
                text = _set(text[1:-1])
            case "name":
                text = names.setdefault(text, f"{_LETTERS.sub('', text.lower()) or 'rule'}_{len(names)}")
            case "unclosed":
                raise FormatFault(f"a {text[0]} is not closed")
            case "any":
                text = "[^\\x00]"
            case _:
                depth += (text == "(") - (text == ")")
                if depth > _DEEPEST:
                    raise FormatFault(f"groups are nested deeper than {_DEEPEST}")
        out.append(text)
    return "".join(out)


def _characters(text: str) -> list[str]:
    characters: list[str] = []
    for found in _CHAR.finditer(text):
        code = found["x"] or found["u"] or found["big"]
        if code:
            if int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) < 0xE000:
                raise FormatFault(f"{found[0]} is no character")
            characters.append(chr(int(code, 16)))
        elif found["plain"]:
            characters.append(found["plain"])
        elif found["c"] in _NAMED or found["c"] in _ITSELF:
            characters.append(_NAMED.get(found["c"], found["c"]))
        else:
            raise FormatFault(f"{found[0]} is no escape sequence")
    return characters


def _spelled(char: str) -> str:
    if char.isalnum() or ord(char) >= 0x80:
        return char
    return f"\\x{ord(char):02x}"


def _set(text: str) -> str:
    """Brackets, in which a hyphen between two characters is a range, as everywhere."""
    negated = text.startswith("^")
    characters = _characters(text[negated:])
    if not characters:
        raise FormatFault("empty brackets are not supported")
    parts: list[str] = []
    at = 0
    while at < len(characters):
        low = high = characters[at]
        if characters[at + 1 : at + 2] == ["-"] and at + 2 < len(characters):
            high = characters[at + 2]
            at += 2
        if high < low:
            raise FormatFault(f'the range "{low}-{high}" is empty')
        parts.append(_spelled(low) if low == high else f"{_spelled(low)}-{_spelled(high)}")
        at += 1
    return f"[{'^' if negated else ''}{''.join(parts)}]"
