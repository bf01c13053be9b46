"""What can go wrong with one attempt at one upstream, and what follows from it: the only place that says so.

No message here holds an address, a header or a key: upstreams go by their names in the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from remuda.errors import (
    BadRequest,
    EngineError,
    NotFound,
    RateLimited,
    RemudaError,
    RequestTooLarge,
    Unavailable,
    UpstreamError,
    UpstreamLoop,
    UpstreamTimeout,
)

__all__ = ["LONGEST_PAUSE", "Broke", "Fault", "Refused", "TooSlow", "Unreachable"]

LONGEST_PAUSE: Final = 300.0
"""Seconds. A `Retry-After` above it is cut: one mistaken reply must not put an upstream out of use for a day."""


class Fault(Exception):
    """An attempt failed. `str` of it says what happened to whom in words for a client."""

    again = True
    """Another upstream may be asked the same, as long as nothing of an answer has been used."""
    counts = True
    """It speaks against the upstream's health."""

    def __init__(self, upstream: str, text: str) -> None:
        super().__init__(f"upstream '{upstream}' {text}")
        self.upstream = upstream

    def error(self) -> RemudaError:
        """What the client is told when nobody else can be asked."""
        return UpstreamError(f"{self}; try again, or see `remuda upstreams` for how it is")


class Unreachable(Fault):
    """No connection, or none that TLS allows."""


class Broke(Fault):
    """The exchange ended, or stopped making sense, before the reply was whole."""


class TooSlow(Fault):
    """Nothing came for longer than the configuration allows."""

    again = False
    """Whoever waited that long should not wait again as long: the deadline is the client's, too."""

    def error(self) -> RemudaError:
        return UpstreamTimeout(f"{self}; see first_byte_timeout and stall_timeout of its settings")


class Refused(Fault):
    """A whole reply with a status that is not 2xx."""

    def __init__(self, upstream: str, status: int, headers: Mapping[str, str], body: bytes, said: str = "") -> None:
        """`headers` by their names in small letters; `said` is the sentence in the reply, if it holds one."""
        super().__init__(upstream, f"answered {status}{f': {said}' if said else ''}")
        self.status, self.headers, self.body, self.said = status, dict(headers), body, said
        self.counts = status >= 500 and status not in {501, 503, 508}
        self.again = status in {404, 429} or (status >= 500 and status not in {501, 508})

    @property
    def own(self) -> bool:
        """The model's failure, told by a server that is well: it speaks against the model there, not against all of
        the upstream."""
        return self.status == 500 and bool(self.said)

    @property
    def pause(self) -> float:
        """Seconds for which the upstream wants no more requests for the model."""
        if self.status not in {429, 503}:
            return 0.0
        text = self.headers.get("retry-after", "")
        try:
            seconds = float(text)
        except ValueError:
            seconds = 1.0  # none, or a date, which would need clocks that agree
        return min(seconds, LONGEST_PAUSE) if seconds > 0 else 0.0

    def error(self) -> RemudaError:
        said = self.said or str(self)
        match self.status:
            case 400 | 422:
                return BadRequest(said)
            case 401 | 403 | 407:
                return UpstreamError(f"{self}: it did not accept this server's key; see its key_env and key_file")
            case 404:
                return NotFound(said)
            case 413:
                return RequestTooLarge(said)
            case 429 | 503:
                error = RateLimited(said) if self.status == 429 else Unavailable(said)
                error.retry_after = max(1, math.ceil(self.pause))
                return error
            case 500:
                return EngineError(said)
            case 508:
                return UpstreamLoop(said)
            case _:
                return UpstreamError(str(self))
