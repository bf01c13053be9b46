"""Which models there are, by name, with what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ..errors import BadRequest, ModelNotFound
from .entry import ModelEntry
from .facts import ModelFacts, file_digest, read_facts
from .gguf import GGUFError
from .name import parse_name
from .source import without_source

__all__ = ["Catalog"]

T = TypeVar("T")
_State = tuple[str, int, int]
"""Path, modification time in nanoseconds, size in bytes: a file that keeps them keeps its content."""


class Catalog:
    """Entries by name; facts and digests read once for each state of a file."""

    def __init__(self, entries: Iterable[ModelEntry]) -> None:
        self._entries = {entry.name.key: entry for entry in entries}
        self._facts: dict[_State, ModelFacts] = {}
        self._digests: dict[_State, str] = {}

    def entries(self) -> list[ModelEntry]:
        return list(self._entries.values())

    def find(self, name: str) -> ModelEntry:
        """Raises `BadRequest` for what is no name, `ModelNotFound`, which repeats it as typed, and `Forbidden` for the
        cloud.

        A model whose own tag is `local` or `cloud` is found before these are read as a source.
        """
        plain = without_source(name) if not self._is_known(name) else name
        entry = self._entries.get(parse_name(plain).key)
        if entry is None:
            raise ModelNotFound(name)
        return entry

    def _is_known(self, name: str) -> bool:
        try:
            return parse_name(name).key in self._entries
        except BadRequest:
            return False

    def facts(self, entry: ModelEntry) -> ModelFacts:
        """Blocking. Raises `GGUFError`."""
        return _cached(self._facts, entry, read_facts)

    def digest(self, entry: ModelEntry) -> str:
        """Blocking, and slow the first time: the whole file is read. Raises `GGUFError`."""
        return _cached(self._digests, entry, file_digest)


def _cached(cache: dict[_State, T], entry: ModelEntry, read: Callable[[ModelEntry], T]) -> T:
    try:
        stat = entry.weights.stat()
    except OSError:
        raise GGUFError("the weights are not there any more") from None
    state = (str(entry.weights), stat.st_mtime_ns, stat.st_size)
    if state not in cache:
        cache[state] = read(entry)
    return cache[state]
