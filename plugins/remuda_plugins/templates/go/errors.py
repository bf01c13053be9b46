"""What is wrong with a template."""

from __future__ import annotations

from .utf8 import final

__all__ = ["TemplateError"]

_LONGEST = 4096


class TemplateError(Exception):
    """A template that cannot be parsed or executed. The text is Go's: `template: name:line:column: ...`.

    `line` counts from 1, `column` in bytes from 0; 0 and 0 where no place can be named. As in Go the text of an error
    of parsing names the line only. A text that quotes a long value or a long template is cut.
    """

    def __init__(self, text: str, *, line: int = 0, column: int = 0) -> None:
        super().__init__(final(text if len(text) <= _LONGEST else text[:_LONGEST] + "..."))
        self.line = line
        self.column = column
