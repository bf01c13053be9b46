"""An engine that tries what a runner must not be able to do: a prompt names the attempt, the text says how it ended."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence as ListOf
from pathlib import Path

from remuda.engine import Ended, Event, LoadSpec, Piece, PromptRead, Sequence, SerialEngine
from remuda.runner import EngineBackend

__all__ = ["ProbeBackend", "ProbeEngine"]


class ProbeEngine(SerialEngine):
    vocabulary, context = 256, 4096

    @classmethod
    def load(cls, spec: LoadSpec) -> ProbeEngine:
        return cls()

    def run(self, sequence: Sequence) -> Generator[Event, None, None]:
        yield PromptRead(sequence.id, len(sequence.tokens), 0, 1)
        yield Piece(sequence.id, 0, attempt(bytes(sequence.tokens).decode()).encode())
        yield Ended(sequence.id, "stop")

    def tokenize(self, text: str, *, bos: bool = True) -> list[int]:
        return list(text.encode())

    def detokenize(self, tokens: ListOf[int]) -> bytes:
        return bytes(tokens)


def attempt(prompt: str) -> str:
    """ "ok", the name of the system's error, or what was asked for."""
    what, *arguments = prompt.split()
    try:
        return _ATTEMPTS[what](*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except MemoryError:
        return "MemoryError"


def _socket(family: str) -> str:
    with socket.socket(int(family), socket.SOCK_RAW if int(family) == socket.AF_NETLINK else socket.SOCK_STREAM):
        return "ok"


def _connect(port: str) -> str:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        return "ok"


def _descendant(port: str) -> str:
    """The same in a program that this process starts."""
    script = f"import probing; print(probing.attempt('connect {port}'))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.strip()


def _call(number: str) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(int(number)), *[ctypes.c_long(-1)] * 6)
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def _socketpair() -> str:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"ok")
        return right.recv(2).decode()


def _allocate(size: str) -> str:
    with mmap.mmap(-1, int(size)):
        return "ok"


def _limits() -> str:
    return str(resource.getrlimit(resource.RLIMIT_CORE))


def _score() -> str:
    return Path("/proc/self/oom_score_adj").read_text(encoding="ascii").strip()


def _variable(name: str) -> str:
    return os.environ.get(name, "unset")


_ATTEMPTS: dict[str, Callable[..., str]] = {
    "socket": _socket,
    "socketpair": _socketpair,
    "connect": _connect,
    "descendant": _descendant,
    "call": _call,
    "allocate": _allocate,
    "limits": _limits,
    "score": _score,
    "variable": _variable,
}


class ProbeBackend(EngineBackend):
    engine = "probing:ProbeEngine"
