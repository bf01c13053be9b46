"""Changes to models that are not made here but on upstreams, because the request or the configuration says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response

from ..pipeline.stream import last, primed
from ..remote import SILENT, Deed, DeedKind
from .drain import Drain
from .exchange import current_exchange
from .replies import PLAIN_JSON, empty_response, json_response
from .streams import ndjson_response

if TYPE_CHECKING:
    from ..pipeline import Pipeline

__all__ = ["done_elsewhere"]


async def done_elsewhere(
    pipeline: Pipeline,
    drain: Drain,
    kind: DeedKind,
    model: str,
    body: bytes,
    asked: tuple[str, ...],
    *,
    whole: bool = False,
) -> Response | None:
    """The reply to a deed of upstreams; None if it is this server's own.

    `model` is what the deed is about, as the client names it, `asked` the upstreams that it names, and `whole` says
    that it wants one object. Raises `RemudaError`.
    """
    front = pipeline.front
    if front is None:
        return None
    upstreams = await drain.wait_for(front.managed(kind, model, asked))
    if not upstreams:
        return None
    exchange = current_exchange()
    progress = front.manage(Deed(kind=kind, body=body, upstreams=upstreams, request_id=exchange.request_id))
    if kind in SILENT or whole:
        line = await drain.wait_for(last(progress))
        return empty_response() if kind in SILENT else json_response(line, PLAIN_JSON)
    return ndjson_response(await drain.wait_for(primed(progress)), exchange, drain)
