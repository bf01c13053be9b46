"""`remuda cp`: a second name for a model."""

from __future__ import annotations

import click

from .client import reached
from .where import upstream_option

__all__ = ["cp"]


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("source")
@click.argument("destination")
@upstream_option
def cp(source: str, destination: str, upstream: str) -> None:
    """Give the model SOURCE a second name, DESTINATION. The two share their files.

    \b
      remuda cp smollm2:135m me/small
    """
    with reached(upstream) as client:
        client.copy(source, destination)
    click.echo(f"copied '{source}' to '{destination}'")
