"""`remuda list` and `remuda ps`, and the table that both print."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click

from .client import Client, Listed, Running, target_from
from .humanize import human_size, human_time, processor

__all__ = ["list_command", "ps", "table"]

_GAP = "    "


@click.command("list", epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("prefix", default="")
def list_command(prefix: str) -> None:
    """List the models that the server offers.

    With PREFIX only those whose name begins so, upper or lower case.

    \b
      remuda list
      remuda list smol
    """
    with _client() as client:
        rows = [_listed(model) for model in client.models() if _begins(model.name, prefix)]
    click.echo(table(("NAME", "ID", "SIZE", "MODIFIED"), rows))


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("prefix", default="")
def ps(prefix: str) -> None:
    """List the models that are loaded, and until when.

    With PREFIX only those whose name begins so, upper or lower case.
    """
    with _client() as client:
        rows = [_running(model) for model in client.running() if _begins(model.name, prefix)]
    click.echo(table(("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"), rows))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, four spaces apart."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = (_GAP.join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in (header, *rows))
    return "\n".join(line + _GAP for line in lines)


@contextmanager
def _client() -> Generator[Client, None, None]:
    client = Client(target_from())
    try:
        yield client
    finally:
        client.close()


def _begins(name: str, prefix: str) -> bool:
    return name.lower().startswith(prefix.lower())


def _listed(model: Listed) -> tuple[str, ...]:
    size = "-" if model.remote_host else human_size(model.size)
    return (model.name, model.digest[:12], size, human_time(model.modified_at))


def _running(model: Running) -> tuple[str, ...]:
    where = processor(model.size, model.size_vram)
    return (model.name, model.digest[:12], human_size(model.size), where, str(model.context_length), _until(model))


def _until(model: Running) -> str:
    expires = datetime.fromisoformat(model.expires_at)
    if expires.year > 1 and expires < datetime.now(UTC):
        return "Stopping..."
    return human_time(model.expires_at)
