"""What plugins of `llm` raise, as errors of ours: the one place where that is done."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from remuda.errors import EngineError, RateLimited, RemudaError, UpstreamError, without_paths

__all__ = ["translated"]

_TOO_MANY: Final = 429
_MOST: Final = 500
"""Characters of somebody else's message that go to a client."""
_log = logging.getLogger("remuda_llm")


@contextmanager
def translated(name: str) -> Generator[None, None, None]:
    """`name` is the model's. Whatever has a status of HTTP is the word of the service behind it."""
    import llm

    try:
        yield
    except RemudaError:
        raise
    except llm.ModelError as error:
        raise EngineError(f"model '{name}': {_told(error)}") from error
    # A plugin that ends the process, as a command may, does not end the server.
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        status = _status(error)
        if status == _TOO_MANY:
            raise RateLimited(f"the service behind model '{name}' wants fewer requests: {_told(error)}") from error
        if status is not None:
            raise UpstreamError(f"the service behind model '{name}' answered {status}: {_told(error)}") from error
        _log.exception("the plugin of llm behind model %r failed", name)
        said = f"{type(error).__name__}: {_told(error)}"
        raise EngineError(f"the plugin of llm behind model '{name}' failed: {said}") from error


def _told(error: BaseException) -> str:
    return without_paths(str(error))[:_MOST]


def _status(error: BaseException) -> int | None:
    """`openai`, `anthropic` and many others have it on the error, `httpx` and `requests` on its response."""
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    return None
