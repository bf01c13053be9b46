"""The child process that quantises one model after the other, until the server closes the socket.

    python -P -m remuda_llamacpp.quantizer FD PARENT

Weights come from anywhere, and llama.cpp gives up the whole process over some of what may be wrong with them. How far
it is, is read from its log, which names each tensor when its turn comes.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from remuda.errors import RemudaError
from remuda.model.gguf import check_gguf
from remuda.runner.confine import confine
from remuda.runner.frames import pack, receive

from . import _native, log
from .quantize import Order, Progress
from .threads import available_cores

__all__ = ["main"]

_TENSOR = re.compile(rb"\[\s*\d+/\s*\d+\]\s+(\S+)")
_NICENESS = 10
"""Who waits for a token comes before who waits for a file."""


class _Meter:
    """Tells the server at each tensor how much is done before it."""

    def __init__(self, sock: socket.socket, sizes: dict[bytes, int]) -> None:
        self._sock, self._sizes = sock, sizes
        self.total = sum(sizes.values())
        self._completed = self._current = 0

    def __call__(self, line: bytes) -> None:
        found = _TENSOR.search(line)
        if found is not None:
            self._completed += self._current
            self._current = self._sizes.pop(found[1], 0)
            self._sock.sendall(pack(Progress(self._completed, self.total)))


def main() -> None:
    confine(int(sys.argv[2]))
    os.nice(_NICENESS)
    with socket.socket(fileno=int(sys.argv[1])) as sock, suppress(BrokenPipeError, ConnectionResetError):
        for body in receive(sock):
            sock.sendall(pack(_quantize(sock, msgspec.msgpack.decode(body, type=Order))))


def _quantize(sock: socket.socket, order: Order) -> Progress:
    """The last thing to be told."""
    try:
        header = check_gguf(Path(order.source))
    except RemudaError as error:
        return Progress(error=error.message)
    meter = _Meter(sock, {tensor.name.encode(): tensor.size for tensor in header.tensor_list})
    log.install(meter)
    _native.backend_init()
    kind = _native.QUANTIZED[order.kind]
    if not _native.quantize(os.fsencode(order.source), os.fsencode(order.target), kind, available_cores()):
        return Progress(error=log.last_error() or "llama.cpp refused them")
    return Progress(meter.total, meter.total, done=True)


if __name__ == "__main__":
    main()
