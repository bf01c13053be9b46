"""What a child process does to itself before it works."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["die_with_parent", "limit_memory"]

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def die_with_parent(parent: int) -> None:
    """End when the process `parent` does, and for no other reason; gain no privileges.

    Ctrl-C on a terminal and a service manager's SIGTERM reach the whole process group: ending children, and when, is
    the parent's business, which may still be draining. The kill is Linux only; elsewhere the closed socket tells.
    `parent` is compared because it may have died already.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def limit_memory(size: int) -> None:
    """Let this process have at most `size` bytes of address space, where the system can limit it."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except (ImportError, ValueError, OSError):
        return
