"""No network for this process: a filter in the kernel (seccomp, Linux on x86_64 and aarch64) over its system calls.

Sockets may only be local (AF_UNIX) or lead to the kernel itself (AF_NETLINK). Calls that would go round that are
refused as well: those that reach into other processes, and rings that make calls for one. Everything else is as before.
The filter holds for all threads and for every process started from here, and cannot be taken off.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

__all__ = ["forbid_network"]

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
"""Instructions: fetch a word, compare it (and skip so many when true, so many when false), end."""
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Where the words of a call are; of the argument, the lower half on a little-endian machine."""
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_X32 = 0x40000000
"""Numbers from here on mean the same calls again, by another convention."""
_SET_MODE_FILTER = 1
# All threads; and no slower code for fear of side channels, which older kernels add to every filter.
_FLAGS = 0b001 | 0b100


class _Machine(Struct, frozen=True):
    architecture: int
    """As the kernel names it to the filter."""
    seccomp: int
    socket: int
    others: tuple[int, ...]
    """ptrace, process_vm_readv, process_vm_writev, bpf, userfaultfd, io_uring_setup, pidfd_getfd."""


_MACHINES: Final = {
    "x86_64": _Machine(0xC000003E, 317, 41, (101, 310, 311, 321, 323, 425, 438)),
    "aarch64": _Machine(0xC00000B7, 277, 198, (117, 270, 271, 280, 282, 425, 438)),
}


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("true", ctypes.c_uint8), ("false", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def forbid_network() -> str:
    """From now on, sockets that lead out fail with EACCES, the other calls with EPERM. Why not, where it can't be done.

    The process must have given up gaining privileges (`PR_SET_NO_NEW_PRIVS`), or be root's.
    """
    machine = _MACHINES.get(os.uname().machine) if sys.platform == "linux" and sys.maxsize > 2**32 else None
    if machine is None:
        return "this system is not known"
    instructions = [_Instruction(*each) for each in _filter(machine)]
    program = _Program(len(instructions), (_Instruction * len(instructions))(*instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(
        ctypes.c_long(machine.seccomp), ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_FLAGS), ctypes.byref(program)
    )
    if result == 0:
        return ""
    return os.strerror(ctypes.get_errno()) if result < 0 else "a thread would not take it"


def _filter(machine: _Machine) -> Iterable[tuple[int, int, int, int]]:
    yield _LOAD, 0, 0, _ARCHITECTURE
    yield _EQUAL, 1, 0, machine.architecture
    yield _end(errno.ENOSYS)
    yield _LOAD, 0, 0, _NUMBER
    yield _AT_LEAST, 0, 1, _X32
    yield _end(errno.ENOSYS)
    for number in machine.others:
        yield _EQUAL, 0, 1, number
        yield _end(errno.EPERM)
    yield _EQUAL, 1, 0, machine.socket
    yield _end()
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    for family in (socket.AF_UNIX, socket.AF_NETLINK):
        yield _EQUAL, 0, 1, family
        yield _end()
    yield _end(errno.EACCES)


def _end(error: int = 0) -> tuple[int, int, int, int]:
    return _RETURN, 0, 0, _FAIL | error if error else _ALLOW
