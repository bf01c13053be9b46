"""Jobs as the server's own routes make them, for models that upstreams have."""

from __future__ import annotations

import json
from typing import Any

from remuda.job import Job
from remuda.model import Catalog, parse_name
from remuda.pipeline.chat import parse_chat
from remuda.pipeline.fields import Known
from remuda.pipeline.generate import parse_generate
from remuda.remote import remote_entry
from remuda.wire import ChatRequest, GenerateRequest, decode

__all__ = ["GENERATE", "job_of"]

GENERATE = "/api/generate"
_FORMATS = frozenset({"json", "json_schema"})


def job_of(path: str, body: bytes | dict[str, Any]) -> Job:
    """The job of a request to `/api/generate` or `/api/chat`; any model is there. Raises what the routes raise."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    if path == GENERATE:
        generate = decode(data, GenerateRequest)
        return parse_generate(generate, _known(generate.model), "r1")
    chat = decode(data, ChatRequest)
    return parse_chat(chat, _known(chat.model), "r1")


def _known(model: str | None) -> Known:
    return Known(Catalog([remote_entry(parse_name(model or ""))]), _FORMATS)
