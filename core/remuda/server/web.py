"""The Quart application: its settings, its routes, its one error handler, and the blueprints that plugins bring."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from quart import Quart, Request, Response, current_app, request
from quart.asgi import ASGIHTTPConnection
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import RoutingException

from ..errors import PluginError
from ..plugins import Plugins, stray
from .blobs import BLOB_ROUTE
from .drain import Drain
from .exchange import current_exchange
from .health import health_routes
from .metrics import Replies, metrics_routes
from .replies import error_reply
from .routes import native_routes
from .shim import Application

if TYPE_CHECKING:
    from ..pipeline import Pipeline

__all__ = ["as_asgi", "make_quart"]


_PLACEHOLDER: Final = re.compile("<[^<>]*>")
_ROUND: Final = frozenset({f"POST {_PLACEHOLDER.sub('<>', BLOB_ROUTE)}"})
"""Routes that the shim serves without this application."""
_IMPLIED: Final = frozenset({"HEAD", "OPTIONS"})
"""Methods that a route has without asking for them."""


class _Connection(ASGIHTTPConnection):
    """Runs a handler, its reply included, in a task: what is no `Exception` must not leave that, or the server ends."""

    async def handle_request(self, request: Request, send: Any) -> None:
        try:
            await super().handle_request(request, send)
        except BaseException as error:
            if stray(error):
                raise RuntimeError(f"the handler of {request.path} raised {type(error).__name__}") from error
            raise


def make_quart(pipeline: Pipeline, plugins: Plugins, drain: Drain, replies: Replies) -> Quart:
    """`replies` is told of all routes."""
    app = Quart("remuda", static_folder=None)
    app.asgi_http_class = _Connection
    app.debug = app.testing = False  # QUART_DEBUG would show tracebacks to clients
    settings = {
        "PROPAGATE_EXCEPTIONS": False,
        "RESPONSE_TIMEOUT": None,  # 60 s by default, and what is over it is cut without a word
        "BODY_TIMEOUT": None,  # `Exchange` watches the gaps between two pieces instead
        "MAX_CONTENT_LENGTH": None,  # `Exchange` counts
        "PROVIDE_AUTOMATIC_OPTIONS": False,
    }
    for name, value in settings.items():
        app.config[name] = value
    app.url_map.merge_slashes = False
    app.register_error_handler(Exception, _render)
    app.register_blueprint(native_routes(pipeline, drain))
    app.register_blueprint(health_routes(pipeline))
    app.register_blueprint(metrics_routes(pipeline, replies, drain))
    for name, make in plugins.routes():
        _add_plugin(app, plugins, name, make, pipeline)
    replies.know([*(rule.rule for rule in app.url_map.iter_rules()), BLOB_ROUTE])
    return app


def as_asgi(app: Quart) -> Application:
    """Quart types its messages with Hypercorn's classes; here they are the mappings that ASGI knows."""
    return cast(Application, app)


def _add_plugin(app: Quart, plugins: Plugins, name: str, make: Any, pipeline: Pipeline) -> None:
    fix = "Fix: the maker given to remuda_register_routes must return a Quart blueprint with a name of its own"
    try:
        made = make(pipeline)
        # Another application is tried first: what is registered half cannot be taken back.
        trial = Quart("remuda", static_folder=None)
        trial.register_blueprint(made)
        if taken := sorted((_paths(app) | _ROUND) & _paths(trial)):
            text = f"its route {taken[0]} is there already"
            plugins.fault(name, f"{text}\nFix: give the plugin's routes paths of their own")
            return
        app.register_blueprint(made)
    except PluginError as error:
        plugins.fault(name, str(error))
    except Exception:
        plugins.fault(name, f"{traceback.format_exc().rstrip()}\n{fix}")


def _paths(app: Quart) -> set[str]:
    """Of all routes, as `GET /api/tags`; what stands for a part of a path has no name: `HEAD /api/blobs/<>`."""
    rules = app.url_map.iter_rules()
    return {
        f"{method} {_PLACEHOLDER.sub('<>', rule.rule)}"
        for rule in rules
        for method in (rule.methods or set()) - _IMPLIED
    }


async def _render(error: Exception) -> Response:
    location = _without_slash(error)
    reply = error_reply(error, current_exchange().request_id)
    if location:
        status = 301 if request.method in {"GET", "HEAD"} else 307
        return Response(b"", status=status, headers={"Location": location})
    return reply.response()


def _without_slash(error: Exception) -> str:
    """Where an unknown path that only has a slash too many should have gone (Ollama API, "HTTP"), else nothing."""
    path = request.path
    if not isinstance(error, NotFound) or not path.endswith("/") or path.startswith("//"):
        return ""
    path = path.rstrip("/")
    adapter = current_app.create_url_adapter(request)
    try:
        if adapter is None or not path:
            return ""
        adapter.match(path, method=request.method)
    except (HTTPException, RoutingException):
        return ""
    path, query = quote(path), request.query_string.decode("latin-1")
    return f"{path}?{query}" if query else path
