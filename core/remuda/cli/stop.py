"""`remuda stop`: a model out of the memory."""

from __future__ import annotations

from collections import deque

import click

from ..wire import GenerateRequest
from .client import Client, ServerError, reached

__all__ = ["stop", "unload"]


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("model")
def stop(model: str) -> None:
    """Unload MODEL, once the requests that use it are answered.

    \b
      remuda ps
      remuda stop smollm2:135m
    """
    with reached() as client:
        try:
            unload(client, model)
        except ServerError as error:
            if error.status != 404:
                raise
            raise click.ClickException(f'couldn\'t find model "{model}" to stop') from None


def unload(client: Client, model: str) -> None:
    """Raises `ServerError`: 404 for a model that there is not."""
    deque(client.generate(GenerateRequest(model=model, prompt="", keep_alive=0)), maxlen=0)
