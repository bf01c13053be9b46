"""Places where a test may have the process fail: killed, or told that the disk is full.

    REMUDA_FAILPOINTS="blob.rename=kill,manifest.write=enospc"

Nothing happens without the variable, which is read once.
"""

from __future__ import annotations

import errno
import os
import signal

__all__ = ["failpoint"]


def _parse(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {name.strip(): action.strip() for name, _, action in pairs}


_ACTIONS = _parse(os.environ.get("REMUDA_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """Kill this process, or raise `OSError` for a full disk, if the variable says so for `name`."""
    action = _ACTIONS.get(name)
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
