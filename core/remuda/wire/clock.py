"""Times as the protocol writes them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["local_time", "utc_now"]


def utc_now() -> str:
    """Now, as `created_at` wants it: UTC RFC 3339, up to nine fractional digits, trailing zeros dropped, `Z`."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    fraction = f".{nanos:09d}".rstrip("0").rstrip(".")
    return f"{_stamp(seconds)}{fraction}Z"


def local_time(seconds: float) -> str:
    """A POSIX time, as `modified_at` and `expires_at` want it: RFC 3339 with this machine's offset."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat()


@lru_cache(maxsize=4)
def _stamp(seconds: int) -> str:
    """Kept, as a stream wants it for each of its lines."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
