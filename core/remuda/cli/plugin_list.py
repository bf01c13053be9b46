"""`remuda plugins`: what is installed, what it provides, what is wrong with it, and what it costs a running server.

Needs no server: it loads the plugins itself. Where one answers, what that one tells of them is shown beside.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, cast

import click
import msgspec

from ..config import find_file, load_settings
from ..plugins import Plugin
from ..wire import PluginCost, PluginsResponse, PluginState, encode
from .client import target_from
from .group import LoadPlugins
from .tables import columns, table

__all__ = ["plugins_command"]

_PATIENCE: Final = 1.0
"""Seconds that a server may take: it is asked only for what is shown beside."""
_MOST: Final = 4
"""Things that the list names of a plugin, which may have a hundred models; its card names all."""


@click.command("plugins")
@click.argument("name", default="")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file to read.  [default: the one that `remuda serve` would read]",
)
@click.option("--plugins-dir", metavar="DIR", help="A folder of plugins that are single files.")
@click.option("--json", "as_json", is_flag=True, help="Print what /api/plugins of a server started here would say.")
@click.pass_context
def plugins_command(ctx: click.Context, name: str, file: Path | None, plugins_dir: str | None, as_json: bool) -> None:
    """List the plugins, and what each provides.

    With NAME everything about that one, and the traceback if it is broken. A plugin is any installed package with
    an entry point in the group "remuda", or a file in the folder of plugins. If the server that OLLAMA_HOST names
    has them too, what they cost it is shown as well.

    \b
      remuda plugins
      remuda plugins llamacpp
      remuda plugins --plugins-dir plugins
    """
    # Faults are in the output; without a handler logging would print each of them once more.
    logging.getLogger("remuda.plugins").addHandler(logging.NullHandler())
    load = cast(LoadPlugins, ctx.obj)
    plugins = load(load_settings(find_file(file), options={"--plugins-dir": plugins_dir}))
    root = ctx.find_root().command
    if isinstance(root, click.Group):
        root.list_commands(ctx)  # asks the plugins for their commands: a fault there belongs into the list
    plugins.backend_formats()  # imports their backends, likewise
    found = {plugin.name: plugin for plugin in plugins.describe()}
    if name and name not in found:
        raise click.ClickException(f"no plugin is named {name!r}; there are: {', '.join(found) or 'none'}")
    states = {state.name: state for state in plugins.states()}
    if as_json:
        click.echo(encode(PluginsResponse([each for each in states.values() if name in {"", each.name}])))
        return
    running = _running()
    if name:
        click.echo(_card(found[name], states[name], running.get(name)))
    else:
        click.echo(_list(list(found.values()), running))


def _running() -> dict[str, PluginState]:
    """What a running server tells of its plugins, by name; empty where none answers soon, or not with that."""
    import httpx

    target = target_from()
    try:
        reply = httpx.get(f"{target.url}/api/plugins", timeout=_PATIENCE, trust_env=not target.loopback)
        told = msgspec.json.decode(reply.content, type=PluginsResponse)
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError):
        return {}
    return {state.name: state for state in told.plugins}


def _list(plugins: list[Plugin], running: dict[str, PluginState]) -> str:
    if not any(plugin.name in running for plugin in plugins):
        return table(("NAME", "FROM", "PROVIDES"), [_row(plugin) for plugin in plugins])
    rows = [(*_row(plugin)[:2], *_served(running.get(plugin.name)), _row(plugin)[2]) for plugin in plugins]
    return table(("NAME", "FROM", "CALLS", "FAULTS", "SECONDS", "PROVIDES"), rows)


def _row(plugin: Plugin) -> tuple[str, str, str]:
    provided = plugin.provides or plugin.hooks
    provides = ", ".join(provided[:_MOST]) or "nothing"
    if len(provided) > _MOST:
        provides = f"{provides}, and {len(provided) - _MOST} more"
    if plugin.fault:
        provides = f"BROKEN: see 'remuda plugins {plugin.name}'"
    elif plugin.disabled:
        provides = "disabled"
    return (plugin.name, _origin(plugin), provides)


def _served(state: PluginState | None) -> tuple[str, str, str]:
    """Calls, faults and seconds in the running server."""
    if state is None:
        return "-", "-", "-"
    costs = [*state.hooks, *state.filters]
    calls, faults = sum(cost.calls for cost in costs), sum(cost.faults for cost in costs)
    return str(calls), str(faults), f"{state.load_seconds + sum(cost.seconds for cost in costs):.3f}"


def _origin(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}".strip() or plugin.file or "-"


def _card(plugin: Plugin, state: PluginState, running: PluginState | None) -> str:
    lines = [
        f"name:      {plugin.name}",
        f"from:      {_origin(plugin)}",
        f"hooks:     {', '.join(plugin.hooks) or 'none'}",
        f"provides:  {', '.join(plugin.provides) or 'nothing'}",
    ]
    if plugin.disabled:
        lines.append("disabled:  by the configuration")
    else:
        lines.append(f"loaded in: {state.load_seconds:.3f} s")
    if running is not None:
        costs = [*running.hooks, *running.filters]
        lines += ["", "In the running server:", "", *columns((_COSTS, *map(_cost, costs)))]
        if running.fault:
            lines += ["", running.fault]
    if plugin.fault:
        lines += ["", "Broken:", "", plugin.fault]
    return "\n".join(lines)


_COSTS: Final = ("NAME", "CALLS", "FAULTS", "DROPPED", "SECONDS", "STATE")


def _cost(cost: PluginCost) -> tuple[str, ...]:
    counts = (cost.calls, cost.faults, cost.dropped)
    return (cost.name, *map(str, counts), f"{cost.seconds:.3f}", cost.state)
