"""`remuda config`: the settings as they are, and where each comes from."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from ..config import find_file, load_settings, to_toml
from ..plugins import load_plugins

__all__ = ["config_command"]

_EPILOG = """Environment: the variables that `remuda serve --help` names. OLLAMA_HOST is where a server would listen,
here too.
"""


@click.command("config", epilog=_EPILOG)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to read.  [default: the one that `remuda serve` would read]",
)
@click.option("--changed", is_flag=True, help="Only what is not left at its default.")
@click.option("--json", "as_json", is_flag=True, help="One object: for each key its value and its source.")
@click.option("--check", is_flag=True, help="Print nothing; the error and status 1 if `remuda serve` would refuse it.")
def config_command(file: Path | None, changed: bool, as_json: bool, check: bool) -> None:
    """Show the settings that a server started here would have, and where each comes from.

    What is printed is a configuration file itself. Headers for upstreams, and settings of plugins that sound like keys,
    tokens or passwords, are not shown.

    \b
      remuda config
      remuda config --changed
      remuda config > new.toml
      remuda config --check --config remuda.toml
    """
    settings = load_settings(find_file(file))
    if check:
        from ..pipeline.models import configured_models

        configured_models(settings.config.models)
        # A broken plugin is no error of the settings, and `remuda plugins` tells of it.
        logging.getLogger("remuda.plugins").addHandler(logging.NullHandler())
        plugins = load_plugins(config=settings.config, sources=settings.sources)
        if settings.config.upstreams:
            from ..pipeline.front import check_upstreams

            check_upstreams(plugins, settings.config)
        return
    for sentence in settings.idle:
        click.echo(f"Warning: {sentence}", err=True)
    if as_json:
        shown = {
            key: {"value": value, "source": settings.sources[key]}
            for key, value in settings.values(changed=changed).items()
        }
        click.echo(json.dumps(shown, indent=2, default=str))
    else:
        click.echo(to_toml(settings, changed=changed) or "# every setting is at its default\n", nl=False)
