"""`/healthz` and `/readyz`: for whoever watches over the server. Not of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from quart import Blueprint, Response

from ..errors import Unavailable
from .replies import json_response

if TYPE_CHECKING:
    from ..pipeline import Pipeline

__all__ = ["health_routes"]


class _Health(Struct, frozen=True):
    status: str


def health_routes(pipeline: Pipeline) -> Blueprint:
    """`GET` answers `HEAD` too. A server that is shutting down answers 503 to everything before it comes here."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    async def healthz() -> Response:
        return json_response(_Health("ok"))

    @routes.get("/readyz")
    async def readyz() -> Response:
        if missing := pipeline.readiness.missing():
            raise Unavailable(f"not ready: {missing}")
        return json_response(_Health("ready"))

    return routes
