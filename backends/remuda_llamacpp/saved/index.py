"""Which tokens one model's stored states hold.

The states of a namespace are sorted by their packed tokens. Those that share most with a given text stand next to
where it would stand itself, so that looking one up compares a handful of them and not all.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left, bisect_right, insort
from pathlib import Path
from typing import Final

import numpy as np

from ..cache_folder import remove
from ..slots import common
from .file import STATES, Damaged, model_prefix, read_tokens

__all__ = ["Index"]

_TICK_NS: Final = 20_000_000
"""The longest that a kernel's clock for files may stand still: two changes within it may leave the same time."""

_Entry = tuple[bytes, str]
"""Packed tokens and the name of the file."""


class Index:
    """Of the files in `folder` that belong to `model` and have at most `most` bytes."""

    def __init__(self, folder: Path, model: bytes, most: int) -> None:
        self._folder, self._model, self._most = folder, model, most
        self._prefix = model_prefix(model)
        self._known: dict[str, tuple[bytes, bytes]] = {}
        """Namespace and packed tokens by name."""
        self._sorted: dict[bytes, list[_Entry]] = {}
        """By namespace."""
        self._seen = -1
        """The folder's time of modification when it was last listed; -1 when more may have happened at that time."""

    def refresh(self) -> None:
        """Follow the folder, if it has changed. Raises `OSError` if it can't be listed: nothing is known then."""
        now = time.time_ns()
        try:
            changed = os.stat(self._folder).st_mtime_ns
            if changed == self._seen:
                return
            with os.scandir(self._folder) as entries:
                names = {entry.name for entry in entries if entry.name.startswith(self._prefix)}
        except OSError:
            self._known, self._sorted, self._seen = {}, {}, -1
            raise
        self._seen = changed if abs(now - changed) > _TICK_NS else -1
        for name in self._known.keys() - names:
            self.drop(name)
        for name in names - self._known.keys():
            if STATES.kept.fullmatch(name):
                self._add(name)

    def longest(self, namespace: bytes, packed: bytes) -> tuple[str, int, int] | None:
        """The state that shares most: its name, how many tokens it shares and how many it holds.

        Of several the shortest, which is the soonest read. None if none shares any.
        """
        entries = self._sorted.get(namespace, [])
        at = bisect_left(entries, (packed, ""))
        beside = [np.frombuffer(text, np.int32) for text, _ in entries[max(0, at - 1) : at + 1]]
        tokens = np.frombuffer(packed, np.int32)
        shared = max((common(tokens, theirs) for theirs in beside), default=0)
        if not shared:
            return None
        prefix = packed[: 4 * shared]
        first = bisect_left(entries, (prefix, ""))
        last = bisect_right(entries, prefix, lo=first, key=lambda entry: entry[0][: len(prefix)])
        text, name = min(entries[first:last], key=_length)
        return name, shared, len(text) // 4

    def covering(self, namespace: bytes, packed: bytes) -> str | None:
        """The name of a state that begins with these tokens."""
        entries = self._sorted.get(namespace, [])
        at = bisect_left(entries, (packed, ""))
        return entries[at][1] if at < len(entries) and entries[at][0].startswith(packed) else None

    def prefixes(self, namespace: bytes, packed: bytes) -> list[str]:
        """Names of the states that these tokens begin with, and go on after."""
        return [
            name
            for text, name in self._sorted.get(namespace, [])
            if len(text) < len(packed) and packed.startswith(text)
        ]

    def drop(self, name: str) -> None:
        """Until the folder changes."""
        if name in self._known:
            namespace, packed = self._known.pop(name)
            entries = self._sorted[namespace]
            del entries[bisect_left(entries, (packed, name))]

    def _add(self, name: str) -> None:
        path = self._folder / name
        try:
            header, packed = read_tokens(path, self._most)
        except Damaged:
            remove(path)
            return
        except OSError:  # gone by now, or not ours to read
            return
        if header.model == self._model:
            self._known[name] = header.namespace, packed
            insort(self._sorted.setdefault(header.namespace, []), (packed, name))


def _length(entry: _Entry) -> int:
    return len(entry[0])
