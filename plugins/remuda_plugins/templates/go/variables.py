"""The variables of one template's execution."""

from __future__ import annotations

from typing import Any

__all__ = ["Variables"]


class Variables:
    """A stack: a name stands for what was declared last under it, until that is dropped."""

    __slots__ = ("_names", "_places", "_values")

    def __init__(self, data: Any) -> None:
        self._names: list[str] = []
        self._values: list[Any] = []
        self._places: dict[str, list[int]] = {}
        self.declare("$", data)

    def __len__(self) -> int:
        return len(self._names)

    def declare(self, name: str, value: Any) -> None:
        self._places.setdefault(name, []).append(len(self._names))
        self._names.append(name)
        self._values.append(value)

    def assign(self, name: str, value: Any) -> None:
        """Raises KeyError for a name that was not declared."""
        self._values[self._place(name)] = value

    def value(self, name: str) -> Any:
        """Raises KeyError for a name that was not declared."""
        return self._values[self._place(name)]

    def replace(self, place: int, value: Any) -> None:
        """Of the variable at `place` on the stack, -1 the newest."""
        self._values[place] = value

    def drop(self, count: int) -> None:
        """Leaves only the first `count`."""
        while len(self._names) > count:
            self._places[self._names.pop()].pop()
            self._values.pop()

    def _place(self, name: str) -> int:
        places = self._places.get(name)
        if not places:
            raise KeyError(name)
        return places[-1]
