"""Which cores compute threads run on: where there are as many of them as cores, each has one of its own.

Left to the system, two of them end up on the same core as soon as another program runs on the other one, and stay
there for seconds at a time: each waits at every barrier until the other has had its turn. Tokens a second of four
sequences with two threads on two cores, undisturbed, beside a program that wants one core, two that want half of one,
and two that want all:

                            alone    one   halves   both
    left to the system        202     59       43    103
    each on its own core      217    112      105    104
    the same, niceness -10    219    188      184    183

Fewer threads go where they like, so that they find the cores that others leave. It takes OpenMP, whose threads are
asked to place themselves; a build of llama.cpp without it, or a system without affinities, leaves things as they are.
So does `OMP_PROC_BIND`, `OMP_PLACES` or `GOMP_CPU_AFFINITY`: whoever sets one of them has decided.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from remuda.runner.cores import usable_cores

from .. import _native

__all__ = ["Places", "anywhere"]

_DECIDED: Final = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")
_CORES: Final = tuple(usable_cores()) if hasattr(os, "sched_setaffinity") else ()
"""Of this process, before any thread of it was placed."""


class Places:
    """For the one thread that starts computations, which is the first of the compute threads."""

    def __init__(self) -> None:
        self._cores = () if any(os.environ.get(name) for name in _DECIDED) else _CORES
        self._each = _native.each_thread() if len(self._cores) > 1 else None
        self._threads = 0
        self._placed = False
        """Whether they ever were."""

    def take(self, threads: int) -> None:
        """Before every computation of this thread, with as many threads as that has: OpenMP ends those that a smaller
        one does not need, and whichever it starts anew begins where this thread is."""
        if threads == self._threads or self._each is None:
            return
        self._threads = threads
        if threads == len(self._cores):
            self._placed = True
            self._each(threads, self._place)
        elif self._placed:
            self._each(threads, anywhere)

    def leave(self) -> None:
        """The calling thread computes no more."""
        self._threads = 0
        if self._placed:
            anywhere()

    def _place(self, thread: int) -> None:
        _run_on(self._cores[thread : thread + 1])


def anywhere(thread: int = 0) -> None:
    """Let the calling thread run on any core of this process: it has inherited the place of the one that started it."""
    _run_on(_CORES)


def _run_on(cores: tuple[int, ...]) -> None:
    # A core may have been taken from this process in the meantime.
    with suppress(OSError, ValueError):
        if cores:
            os.sched_setaffinity(0, cores)
