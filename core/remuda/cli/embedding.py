"""What `remuda run` does with a model that makes vectors of texts."""

from __future__ import annotations

import click
from msgspec import Struct

from ..wire import EmbedRequest
from .client import Client

__all__ = ["Embedding"]


class Embedding(Struct, frozen=True):
    """A request for one vector, but for its text."""

    model: str
    dimensions: int | None
    """Fewer than the model's own."""
    truncate: bool | None
    """False: a text that is too long is an error."""
    keep_alive: str | None

    def show(self, client: Client, text: str) -> None:
        """Write the vector as a JSON array. Raises a click error if there is no text."""
        if not text:
            raise click.ClickException(
                f'{self.model} makes vectors of texts and cannot talk; try: remuda run {self.model} "a text"'
            )
        request = EmbedRequest(
            model=self.model,
            input=text,
            truncate=self.truncate,
            dimensions=self.dimensions,
            keep_alive=self.keep_alive,
        )
        for vector in client.embed(request).embeddings[:1]:
            click.echo(bytes(vector))
