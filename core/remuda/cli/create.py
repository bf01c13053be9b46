"""`remuda create`: a model from a Modelfile."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import click
from msgspec import structs

from ..errors import BadRequest
from ..model import parse_name
from ..model.modelfile import Command, parse_modelfile
from .client import Client, reached
from .modelfile import Recipe, recipe_from
from .progress import Display, display
from .upload import send_files
from .where import upstream_option

__all__ = ["create"]

_DEFAULT: Final = "Modelfile"


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("model")
@click.option(
    "-f", "--file", "path", metavar="FILE", help=f"The Modelfile (default {_DEFAULT}); - is the standard input."
)
@click.option("-q", "--quantize", metavar="TYPE", help="Quantise the weights to this type, such as Q4_K_M.")
@upstream_option
def create(model: str, path: str | None, quantize: str | None, upstream: str) -> None:
    """Make MODEL from a Modelfile.

    Paths in it are relative to it. The files that they name are sent to the server, those it lacks. Without a
    Modelfile, MODEL is made from the weights in this folder.

    \b
      remuda create mine
      remuda create mine -f recipes/mine.modelfile
      remuda create mine-small -q q4_K_M
      printf 'FROM smollm2:135m\\nSYSTEM Answer in rhymes.\\n' | remuda create poet -f -
    """
    _check_name(model)
    commands, folder = _read(path)
    recipe = recipe_from(commands, folder)
    for warning in recipe.warnings:
        click.echo(warning)
    with reached(upstream) as client:
        client.insist()
        with display() as shown:
            _create(client, recipe, model, quantize, shown)


def _create(client: Client, recipe: Recipe, model: str, quantize: str | None, shown: Display) -> None:
    request = structs.replace(
        recipe.request,
        model=model,
        quantize=quantize,
        files=send_files(client, recipe.files, shown) or None,
        adapters=send_files(client, recipe.adapters, shown) or None,
        draft_files=send_files(client, recipe.drafts, shown) or None,
    )
    with closing(client.create(request)) as events:
        for event in events:
            shown.update(event)


def _check_name(model: str) -> None:
    try:
        parse_name(model)
    except BadRequest:
        raise click.ClickException(f"invalid model name: {model}") from None


def _read(path: str | None) -> tuple[list[Command], Path]:
    """The commands, and the folder that their paths are relative to."""
    if path == "-":
        return parse_modelfile(sys.stdin.buffer.read() if sys.stdin else b""), Path()
    file = Path(path or _DEFAULT)
    try:
        data = file.read_bytes()
    except OSError as error:
        if path is None and isinstance(error, FileNotFoundError):
            return [Command("from", value=".")], Path()
        raise click.ClickException(f"the Modelfile {str(file)!r} cannot be read: {error.strerror}") from None
    return parse_modelfile(data), file.parent
