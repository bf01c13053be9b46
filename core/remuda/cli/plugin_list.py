"""`remuda plugins`: what is installed, what it provides, and what is wrong with it. Needs no server."""

from __future__ import annotations

import logging
from typing import cast

import click

from ..plugins import Plugin
from .group import LoadPlugins
from .tables import table

__all__ = ["plugins_command"]


@click.command("plugins")
@click.argument("name", default="")
@click.pass_context
def plugins_command(ctx: click.Context, name: str) -> None:
    """List the plugins, and what each provides.

    With NAME everything about that one, and the traceback if it is broken. A plugin is any installed package with
    an entry point in the group "remuda".

    \b
      remuda plugins
      remuda plugins llamacpp
    """
    # Faults are in the output; without a handler logging would print each of them once more.
    logging.getLogger("remuda.plugins").addHandler(logging.NullHandler())
    load = cast(LoadPlugins, ctx.obj)
    root = ctx.find_root().command
    if isinstance(root, click.Group):
        root.list_commands(ctx)  # asks the plugins for their commands: a fault there belongs into the list
    found = {plugin.name: plugin for plugin in load().describe()}
    if not name:
        click.echo(table(("NAME", "FROM", "PROVIDES"), [_row(plugin) for plugin in found.values()]))
    elif name in found:
        click.echo(_card(found[name]))
    else:
        raise click.ClickException(f"no plugin is named {name!r}; there are: {', '.join(found) or 'none'}")


def _row(plugin: Plugin) -> tuple[str, ...]:
    provides = ", ".join(plugin.provides or plugin.hooks) or "nothing"
    if plugin.fault:
        provides = f"BROKEN: see 'remuda plugins {plugin.name}'"
    return (plugin.name, _origin(plugin), provides)


def _origin(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}".strip() or "-"


def _card(plugin: Plugin) -> str:
    lines = [
        f"name:      {plugin.name}",
        f"from:      {_origin(plugin)}",
        f"hooks:     {', '.join(plugin.hooks) or 'none'}",
        f"provides:  {', '.join(plugin.provides) or 'nothing'}",
    ]
    if plugin.fault:
        lines += ["", "Broken:", "", plugin.fault]
    return "\n".join(lines)
