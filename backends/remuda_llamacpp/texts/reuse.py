"""Beginnings that are computed already: where a sequence starts, and what stays when it ends.

`Slots` decides; this carries it out on the cache, and falls back where the cache can't do it: models whose memory is a
running state can't be cut back, so only all of what a slot holds is of use to them; models that look back through a
window may have lost what the window needs.

What a slot held is saved on disk when another text takes its place, and when the model is unloaded.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..load import Loaded
from ..saved import Saved, SavedStates
from ..slots import Place, Slots, Tokens, common
from .attention import tile_start
from .live import Live

__all__ = ["Reuse"]

_WAIT: Final = 64
"""Tokens that another sequence must be about to read, for one with the same beginning to wait for them."""
_RESTORE: Final = 128
"""Tokens that a state on disk must spare beyond what memory does."""
_SAVE: Final = 256
"""Tokens of the shortest state that is saved."""
_LOST: Final = 128
"""Tokens of it that must be about to go."""


class Reuse:
    """The slots of one context. `close` comes before the context is freed."""

    def __init__(self, loaded: Loaded) -> None:
        assert loaded.memory is not None, "an embedder keeps nothing"
        self._context, self.memory = loaded.context, loaded.memory
        self.whole = _native.model_is_recurrent(loaded.model) or _native.model_is_hybrid(loaded.model)
        """The memory can't be cut back."""
        self._window = 0 if self.whole else _native.model_window(loaded.model)
        self._slots, self._length = Slots(loaded.parallel, whole=self.whole), loaded.length
        settings = loaded.settings
        self._keep = settings.prefix_reuse
        self._saved = (
            SavedStates(
                settings.prefix_folder,
                # llama.cpp takes a state only where there are as many cache streams as where it came from.
                f"{loaded.identity} {loaded.parallel}",
                most_bytes=settings.prefix_bytes,
                most_age=settings.prefix_days * 86400,
            )
            if settings.prefix_reuse and settings.prefix_disk
            else None
        )
        self.copied = self.restored = self.offered = 0
        """States so far: from slot to slot, from disk, to disk."""

    @property
    def cells(self) -> int:
        """Cells that hold what no sequence uses at the moment."""
        return sum(len(self._slots.kept(slot)) for slot in range(self._slots.count))

    def begin(self, live: Live, others: Iterable[Live]) -> int:
        """Give `live` a slot. How many of its first tokens are in there already; at least one is left to be read."""
        prompt = live.beginning
        place = self._place(prompt, live.owner, others)
        stored = self._saved.find(prompt, place.shared + _RESTORE, live.owner) if self._saved else None
        most_goes = len(self._slots.kept(place.slot)) > 2 * place.shared
        if stored is not None or place.source != place.slot or most_goes:
            self._save(place.slot, prompt)
        live.slot = place.slot
        self._slots.drop(place.slot)
        count = (stored is not None and self._restore(place.slot, stored, len(prompt) - 1)) or self._take(place)
        start = count if self.whole else tile_start(count, len(live.prompt))
        return count if start == count else self._cut(place.slot, start)

    def comes(self, live: Live, readers: Iterable[Live], others: Iterable[Live]) -> bool:
        """Whether one of `readers`, whose prompts are begun, is about to read what `live` begins with as well.

        `others` are all who have a slot, and maybe more.
        """
        if not self._keep or self.whole:
            return False
        prompt, soon = live.beginning, 0
        for reader in readers:
            shared = min(common(prompt, reader.beginning), len(prompt) - 1) if reader.owner == live.owner else 0
            if reader.held < shared and not self._lost(len(reader.prompt) - self._window, shared):
                soon = max(soon, shared)
        return soon >= _WAIT and soon - self._place(prompt, live.owner, others).shared >= _WAIT

    def end(self, live: Live) -> None:
        """`live` needs its slot no more."""
        if live.slot >= 0:
            tokens = live.computed()
            tokens = tokens[: self._cut(live.slot, len(tokens) if self._keep else 0)]
            self._slots.keep(live.slot, tokens, live.owner)
            live.slot = -1

    def close(self, seconds: float) -> None:
        """Save what is kept, the latest first, for so long at most."""
        if self._saved is None:
            return
        until = time.monotonic() + seconds
        for slot in self._slots.latest():
            self._save(slot, self._slots.kept(slot)[:0])
            self._saved.flush(max(0.0, until - time.monotonic()))
        self._saved.close(max(0.0, until - time.monotonic()))

    def _place(self, prompt: Tokens, owner: str, others: Iterable[Live]) -> Place:
        taken = {other.slot: other for other in others if other.slot >= 0}
        held = {slot: other.computed() if self._keep else other.prompt[:0] for slot, other in taken.items()}
        place = self._slots.place(prompt, owner, held, {slot: other.owner for slot, other in taken.items()})
        if self._window and place.shared:
            first = _native.memory_first(self.memory, place.source)
            if place.source != place.slot:  # a copy holds only what its last token's window needs
                first = max(first, _native.memory_last(self.memory, place.source) + 1 - self._window)
            if self._lost(first, place.shared):
                return Place(place.slot, place.slot, 0)
        return place

    def _lost(self, first: int, count: int) -> bool:
        """Whether a window that looks back from token `count` misses something, where the cache begins at `first`."""
        return self._window > 0 and first > max(0, count + 1 - self._window)

    def _take(self, place: Place) -> int:
        if place.source != place.slot:
            state = self._state(place.source)
            _native.state_write(self._context, place.slot, state)
            self.copied += 1
        return self._cut(place.slot, place.shared)

    def _restore(self, slot: int, stored: Saved, most: int) -> int:
        assert self._saved is not None, "who stored it?"
        shared = min(stored.shared, most)
        if (self.whole and shared < stored.tokens) or self._lost(stored.tokens - self._window, shared):
            return 0
        state = self._saved.read(stored) if stored.tokens <= self._length else None
        if state is None or not _native.state_write(self._context, slot, state):
            return 0
        self.restored += 1
        return self._cut(slot, shared)

    def _cut(self, slot: int, count: int) -> int:
        """Keep the first `count` tokens of what `slot` holds; how many that are: none where it can't be done."""
        there = _native.memory_last(self.memory, slot) + 1 >= count
        there = there and not self._lost(_native.memory_first(self.memory, slot), count)
        if there and count and _native.memory_remove(self.memory, slot, count, -1):
            return count
        _native.memory_remove(self.memory, slot, -1, -1)
        return 0

    def _save(self, slot: int, successor: Tokens) -> None:
        kept = self._slots.kept(slot)
        if self._saved is None or len(kept) < _SAVE or len(kept) - common(kept, successor) < _LOST:
            return
        owner = self._slots.owner(slot)
        if self._saved.wants(kept, _native.state_size(self._context, slot), owner):
            self.offered += self._saved.offer(kept, self._state(slot), owner)

    def _state(self, slot: int) -> NDArray[np.uint8]:
        state = _room(_native.state_size(self._context, slot))
        return state[: _native.state_read(self._context, slot, state)]


def _room(size: int) -> NDArray[np.uint8]:
    """Memory to be filled at once, in pages that are there: 46 MB take 18 ms then. Where each is made when it is
    written they take 80, in which nobody gets a token.
    """
    if hasattr(mmap, "MAP_POPULATE") and size:
        with suppress(OSError):
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
            return np.frombuffer(mmap.mmap(-1, size, flags), np.uint8)
    return np.empty(size, np.uint8)
