"""What is broken on purpose, and the suites that are to find it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = ["Caught", "suites"]

T = TypeVar("T")


class Caught(dict[type[T], tuple[str, ...]]):
    """Broken classes, and the tests that must fail for each."""

    def by(self, *tests: str) -> Callable[[type[T]], type[T]]:
        """A decorator."""

        def note(broken: type[T]) -> type[T]:
            self[broken] = tests
            return broken

        return note


def suites(caught: Caught[Any], suite: type, base: type, attribute: str) -> dict[str, type]:
    """A class of tests, by its name, for each broken class, which becomes its `attribute`.

    It has only the parts of `suite` that the tests are in: collecting all of it takes longer than running those.
    """
    return {
        f"Test{broken.__name__}": type(f"Test{broken.__name__}", (*_parts(suite, tests), base), {attribute: broken})
        for broken, tests in caught.items()
    }


def _parts(suite: type, tests: Iterable[str]) -> list[type]:
    names = {test.partition("[")[0] for test in tests}
    return [part for part in suite.__bases__ if names & vars(part).keys()]
