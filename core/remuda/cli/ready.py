"""What `remuda run` finds out before it asks a model anything: whether it is there, and what it can do."""

from __future__ import annotations

from ..wire import ShowRequest, TransferRequest
from .client import Client, ServerError
from .conversation import with_names
from .progress import show_progress

__all__ = ["abilities"]


def abilities(client: Client, model: str, *, insecure: bool) -> frozenset[str]:
    """What the server says that `model` can do; a model that is not there is pulled first.

    Nothing is known of models on servers that lack `/api/show`. Raises `ServerError` for a model that cannot be had.
    """
    found = _capabilities(client, model)
    if found is None:
        try:
            show_progress(client.pull(TransferRequest(model=model, insecure=insecure)))
        except ServerError as error:
            text = f"model '{model}' not found, and it cannot be pulled: {error.message}"
            raise with_names(client, ServerError(text, error.status)) from None
        found = _capabilities(client, model)
    return found or frozenset()


def _capabilities(client: Client, model: str) -> frozenset[str] | None:
    """None if there is no such model."""
    try:
        return frozenset(client.show(ShowRequest(model=model)).capabilities or ())
    except ServerError as error:
        if error.status == 404 and "model" in error.message:
            return None
        if error.status in {404, 405, 501}:  # the route itself is not there
            return frozenset()
        raise
