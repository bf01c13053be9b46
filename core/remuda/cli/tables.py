"""`remuda list` and `remuda ps`, and the table that both print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest

import click

from ..wire import HERE
from .client import Client, reached
from .humanize import human_duration, human_size, human_time, processor
from .replies import Listed, Queued, Running
from .wrap import escaped

__all__ = ["columns", "list_command", "model_table", "ps", "table"]

_GAP = "    "
_STATES = {"loading": "Loading...", "draining": "Stopping..."}
"""What stands in place of the time until which a model stays."""


@click.command("list", epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("prefix", default="")
def list_command(prefix: str) -> None:
    """List the models that the server offers, and on which upstreams they are if it has some.

    With PREFIX only those whose name begins so, upper or lower case.

    \b
      remuda list
      remuda list smol
    """
    with reached() as client:
        click.echo(model_table(client, prefix))


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("prefix", default="")
def ps(prefix: str) -> None:
    """List the models that are loaded, and until when; then how many requests wait.

    With PREFIX only those whose name begins so, upper or lower case.
    """
    with reached() as client:
        found = client.in_memory()
    models = [model for model in found.models if _begins(model.name, prefix)]
    header = ("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL")
    places = [model.upstream for model in models]
    click.echo(_placed(header, [_running(model) for model in models], "UPSTREAM", places))
    waits = _waits([queued for queued in found.queue if _begins(queued.model, prefix)])
    if waits:
        click.echo("\n" + "\n".join(waits))


def model_table(client: Client, prefix: str = "") -> str:
    """The table of `remuda list`."""
    models = [model for model in client.models() if _begins(model.name, prefix)]
    places = [", ".join(model.upstreams or ()) for model in models]
    return _placed(("NAME", "ID", "SIZE", "MODIFIED"), [_listed(model) for model in models], "UPSTREAMS", places)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, four spaces apart."""
    return "\n".join(columns((header, *rows)))


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table; the last cells of a row may be missing.

    What a cell says comes from a server, and most of it from whoever made a model: what cannot be seen is escaped.
    """
    rows = [[escaped(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    for row in rows:
        yield "".join(f"{cell:{width}}{_GAP}" for cell, width in zip(row, widths, strict=False))


def _placed(header: Sequence[str], rows: Sequence[Sequence[str]], title: str, places: Sequence[str]) -> str:
    """A table that says in a last column where each row is, unless all are at the server itself."""
    if not any(places):
        return table(header, rows)
    return table((*header, title), [(*row, place or HERE) for row, place in zip(rows, places, strict=True)])


def _begins(name: str, prefix: str) -> bool:
    return name.lower().startswith(prefix.lower())


def _listed(model: Listed) -> tuple[str, ...]:
    size = "-" if model.remote_host else human_size(model.size)
    return (model.name, model.digest[:12], size, human_time(model.modified_at))


def _running(model: Running) -> tuple[str, ...]:
    where = "Unknown" if model.state == "loading" else processor(model.size, model.size_vram)
    return (model.name, model.digest[:12], human_size(model.size), where, str(model.context_length), _until(model))


def _until(model: Running) -> str:
    if model.state in _STATES:
        return _STATES[model.state]
    expires = datetime.fromisoformat(model.expires_at)
    if expires.year > 1 and expires < datetime.now(UTC):
        return "Stopping..."
    return human_time(model.expires_at)


def _waits(queue: Sequence[Queued]) -> list[str]:
    """A line for each model that is waited for."""
    seconds: dict[str, list[float]] = {}
    for queued in queue:
        seconds.setdefault(queued.model, []).append(queued.seconds)
    return [_wait(model, waiting) for model, waiting in seconds.items()]


def _wait(model: str, seconds: Sequence[float]) -> str:
    longest = human_duration(max(seconds))
    longest = longest[0].lower() + longest[1:]
    if len(seconds) == 1:
        return f"1 request waits for {model}, for {longest}"
    return f"{len(seconds)} requests wait for {model}, the longest for {longest}"
