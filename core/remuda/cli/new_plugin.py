"""`remuda new-plugin`: the beginning of a plugin, as a distribution of its own. Needs no server."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

import click

from ..config import load_settings
from .group import LoadPlugins
from .scaffold import KINDS, check_free, parse_plugin_name, project_files, write_project

__all__ = ["new_plugin"]

_WIDTH = max(map(len, KINDS))
_KINDS = "\n".join(f"  {name:<{_WIDTH}}  {kind.line}" for name, kind in KINDS.items())
_HELP = f"""Write a new plugin: a folder remuda-NAME with a package that works, its types and its tests.

\b
Kinds:
{_KINDS}

\b
  remuda new-plugin parrot --kind backend
  remuda new-plugin my-engine --kind engine --dir ~/src

What is there already is never overwritten. The name must be free among what is installed here.
"""


@click.command("new-plugin", help=_HELP, short_help="Write the beginning of a plugin, with tests that pass.")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), required=True, help="What it is to be.")
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    help="Where the folder is made.  [default: here]",
)
@click.pass_obj
def new_plugin(load: LoadPlugins, name: str, kind: str, parent: Path) -> None:
    parsed = parse_plugin_name(name)
    folder = parent / parsed.distribution
    # What is wrong with another plugin is no matter here; without a handler logging would print it.
    logging.getLogger("remuda.plugins").addHandler(logging.NullHandler())
    # As they are installed: a configuration may speak already of the plugin that is to be.
    check_free(parsed, kind, load(load_settings(None, {})))
    files = project_files(parsed, kind)
    write_project(folder, files)
    steps = (f"cd {shlex.quote(str(folder))}", "pip install -e '.[dev]'", "pytest", "remuda serve")
    click.echo("\n".join([*(f"  {folder / path}" for path in files), "", "Next:", *(f"  {step}" for step in steps)]))
    if (example := KINDS[kind].example) is not None:
        click.echo(f"and, while it runs:\n  {example.format(name=parsed.name)}")
