"""The child process that quantises one model after the other, until the server closes the socket.

    python -P -m remuda_llamacpp.weights.quantizer FD PARENT

Weights come from anywhere, and llama.cpp gives up the whole process over some of what may be wrong with them.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from remuda.errors import RemudaError
from remuda.runner.confine import confine
from remuda.runner.cores import available_cores
from remuda.runner.frames import pack, receive

from .quantize import Order, Progress
from .rewrite import rewrite

__all__ = ["main"]

_NICENESS = 10
"""Who waits for a token comes before who waits for a file, and so does any program that nobody has made nice."""


def main() -> None:
    confine(int(sys.argv[2]))
    os.nice(_NICENESS - min(0, os.nice(0)))  # it has inherited the server's own
    with socket.socket(fileno=int(sys.argv[1])) as sock, suppress(BrokenPipeError, ConnectionResetError):
        for body in receive(sock):
            sock.sendall(pack(_quantize(sock, msgspec.msgpack.decode(body, type=Order))))


def _quantize(sock: socket.socket, order: Order) -> Progress:
    """The last thing to be told."""

    def tell(completed: int, total: int) -> None:
        sock.sendall(pack(Progress(completed, total)))

    try:
        total = rewrite(Path(order.source), Path(order.target), order.kind, available_cores(), tell)
    except RemudaError as error:
        return Progress(error=error.message)
    return Progress(total, total, done=True)


if __name__ == "__main__":
    main()
