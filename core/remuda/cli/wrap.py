"""Word wrap for text that arrives piece by piece.

A word is shown as it comes; when it turns out not to fit, it is taken back from the end of the line and written again
on the next one. So nothing waits for the end of a word.
"""

from __future__ import annotations

import unicodedata

__all__ = ["WordWrap", "escaped", "harmless"]

_BACK_AND_CLEAR = "\x1b[{}D\x1b[K\n"
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that act on what is round them, or on the terminal."""
_JOINERS = "\u200c\u200d"
"""Of these, those that words and emoji are written with."""


class WordWrap:
    """`width` is in terminal cells."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._column = 0
        self._word = ""

    def feed(self, text: str) -> str:
        """What to write for `text`, which has no control characters but newline and tab."""
        return "".join(map(self._character, text))

    def _character(self, character: str) -> str:
        if character == "\n":
            self._column, self._word = 0, ""
            return character
        cells = _cells(character)
        out = self._break(character) if self._column + cells > self._width else ""
        if out and character == " ":
            return out
        self._column += cells
        # Between the ideographs that take two cells a line may break anywhere.
        self._word = "" if character in " \t" or cells == 2 else self._word + character
        return out + character

    def _break(self, character: str) -> str:
        taken = sum(map(_cells, self._word))
        if character in " \t" or not taken or taken == self._column:
            self._column, self._word = 0, ""
            return "\n"
        self._column = taken
        return _BACK_AND_CLEAR.format(taken) + self._word


def harmless(text: str) -> str:
    """`text` without control characters: a model must not be able to steer the terminal."""
    return text.translate(_CONTROLS)


def escaped(text: str) -> str:
    """`text` on one line, with an escape such as `\\x1b` for each character that is not to be seen."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _cells(character: str) -> int:
    if character == "\t":
        return 8
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
