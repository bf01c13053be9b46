"""llama.cpp's log: errors go to stderr, sizes of buffers are noted, the rest is dropped."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from remuda.errors import without_paths

from . import _native

__all__ = ["apart", "buffer_sizes", "install", "last_error", "out_of_memory"]

_INFO, _ERROR, _CONTINUED = 2, 4, 5
_KEPT = 8
# llama.cpp's own conclusions, which say less than the line before them.
_HOLLOW = ("failed to load model", "Failed to load CLIP model", "failed to initialize the context", "loading model")
# What llama.cpp says, as errors, when a decode is aborted because we asked for it.
_ABORTED = re.compile(rb"failed with error 1$|compute status: 1$|failed to decode, ret = 2$")
# Not what a broken file asks for, which llama.cpp cannot give either.
_NO_MEMORY = re.compile(
    r"(failed|unable) to alloc|(insufficient|cannot allocate|out of) memory|bad_alloc(?! error while reading)",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"^(?:(?:error loading \w+|[A-Za-z_][\w~]*(?:::[\w~]+)*): )+")
_BUFFER = re.compile(rb":\s+(\S+)\s+(\w+) buffer size =\s+([\d.]+) MiB")


class _Log:
    def __init__(self) -> None:
        self.errors: list[str] = []
        self.sizes: dict[tuple[str, str], float] = {}
        self.listener: Callable[[bytes], None] | None = None
        self._shown = False

    def __call__(self, level: int, text: bytes | None, _data: Any) -> None:
        # Called from C, also from compute threads: nothing may be raised here.
        if not text:
            return
        shown = self._shown if level == _CONTINUED else level == _ERROR and not _ABORTED.search(text.rstrip())
        self._shown = bool(shown)
        if shown:
            line = text.decode("utf-8", "replace")
            sys.stderr.write(line)
            if line.strip(" .\n"):
                self.errors = [*self.errors[1 - _KEPT :], line.strip()]
        elif level == _INFO and self.listener is not None:
            self.listener(text)
        elif level == _INFO and (found := _BUFFER.search(text)):
            self._note(found[1].decode(), found[2].decode(), float(found[3]))

    def _note(self, device: str, kind: str, mebibytes: float) -> None:
        # A context may have several caches, but it has one compute buffer, told again whenever it changes.
        before = 0.0 if kind == "compute" else self.sizes.get((device, kind), 0.0)
        self.sizes[device, kind] = before + mebibytes


_log = _Log()
_callback = _native.log_callback(_log)
"""Kept for the life of the process: llama.cpp holds the pointer."""


def install(listener: Callable[[bytes], None] | None = None) -> None:
    """Send llama.cpp's log here, and forget what came before.

    `listener` is called with each piece of information, in place of noting the sizes of buffers.
    """
    _log.errors, _log.sizes, _log.listener = [], {}, listener
    # Its own way to say where it gave up is to start a debugger, whose talk would bury what it has said before.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    _native.log_set(_callback, None)


def last_error() -> str:
    """The last error line that says something, without paths and function names; empty if there was none."""
    lines = [_PREFIX.sub("", line) for line in _log.errors]
    telling = [line for line in lines if not line.startswith(_HOLLOW)] or lines
    return without_paths(telling[-1]).strip().rstrip(".") if telling else ""


def out_of_memory() -> bool:
    """Whether one of the last errors says so."""
    return any(_NO_MEMORY.search(line) for line in _log.errors)


def buffer_sizes() -> dict[str, int]:
    """`size` in all and `size_vram` outside the CPU's memory, in bytes: weights, KV cache, compute buffers."""
    held = {key: round(size * 2**20) for key, size in _log.sizes.items()}
    foreign = sum(size for (device, _), size in held.items() if not device.startswith("CPU"))
    return {"size": sum(held.values()), "size_vram": foreign}


@contextmanager
def apart(into: dict[str, int]) -> Generator[None]:
    """What is told of buffers meanwhile goes `into`, and is no part of `buffer_sizes`: it belongs to another model."""
    kept, _log.sizes = _log.sizes, {}
    try:
        yield
    finally:
        into.update(buffer_sizes())
        _log.sizes = kept
