"""HTTP: the only package that knows Quart and Hypercorn.

From the outside in: `serve` owns the socket and the end of the server, `connection` runs one connection under
Hypercorn, `shim` decides who gets in, `exchange` watches one request on the wire, `blobs` takes files to the store,
`web` and `routes` are the Quart application, `streams` and `replies` write what it answers.
"""

from __future__ import annotations

from .app import App, create_app
from .drain import Drain
from .exchange import ClientGone, Exchange, current_exchange
from .listen import bind
from .logs import RequestIdFilter, request_id
from .serve import run_server, serve

__all__ = [
    "App",
    "ClientGone",
    "Drain",
    "Exchange",
    "RequestIdFilter",
    "bind",
    "create_app",
    "current_exchange",
    "request_id",
    "run_server",
    "serve",
]
