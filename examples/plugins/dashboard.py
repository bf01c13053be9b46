"""A page at /dashboard that shows what a server is doing: the models in memory, who waits, and the plugins.

It needs no settings. Whoever may talk to the server may see it. All that is shown is escaped, and nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Final

from remuda import hookimpl
from remuda.hookspecs import RegisterRoutes

if TYPE_CHECKING:  # importing a plugin must be cheap: it is done for commands as well
    from remuda.pipeline import Pipeline
    from remuda.plugins import Plugin
    from remuda.wire import PsModel

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>Remuda</title>
<style>body {{ font: 15px sans-serif; margin: 2em }} td, th {{ padding: 0 1.5em 0 0; text-align: left }}</style></head>
<body><h1>Remuda</h1>
<h2>In memory</h2>{models}
<p>{waiting} waiting for a model that is not theirs yet.</p>
<h2>Plugins</h2>{plugins}
</body></html>
"""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


async def page(pipeline: Pipeline) -> str:
    memory = await pipeline.ps()
    models = _table(("Model", "State", "Running", "Size", "Until"), map(_model, memory.models))
    plugins = _table(("Plugin", "From", "Provides"), map(_plugin, pipeline.plugins.describe()))
    return _PAGE.format(models=models, waiting=len(memory.queue), plugins=plugins)


def _model(model: PsModel) -> tuple[str, ...]:
    return (model.name, model.state, str(model.running), f"{model.size / 1e9:.2f} GB", model.expires_at)


def _plugin(plugin: Plugin) -> tuple[str, ...]:
    """What is wrong with a broken one is not for everybody: it may hold paths."""
    origin = f"{plugin.distribution} {plugin.version}".strip() or plugin.file
    provides = ", ".join(plugin.provides or plugin.hooks)
    if plugin.faults:
        provides = f"broken: see remuda plugins {plugin.name}"
    return (plugin.name, origin, "disabled" if plugin.disabled else provides)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "\n".join(["<table>", row(header, "th"), *(row(cells, "td") for cells in rows), "</table>"])


@hookimpl
def remuda_register_routes(register: RegisterRoutes) -> None:
    def make(pipeline: Pipeline) -> object:
        from quart import Blueprint, Response

        routes = Blueprint("dashboard", __name__)

        @routes.get("/dashboard")
        async def dashboard() -> Response:  # pyright: ignore[reportUnusedFunction]: `routes` has it
            return Response(await page(pipeline), content_type="text/html; charset=utf-8", headers=_HEADERS)

        return routes

    register(make)
