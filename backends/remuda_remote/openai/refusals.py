"""What a refusal means: a field that the server does not know, a fault of the request, or one of the server."""

from __future__ import annotations

import re
from typing import Final

from msgspec import UNSET

from remuda.errors import BadRequest

from ..faults import Refused
from .flavour import Learned
from .request import Request

__all__ = ["learn", "meant"]

_UNKNOWN: Final = re.compile(
    r"not (?:supported|permitted|allowed|available|implemented|recognized|enabled)|n't support|unsupported|unknown"
    r"|unrecognized|unexpected|max_completion_tokens",
    re.IGNORECASE,
)
_OTHER_KIND: Final = re.compile(_UNKNOWN.pattern + r"|must be|should be|expected|invalid (?:type|value)", re.IGNORECASE)
_OWN_FAULT: Final = re.compile(r"invalid schema|invalid grammar|json schema error", re.IGNORECASE)
"""The server knows formats, and this one is wrong."""
_FORMATS: Final = ("response_format", "json_schema", "json_object")
_REQUESTS: Final = re.compile(
    r"\d+ validation errors?:|must be created with embedding|is not supported|does not support|logits_all"
    r"|too large to process",
)
"""What servers say with a 500 although it is the request's fault."""
_NO_PARTS: Final = 'can only concatenate str (not "list")'
"""What becomes of a message with images in llama-cpp-python's server, where the model has no eyes."""


def learn(refused: Refused, request: Request, learned: Learned) -> bool:
    """Remember which field of the request the server does not know; it will be asked without. False if that is not
    what it said."""
    said = refused.said
    if refused.status not in {400, 422, 500, 501}:
        return False
    if "max_tokens" in said and request.asked.max_tokens is not UNSET and _UNKNOWN.search(said):
        learned.completion_tokens = True
        return True
    if "stream_options" in said and request.asked.stream_options is not UNSET:
        learned.no_usage = True
        return True
    named = any(word in said for word in _FORMATS)
    if request.format and named and _OTHER_KIND.search(said) and not _OWN_FAULT.search(said):
        learned.formats.add(request.format)
        return True
    return False


def meant(refused: Refused) -> Refused | BadRequest:
    """What to raise: `BadRequest` for a request that is at fault itself, whatever the status says."""
    if refused.status == 500 and _NO_PARTS in refused.said:
        return BadRequest(f"upstream '{refused.upstream}' cannot do \"images\" with this model")
    if refused.status == 404 and "model" not in refused.said.lower():
        return BadRequest(f"upstream '{refused.upstream}' cannot do this: it has no route for it")
    if refused.status == 501 or (refused.status == 500 and _REQUESTS.search(refused.said)):
        return BadRequest(f"upstream '{refused.upstream}' cannot do this: {refused.said}")
    return refused
