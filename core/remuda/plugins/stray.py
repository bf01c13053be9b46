"""Errors of somebody else's code that are no `Exception`, and would take more along than what was asked of it.

`sys.exit()` in a coroutine ends the event loop. An extension module that panics raises what only `BaseException`
catches. A task of a plugin's own that is cancelled cancels whoever awaits it. All of these are faults as any other.
"""

from __future__ import annotations

import asyncio

__all__ = ["stray"]


def stray(error: BaseException) -> bool:
    """Whether it is such an error, and not the end of the running task, which somebody outside asked for."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return not isinstance(error, (Exception, GeneratorExit))
