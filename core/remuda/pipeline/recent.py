"""Models that were found a moment ago: a request for one of them need not look at the disk once more.

Looking is done in a thread, and the way there and back costs a short request more than all the rest of its way to the
engine. What this server does to its models counts at once (`forget`), what others do to the files a quarter of a second
later.
"""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct

from ..model import ModelEntry, ModelFacts
from ..model.entry import REMOTE

__all__ = ["Recent"]

_FRESH: Final = 0.25
"""Seconds."""
_MOST: Final = 1000


class _Found(Struct):
    entry: ModelEntry
    until: float
    facts: ModelFacts | None = None


class Recent:
    """For the event loop's thread alone. Names are as clients type them."""

    def __init__(self) -> None:
        self._found: dict[str, _Found] = {}
        self.mark = 0
        """Changes with `forget`: to be taken before a look, so that what was seen before a change is not kept."""

    def forget(self) -> None:
        """Something was done to models, or to what names mean."""
        self._found.clear()
        self.mark += 1

    def entry(self, name: str) -> ModelEntry | None:
        found = self._found.get(name)
        return found.entry if found is not None and found.until > time.monotonic() else None

    def facts(self, name: str, entry: ModelEntry) -> ModelFacts | None:
        found = self._found.get(name)
        fresh = found is not None and found.entry is entry and found.until > time.monotonic()
        return found.facts if found is not None and fresh else None

    def add(self, mark: int, name: str, entry: ModelEntry) -> None:
        """`entry` was found just now. Of models of upstreams these say themselves for how long that holds."""
        if mark != self.mark or entry.format == REMOTE:
            return
        if len(self._found) >= _MOST:
            self._found.clear()
        self._found[name] = _Found(entry, time.monotonic() + _FRESH)

    def add_facts(self, name: str, entry: ModelEntry, facts: ModelFacts) -> None:
        found = self._found.get(name)
        if found is not None and found.entry is entry:
            found.facts = facts
