"""`remuda show`: what a model is."""

from __future__ import annotations

import sys

import click

from ..wire import ShowRequest
from .client import reached
from .sections import sections
from .wrap import harmless

__all__ = ["echo_text", "show"]

_PARTS = ("license", "modelfile", "parameters", "system", "template")


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("model")
@click.option("--license", is_flag=True, help="Only its license.")
@click.option("--modelfile", is_flag=True, help="Only its Modelfile.")
@click.option("--parameters", is_flag=True, help="Only its parameters.")
@click.option("--system", is_flag=True, help="Only its system message.")
@click.option("--template", is_flag=True, help="Only its template.")
@click.option("-v", "--verbose", is_flag=True, help="Also all metadata and tensors of its weights.")
def show(model: str, verbose: bool, **parts: bool) -> None:
    """Show what MODEL is.

    That is its size, what it can do, its parameters, and how its system message and its license begin.

    \b
      remuda show smollm2:135m
      remuda show smollm2:135m --modelfile > Modelfile
    """
    chosen = [part for part in _PARTS if parts[part]]
    if len(chosen) > 1:
        *names, last = (f"'--{part}'" for part in _PARTS)
        raise click.ClickException(f"only one of {', '.join(names)}, or {last} can be specified")
    with reached() as client:
        shown = client.show(ShowRequest(model=model, verbose=verbose))
    echo_text(getattr(shown, chosen[0]) if chosen else sections(shown, verbose=verbose))


def echo_text(text: str) -> None:
    """Write what somebody else wrote to stdout, and end its line: to a terminal without control characters."""
    if text:
        click.echo(harmless(text) if sys.stdout.isatty() else text, nl=not text.endswith("\n"), color=True)
