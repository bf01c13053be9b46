"""How much one execution may do: a template is somebody else's program."""

from __future__ import annotations

__all__ = ["Budget", "Exhausted"]

_CHARACTERS_PER_STEP = 64


class Exhausted(Exception):
    """The template asks for more than it may have; the text says of what."""


class Budget:
    """What is left. A step is a node, a command, an element, or 64 characters that a function handles.

    `longest` is in characters: of the output, and of any string on the way to it.
    """

    __slots__ = ("_allowed", "left", "longest")

    def __init__(self, steps: int, longest: int) -> None:
        self._allowed = steps
        self.left = steps
        self.longest = longest

    def spend(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise Exhausted(f"exceeded the budget of {self._allowed} steps")

    def read(self, text: str, times: int = 1) -> None:
        """Before a function goes through a string; `times` says how slow it is at that."""
        self.spend(len(text) * times // _CHARACTERS_PER_STEP)

    def write(self, length: int) -> None:
        """Before a function makes a string of that many characters."""
        if length > self.longest:
            raise Exhausted(f"exceeded the longest output of {self.longest} characters")
        self.spend(length // _CHARACTERS_PER_STEP)
