"""`remuda push`: a model to a registry."""

from __future__ import annotations

import click

from ..errors import BadRequest
from ..model import parse_name
from ..model.name import DEFAULT_HOST
from ..wire import TransferRequest
from .client import reached
from .progress import show_progress
from .where import upstream_option

__all__ = ["push"]


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("model")
@click.option("--insecure", is_flag=True, help="Allow a registry without HTTPS, or one whose certificate is not valid.")
@upstream_option
def push(model: str, insecure: bool, upstream: str) -> None:
    """Send MODEL to a registry.

    It is the one that the name begins with, so give the model a name there first. The server sends what the registry
    does not have yet.

    \b
      remuda cp mine me/mine
      remuda push me/mine
      remuda push --insecure localhost:5000/team/model
    """
    with reached(upstream) as client:
        show_progress(client.push(TransferRequest(model=model, insecure=insecure)))
    click.echo(f"\nYou can find your model at:\n\n\t{_place(model)}\n")


def _place(model: str) -> str:
    try:
        name = parse_name(model)
    except BadRequest:  # which the server took all the same
        return model
    if name.host.lower() != DEFAULT_HOST:
        return str(name)
    return f"https://ollama.com/{str(name).removesuffix(':latest')}"
