"""What a child process does to itself before it works."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import Final

from ..errors import LoadFailed
from .seccomp import forbid_network

__all__ = ["be_nice", "confine", "die_with_parent", "limit_memory"]

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_FIRST: Final = -10
"""Niceness of those who go before other programs, which keep a tenth of a core that both want."""
_EXPENDABLE: Final = 500
"""Of a thousand: how much rather than its parent the kernel ends this process when memory runs out."""


def confine(parent: int) -> str:
    """All that is below and the same for each: to be called first of all.

    The process ends with `parent`, gains no privileges, leaves no core dumps, is the first to go when memory runs out,
    and has no network. The latter is a matter of the kernel: empty, or why it is not so.
    """
    die_with_parent(parent)
    _leave_no_core()
    _go_first()
    return forbid_network()


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
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def be_nice(more: int | None) -> None:
    """Give way to other programs, or with a number below 0 let them give way: this thread and those that it starts.

    Raises `LoadFailed` where that is not allowed. With None other programs give way if that is allowed and nobody has
    given this process a niceness: its threads wait for each other, so that a neighbour costs much more than its share.
    """
    try:
        if more is not None:
            os.nice(more)
        elif os.nice(0) == 0:
            with suppress(PermissionError):
                os.nice(_FIRST)
    except OSError:
        words = (
            f"residency.runner_nice is {more}, which the system does not allow this server: it wants CAP_SYS_NICE or"
        )
        raise LoadFailed(f"{words} a higher RLIMIT_NICE; 0 and more are always allowed") from None


def _leave_no_core() -> None:
    """A core dump would be as large as the model, and hold what its users have written."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _go_first() -> None:
    """Relative to the parent's own place, which a container may have raised already. Only Linux can be asked."""
    with suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        place = min(int(file.read()) + _EXPENDABLE, 1000)
        file.seek(0)
        file.write(str(place))
