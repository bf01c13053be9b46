"""Stops a decode from another thread, without Python being asked between graph nodes.

llama.cpp asks its abort callback after every node of the graph, several hundred times for one token. A Python
callback would take the GIL each time. The callback here is the C library's `strlen`, and its data a string of at
most one character in memory that we own: its length is 0, or 1 once the first byte is set, and the callback's
`bool` is the low byte of what it returns. Setting one byte needs no call into llama.cpp.
"""

from __future__ import annotations

import ctypes

from . import _native

__all__ = ["AbortFlag"]


class AbortFlag:
    """Raised, it ends the decode in progress within one graph node; `llama_decode` then returns 2."""

    def __init__(self, context: _native.Context) -> None:
        self._text = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
        assert strlen is not None
        self._callback = _native.abort_callback_type(strlen)
        _native.set_abort(context, self._callback, ctypes.addressof(self._text))

    def lift(self) -> None:
        """Ask for the abort. From any thread."""
        self._text[0] = b"\1"

    def lower(self) -> None:
        """Let decodes run again."""
        self._text[0] = b"\0"
