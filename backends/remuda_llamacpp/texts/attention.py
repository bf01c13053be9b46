"""Keeps a text the same whether its sequence is decoded alone or in company, in one stretch or in several.

ggml's CPU flash attention takes a query's keys in order, one at a time, and skips those of other sequences, so that its
sums do not depend on the rest of the batch; with two exceptions. 64 queries or more of a sequence go through *tiles* of
64 keys; that is faster, the more the longer the text (measured: 15 % at 500 tokens, twice as fast at 4,000). And a
*single* query over 512 keys or more is shared out between the threads by keys, and the parts are added up. Either
gives other sums: in a greedy text that is a different token every few hundred.

The backend's reference switch turns both off, and costs nothing for a single query, whose heads are still shared out
between the threads. So it is on for a lone query. And for prompts `Stretches` says which tokens are read in tiles: only
those from `TILED` on, up to the last whole tile; all others are computed apart, and may be cut anywhere. Texts of up to
that length are the same however they were read: whole, piece by piece beside others, or from a beginning that was
computed earlier. In longer ones tiles are taken while nobody is waiting, and given up while somebody is.

The switch belongs to the CPU backend inside the context, which the C API does not hand out: llama.cpp exports the
method that does. Where it is not found (another compiler, a stripped build), texts may differ between alone and in
company, as they do in llama.cpp's own server.
"""

from __future__ import annotations

from typing import Final

from .. import _native

__all__ = ["TILE", "TILED", "Attention", "last_tile", "stretch", "tile_start"]

TILE: Final = 64
"""Queries of a tile."""
TILED: Final = 512
"""Where in a text the first tile is."""


class Attention:
    """The reference switch of one context. Off at first."""

    def __init__(self, context: _native.Context) -> None:
        self._switches = _native.reference_switches(context)
        self._on = False

    def apart(self, apart: bool) -> None:
        """Say before each decode whether its queries must be computed one by one, keys in order."""
        if apart != self._on:
            self._on = apart
            for switch in self._switches:
                switch(apart)


def last_tile(length: int) -> int:
    """Where the last tile of a prompt of `length` tokens ends; its last token is never in one."""
    end = (length - 1) // TILE * TILE
    return end if end > TILED else 0


def tile_start(held: int, length: int) -> int:
    """Where to begin a prompt of which `held` tokens are computed: earlier, if what is left of the tiles is no tile."""
    end = last_tile(length)
    return end - TILE if TILED < held < end < held + TILE else held


def stretch(held: int, length: int, most: int) -> tuple[int, bool]:
    """How many tokens to read next, up to `most`, and whether in tiles."""
    end = last_tile(length)
    if held < TILED <= end - TILE or held >= end:
        left = (TILED if held < end else length) - held
        return min(left, most), False
    left = end - held
    # What remains of the tiles must not be less than one, for as long as there is one.
    count = min(most, left - TILE if most < left > TILE else left)
    return count, count >= TILE
