"""`remuda upstreams`: how the servers behind a server are."""

from __future__ import annotations

import click

from ..wire import UpstreamState
from .client import ServerError, reached
from .tables import table
from .wrap import harmless

__all__ = ["upstreams"]

_HEADER = ("NAME", "KIND", "STATE", "RUNNING", "WAITING", "MODELS", "LOADED")


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
def upstreams() -> None:
    """List the servers behind the server, and how each of them is.

    STATE is up, down (left alone for a while after failures), trying (the next request decides) or unknown (not yet
    asked); RUNNING and WAITING count this moment's requests; LOADED, of its MODELS, those in memory as far as it says.
    What went wrong last with those that are not up stands underneath.
    """
    with reached() as client:
        try:
            found = client.upstreams()
        except ServerError as error:
            if error.status != 404:
                raise
            raise click.ClickException("this server knows nothing of upstreams") from None
    click.echo(table(_HEADER, [_row(upstream) for upstream in found]))
    faults = [_fault(one) for one in found if one.error and one.state != "up"]
    if faults:
        click.echo("\n" + "\n".join(faults))


def _row(upstream: UpstreamState) -> tuple[str, ...]:
    counts = (upstream.running, upstream.waiting, len(upstream.models), len(upstream.loaded))
    return (upstream.name, upstream.kind, upstream.state, *map(str, counts))


def _fault(upstream: UpstreamState) -> str:
    said = upstream.error.removeprefix(f"upstream '{upstream.name}' ")
    return harmless(f"{upstream.name}: {said}")
