"""Every error Remuda raises on purpose, in one tree.

    RemudaError                      500  anything of ours
    ├── BadRequest                   400  the client's input; the message names it and says what is allowed
    │   └── PromptTooLong            400  the prompt does not fit and may not be cut
    ├── Forbidden                    403  a Host or an Origin that may not talk to this server
    ├── NotFound                     404  an unknown route or file
    │   └── ModelNotFound            404  an unknown model
    ├── MethodNotAllowed             405  a known route that does not take this method
    ├── RequestTooLarge              413  a body over the configured cap
    ├── RequestCancelled             499  the client left; nobody reads this
    ├── EngineError                  500  an engine refused or failed
    │   ├── LoadFailed               500  a model could not be loaded
    │   │   ├── EngineMissing        500  its engine is not installed
    │   │   └── OutOfMemory          500  for want of memory
    │   └── RunnerDied               500  the process behind a model is gone
    ├── PluginError                  500  a plugin broke one of its promises
    ├── NotBuilt                     501  a field or a route that this version does not offer
    ├── UpstreamError                502  a server behind this one refused, broke off, or made no sense
    │   ├── UpstreamTimeout          504  or did not answer in time
    │   └── UpstreamLoop             508  or leads back to this one
    ├── Unavailable                  503  try again later; carries `retry_after` in seconds
    │   ├── RateLimited              429  an upstream wants fewer requests
    │   ├── ServerBusy               503  the queue is full
    │   ├── WaitedTooLong            503  the request's turn did not come in time
    │   ├── Quarantined              503  a model that failed again and again is left alone for a while
    │   └── Draining                 503  the server is shutting down
    └── ConfigError                  500  settings that make no sense (found at start, never in a request)

A foreign exception is translated into this tree at exactly one place per backend. One renderer
(`remuda.server.replies`) turns the tree into a status and `{"error": message}`; after the first byte of a
stream the same message becomes an error line. A message says what to do next, and never holds a path.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar, Final

__all__ = [
    "BadRequest",
    "ConfigError",
    "Draining",
    "EngineError",
    "EngineMissing",
    "Forbidden",
    "LoadFailed",
    "MethodNotAllowed",
    "ModelNotFound",
    "NotBuilt",
    "NotFound",
    "OutOfMemory",
    "PluginError",
    "PromptTooLong",
    "Quarantined",
    "RateLimited",
    "RemudaError",
    "RequestCancelled",
    "RequestTooLarge",
    "RunnerDied",
    "ServerBusy",
    "Unavailable",
    "UpstreamError",
    "UpstreamLoop",
    "UpstreamTimeout",
    "WaitedTooLong",
    "error_for_status",
    "without_paths",
]


class RemudaError(Exception):
    """Root of the tree. `status` is the HTTP status that a client meets before the first byte."""

    status: ClassVar[int] = 500

    @property
    def message(self) -> str:
        """The sentence that a client reads."""
        return str(self)


class BadRequest(RemudaError):
    status = 400


class PromptTooLong(BadRequest):
    """Raised for `truncate: false`; both numbers are in the message."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(
            f"the prompt is longer than the context: {tokens} tokens, and at most {limit} fit; "
            "shorten the prompt, raise num_ctx, or leave truncate on"
        )
        self.tokens, self.limit = tokens, limit


class Forbidden(RemudaError):
    status = 403


class NotFound(RemudaError):
    status = 404


class ModelNotFound(NotFound):
    """The text is the one clients of the protocol match: single quotes, the name as typed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"model '{name}' not found")


class MethodNotAllowed(RemudaError):
    status = 405


class RequestTooLarge(RemudaError):
    status = 413


class RequestCancelled(RemudaError):
    status = 499


class EngineError(RemudaError):
    pass


class LoadFailed(EngineError):
    pass


class EngineMissing(LoadFailed):
    pass


class OutOfMemory(LoadFailed):
    pass


class RunnerDied(EngineError):
    """`last_words` is the last line the process wrote to stderr, paths removed, or empty."""

    def __init__(self, last_words: str = "") -> None:
        text = "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
        super().__init__(f"{text}: {last_words}" if last_words else text)


class PluginError(RemudaError):
    pass


class NotBuilt(RemudaError):
    status = 501


class UpstreamError(RemudaError):
    """The message names the upstream as the configuration does, and never its address."""

    status = 502


class UpstreamTimeout(UpstreamError):
    status = 504


class UpstreamLoop(UpstreamError):
    status = 508


class Unavailable(RemudaError):
    status = 503
    retry_after: int = 1


class RateLimited(Unavailable):
    status = 429


class ServerBusy(Unavailable):
    """The text, two spaces included, is the protocol's own."""

    def __init__(self) -> None:
        super().__init__("server busy, please try again.  maximum pending requests exceeded")


class WaitedTooLong(Unavailable):
    """`seconds` is the bound (`limits.queue_timeout`)."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"server busy, please try again.  the request waited {seconds:g} seconds for its turn")


class Quarantined(Unavailable):
    """`seconds` from now it is tried again; `last` is what its last failure said."""

    def __init__(self, name: str, seconds: float, last: str) -> None:
        super().__init__(
            f"model '{name}' is quarantined because it failed several times in a row; it is tried again in "
            f"{math.ceil(seconds)} s, or once it is stopped (remuda stop). The last failure: {last}"
        )
        self.retry_after = max(1, math.ceil(seconds))


class Draining(Unavailable):
    retry_after = 5

    def __init__(self) -> None:
        super().__init__("the server is shutting down; try again in a moment")


class ConfigError(RemudaError):
    pass


def error_for_status(status: int, message: str) -> RemudaError:
    """The error to raise here for one that a runner reported by number: 400 is the client's, else the engine's."""
    return BadRequest(message) if status == BadRequest.status else EngineError(message)


_PATHS: Final = re.compile(
    r"""(['"])[^'"\n]*/[^'"\n]*\1"""  # quoted, spaces and all
    r"""|(?<![\w.])/[^\s:,;'"]+"""  # from the root
    r"""|(?:[A-Za-z]:|[\w.-]+)?(?:[\\/][^\s\\/:'",;()]+){2,}"""  # two steps or more, from anywhere
)


def without_paths(text: str) -> str:
    """`text`, which somebody else wrote, with everything that looks like a path replaced by "the file"."""
    return _PATHS.sub("the file", text)
