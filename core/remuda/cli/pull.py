"""`remuda pull`: a model from a registry."""

from __future__ import annotations

import click

from ..wire import TransferRequest
from .client import reached
from .progress import show_progress
from .where import upstream_option

__all__ = ["pull"]


@click.command(epilog="Environment: OLLAMA_HOST names the server (default 127.0.0.1:11434).")
@click.argument("model")
@click.option("--insecure", is_flag=True, help="Allow a registry without HTTPS, or one whose certificate is not valid.")
@upstream_option
def pull(model: str, insecure: bool, upstream: str) -> None:
    """Fetch MODEL from a registry.

    The server fetches what it does not have yet. Ctrl-C stops it; the next pull goes on from there.

    \b
      remuda pull smollm2:135m
      remuda pull hf.co/bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M
      remuda pull --insecure localhost:5000/team/model
      remuda pull --upstream gpu-1,gpu-2 smollm2:135m
    """
    with reached(upstream) as client:
        show_progress(client.pull(TransferRequest(model=model, insecure=insecure)))
