"""Errors made into replies: the only place where a status and `{"error": ...}` are written.

Anything outside the tree of `remuda.errors` is a fault of ours: it is logged with its traceback, and the client reads
one sentence with the request's id, which finds the traceback, and nothing of its text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field
from quart import Response
from werkzeug.exceptions import HTTPException

from ..errors import MethodNotAllowed, NotFound, RemudaError, Unavailable
from ..wire import encode, error_body

__all__ = [
    "JSON",
    "NDJSON",
    "PLAIN_JSON",
    "STREAMING",
    "Refused",
    "Reply",
    "empty_response",
    "error_line",
    "error_reply",
    "json_response",
]

JSON: Final = "application/json; charset=utf-8"
PLAIN_JSON: Final = "application/json"
"""Of the one object that stands for a stream of progress (Ollama API, "HTTP")."""
NDJSON: Final = "application/x-ndjson"
STREAMING: Final = {"X-Accel-Buffering": "no", "Cache-Control": "no-transform"}
"""Headers of NDJSON: whatever stands between shall hand on each line as it comes."""

_log = logging.getLogger("remuda.server")


class Refused(RemudaError):
    """A refusal that is about HTTP itself, with a status that nothing else in Remuda has a use for."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = status
        self.headers = dict(headers or {})


class Reply(Struct, frozen=True, kw_only=True):
    """A whole reply, ready for whoever sends it."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def response(self) -> Response:
        return Response(self.body, status=self.status, headers=self.headers)


def json_response(value: Struct, content_type: str = JSON) -> Response:
    """A 200 with one object and no newline, as the protocol wants it (Ollama API, "HTTP")."""
    return Response(encode(value), content_type=content_type)


def empty_response() -> Response:
    """A 200 with neither body nor content type."""
    response = Response(b"")
    del response.headers["Content-Type"]
    return response


def error_reply(error: Exception, request_id: str) -> Reply:
    """What a client reads in place of an answer."""
    headers = {"Content-Type": JSON}
    match error:
        case Refused():
            status, message = error.code, error.message
            headers |= error.headers
        case RemudaError():
            status, message = error.status, error.message
            if isinstance(error, Unavailable):
                headers["Retry-After"] = str(error.retry_after)
            if status == RemudaError.status:
                _log.warning("answered %d: %s", status, message)
        case HTTPException():
            status, message = error.code or 500, _sentence(error)
            headers |= {name: value for name, value in error.get_headers() if name in {"Allow", "Location"}}
        case _:
            status, message = 500, _ours(error, request_id)
    return Reply(status=status, body=error_body(message), headers=headers)


def error_line(error: Exception, request_id: str) -> bytes:
    """The last line of a stream that cannot go on."""
    message = error.message if isinstance(error, RemudaError) else _ours(error, request_id)
    return error_body(message) + b"\n"


def _sentence(error: HTTPException) -> str:
    known = {NotFound.status: "not found", MethodNotAllowed.status: "method not allowed"}
    return known.get(error.code or 500) or error.description or error.name


def _ours(error: Exception, request_id: str) -> str:
    _log.error("request %s failed", request_id, exc_info=error)
    return f"internal error; the server's log has the details under request id {request_id}"
