"""`remuda rm`: models away."""

from __future__ import annotations

import click

from .client import Client, ServerError, reached
from .stop import unload
from .where import upstream_option

__all__ = ["rm"]


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@upstream_option
def rm(models: tuple[str, ...], upstream: str) -> None:
    """Remove models, and the files that no other model uses.

    \b
      remuda rm mine
      remuda rm mine mine-small
      remuda rm --upstream gpu-1 mine
    """
    with reached(upstream) as client:
        for model in models:
            if not upstream:  # of those named only one would be asked to
                _stop(client, model)
            client.delete(model)
            click.echo(f"deleted '{model}'")


def _stop(client: Client, model: str) -> None:
    """A model that is loaded would go on to answer."""
    try:
        unload(client, model)
    except ServerError as error:
        if error.status != 404:
            click.echo(f"Warning: unable to stop model '{model}'", err=True)
