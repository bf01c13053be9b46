"""One command of a Modelfile, and what the grammar knows of them all."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ...errors import BadRequest

__all__ = ["BLANKS", "INSTRUCTIONS", "QUOTE", "ROLES", "TRIPLE", "Command", "ModelfileError", "printable"]

INSTRUCTIONS: Final = (
    "from",
    "license",
    "template",
    "system",
    "adapter",
    "draft",
    "renderer",
    "parser",
    "parameter",
    "message",
    "requires",
)
ROLES: Final = ("system", "user", "assistant")

QUOTE: Final = '"'
TRIPLE: Final = '"""'
BLANKS: Final = " \t\r\n"
"""What is cut off both ends of a value."""


class ModelfileError(BadRequest):
    """The text is no Modelfile."""


class Command(Struct, frozen=True):
    name: str
    """One of `INSTRUCTIONS`."""
    key: str = ""
    """The name of a `parameter`, in its own case, or the role of a `message`; otherwise empty."""
    value: str = ""
    """Without its quotes."""


def printable(text: str) -> str:
    """`text` without what an editor does not show, all but tabs and the ends of lines."""
    return "".join(character for character in text if character.isprintable() or character in BLANKS)
