"""The id of the request that a log record belongs to."""

from __future__ import annotations

import logging
import re
import secrets
from contextvars import ContextVar

__all__ = ["RequestIdFilter", "choose_request_id", "request_id"]

request_id: ContextVar[str] = ContextVar("remuda_request_id", default="-")
"""Set while a request is served, in every task that serves it."""

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestIdFilter(logging.Filter):
    """Add it to a handler, and `%(request_id)s` may stand in its format; `-` outside a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def choose_request_id(offered: list[str]) -> str:
    """The client's own `X-Request-Id` when it sent one that is safe to write into a log, else a new one."""
    if len(offered) == 1 and _SANE.fullmatch(offered[0]):
        return offered[0]
    return secrets.token_hex(8)
