"""The command `remuda`.

All commands but `serve` and `plugins` speak HTTP to a running server and know nothing of engines. Nothing here
imports Quart or Hypercorn until a server is really started: `remuda --help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any, Final

from .group import RemudaCli, make_cli

__all__ = ["RemudaCli", "main", "make_cli"]


_FAREWELL: Final = 3.0
"""Seconds that what plugins left behind may take at the end: pools of threads, handlers of `atexit`."""


def main() -> None:
    """The entry point: runs the command that `sys.argv` names and exits with its status."""
    try:
        make_cli().main(prog_name="remuda")
    except SystemExit as end:
        timer = threading.Timer(_FAREWELL, _end, (end.code,))
        timer.daemon = True
        timer.start()
        raise


def _end(code: Any) -> None:
    """End the process, which would wait without end for a thread that hangs."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
