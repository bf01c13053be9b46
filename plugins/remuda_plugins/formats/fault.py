"""What is wrong with a format, and where.

A place is a tuple of the keys that lead to it from the schema's root; `where` writes it as a client would look it up.
"""

from __future__ import annotations

from typing import Final

__all__ = ["FormatFault", "Place", "where"]

Place = tuple[str | int, ...]

_LONGEST_NAME: Final = 40
_LONGEST_PLACE: Final = 200


class FormatFault(Exception):
    """The text is for the client: it says what is wrong, and names the keyword if it is one."""


def where(place: Place) -> str:
    """`$.properties.tags`, shortened where a client's own names are long."""
    text = "$"
    for step in place:
        name = str(step)
        short = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"
        if isinstance(step, int):
            text += f"[{step}]"
        elif name.replace("$", "").replace("-", "").isidentifier():
            text += f".{short}"
        else:
            text += f"[{short!r}]"
        if len(text) > _LONGEST_PLACE:
            return text[:_LONGEST_PLACE] + "…"
    return text
