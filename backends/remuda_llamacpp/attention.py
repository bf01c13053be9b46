"""Keeps a text the same whether its sequence is decoded alone or in company.

ggml's CPU flash attention takes a query's keys in order, one at a time, and skips those of other sequences, so
that its sums do not depend on the rest of the batch; with two exceptions. A block of 64 queries or more goes through
tiles of 64 keys: prompts are therefore read in stretches that begin at the same places of the text every time. And
a *single* query over 512 keys or more is shared out between the threads by keys, and the parts are added up: other
sums than the same sequence gets beside others, and other sums for another number of threads. In a greedy text
that is a different token every few hundred.

The backend's reference switch turns that off, and costs nothing for a single query, whose heads are still
shared out between the threads. It belongs to the CPU backend inside the context, which the C API does not hand
out: llama.cpp exports the method that does. Where it is not found (another compiler, a stripped build), texts
longer than 512 tokens may differ between alone and in company, as they do in llama.cpp's own server.
"""

from __future__ import annotations

from . import _native

__all__ = ["Attention"]


class Attention:
    """The reference switch of one context. Off at first."""

    def __init__(self, context: _native.Context) -> None:
        self._switches = _native.reference_switches(context)
        self._on = False

    def alone(self, alone: bool) -> None:
        """Say before each decode whether some sequence's only query stands alone in its micro-batch."""
        if alone != self._on:
            self._on = alone
            for switch in self._switches:
                switch(alone)
