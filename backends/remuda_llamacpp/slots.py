"""What the slots of the cache hold, and where a new sequence goes: pure, decided on arrays of tokens.

A slot is a cache stream of its own, with room for one sequence. When a sequence ends, its slot keeps what was computed;
a prompt that begins with the same tokens takes that over and is read from there on. Three cases:

- the slot is free and the prompt goes on from most of what it holds: the sequence takes the slot as it is;
- the slot is taken, or what it holds beyond the common beginning is worth keeping, or it lies apart (below): its state
  is copied into another slot;
- nobody shares enough: the sequence takes the slot that was used least recently.

Slots that write side by side should be neighbours, because llama.cpp decodes each run of neighbouring slots in a
micro-batch of its own: every gap costs a pass over all weights, at every token. So a sequence goes into a gap between
the taken slots if there is one, else beside them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["Place", "Slots", "Tokens", "common"]

Tokens = NDArray[np.int32]

_NOTHING: Tokens = np.zeros(0, np.int32)
_WORTH = 8
"""Tokens. A state is not copied for fewer."""
_MOST = 64
"""A state is copied whole. That takes a hundredth of the time that reading as many tokens takes, or less."""


class Place(Struct, frozen=True):
    """Where a sequence goes: into `slot`, with the first `shared` tokens of what `source` holds."""

    slot: int
    source: int
    """`slot` itself, or the slot whose state is to be copied first."""
    shared: int
    """0 where nothing is taken over."""


class Slots:
    """Tokens that are kept in slots which nobody uses, by `owner`: whoever asked for them may have them again."""

    def __init__(self, count: int, *, whole: bool = False) -> None:
        """`whole`: the model's memory can't be cut back, so that only all of what a slot holds is of use."""
        self.count = count
        self._whole = whole
        self._kept: list[Tokens] = [_NOTHING] * count
        self._owners = [""] * count
        self._used = [0] * count
        self._clock = 0

    def kept(self, slot: int) -> Tokens:
        """What `slot` has kept since its last sequence ended."""
        return self._kept[slot]

    def owner(self, slot: int) -> str:
        return self._owners[slot]

    def keep(self, slot: int, tokens: Tokens, owner: str) -> None:
        """The sequence in `slot` has ended; its first tokens are computed and stay."""
        self._clock += 1
        self._used[slot] = self._clock if len(tokens) else 0
        self._kept[slot], self._owners[slot] = tokens, owner

    def drop(self, slot: int) -> None:
        """What `slot` held is gone."""
        self._kept[slot] = _NOTHING

    def latest(self) -> list[int]:
        """All slots, the one that was used last first."""
        return sorted(range(self.count), key=self._used.__getitem__, reverse=True)

    def place(self, prompt: Tokens, owner: str, taken: dict[int, Tokens], owners: dict[int, str]) -> Place:
        """A place for `prompt`; at least one slot must be free.

        `taken` are the slots in use with the tokens that are computed there, `owners` theirs. One token of the prompt
        is always left to be computed.
        """
        open_slots = self._open(taken)
        best, shared, length = -1, 0, 0
        for slot in range(self.count):
            theirs, whose = (taken[slot], owners[slot]) if slot in taken else (self._kept[slot], self._owners[slot])
            here = self._usable(prompt, theirs) if whose == owner else 0
            # Of equals one that can be taken as it is.
            if here > shared or (0 < here == shared and best not in open_slots and slot in open_slots):
                best, shared, length = slot, here, len(theirs)
        if best in open_slots and length - shared <= max(shared, _WORTH):
            return Place(best, best, shared)
        target = self._oldest(open_slots, but=best)
        if target is None:  # the one free slot holds more than is wanted: what is beyond goes
            return Place(best, best, shared)
        if shared < _WORTH or length > _MOST * shared:
            return Place(target, target, 0)
        return Place(target, best, shared)

    def _usable(self, prompt: Tokens, theirs: Tokens) -> int:
        shared = min(common(prompt, theirs), len(prompt) - 1)
        return 0 if self._whole and shared < len(theirs) else shared

    def _open(self, taken: Iterable[int]) -> list[int]:
        """Free slots that leave the fewest gaps between those in use, and the smallest."""
        busy = set(taken)
        free = [slot for slot in range(self.count) if slot not in busy]
        if not busy:
            return free
        low, high = min(busy), max(busy)
        free = [slot for slot in free if low < slot < high] or free
        beside = {slot: (slot - 1 in busy) + (slot + 1 in busy) for slot in free}
        most = max(beside.values())
        return [slot for slot in free if beside[slot] == most]

    def _oldest(self, slots: Iterable[int], but: int) -> int | None:
        """Of `slots` one that holds nothing, else the least recently used."""
        return min((slot for slot in slots if slot != but), key=self._age, default=None)

    def _age(self, slot: int) -> tuple[bool, int]:
        return len(self._kept[slot]) > 0, self._used[slot]


def common(one: Tokens, other: Tokens) -> int:
    """How many tokens both begin with."""
    length = min(len(one), len(other))
    if not length:
        return 0
    differ = one[:length] != other[:length]
    first = int(np.argmax(differ))
    return first if differ[first] else length
