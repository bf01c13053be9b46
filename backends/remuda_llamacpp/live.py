"""One sequence while it is in the engine: where it stands, and how it makes room."""

from __future__ import annotations

import numpy as np

from remuda.engine import Sequence

from . import _native
from .sampler import Sampler

__all__ = ["Live"]


class Live:
    """A sequence in slot `slot` of the cache. Positions 0 to `held - 1` are computed."""

    def __init__(self, sequence: Sequence, slot: int, limit: int, sampler: Sampler) -> None:
        self.id = sequence.id
        self.slot = slot
        self.limit = limit
        self.sampler = sampler
        self.prompt = np.array(sequence.tokens, np.int32)
        self.shift = sequence.shift
        self.keep = max(0, sequence.keep)
        self.held = 0
        self.token = -1
        """The token to be computed next; -1 while the prompt is being read."""
        self.started = 0
        """When the first token of the prompt was given to a decode, in nanoseconds; 0 before."""

    @property
    def unread(self) -> int:
        """Prompt tokens still to be read."""
        return len(self.prompt) - self.held if self.token < 0 else 0

    @property
    def full(self) -> bool:
        """Whether it holds `limit` tokens, the one to be computed next included."""
        return self.held + 1 >= self.limit

    def may_shift(self, memory: _native.Memory) -> bool:
        """Whether older tokens may be forgotten: it was asked for, and this kind of cache can."""
        return self.shift and _native.memory_can_shift(memory)

    def make_room(self, memory: _native.Memory) -> bool:
        """Forget the older half of what follows the kept tokens; False if that can't be done.

        What remains moves up to close the gap: keys are rotated to their new positions by the next decode.
        """
        if not self.may_shift(memory):
            return False
        keep = min(self.keep, self.held - 1)
        dropped = max(1, (self.held - keep) // 2)
        if not _native.memory_remove(memory, self.slot, keep, keep + dropped):
            return False
        _native.memory_shift(memory, self.slot, keep + dropped, self.held, -dropped)
        self.held -= dropped
        return True
