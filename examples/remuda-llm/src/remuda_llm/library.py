"""Which models `llm` has, and what they can do. Blocking: `llm` and its plugins are imported, files are read.

What is offered is looked for once, when the server starts. A load looks again and gets an object of its own: most
plugins make one each time they are asked, and then what it holds is free when it is unloaded.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, cast

from msgspec import Struct

from remuda.errors import EngineMissing, LoadFailed

from .names import model_name
from .settings import LlmSettings
from .thinking import can_think

__all__ = ["Chats", "Library", "Offer", "Parts", "Vectors"]

Chats = Any
"""A model of `llm` that answers prompts: an `llm.Model`, `KeyModel`, `AsyncModel` or `AsyncKeyModel`."""
Vectors = Any
"""A model of `llm` that gives vectors: an `llm.EmbeddingModel`, which `llm` does not export by that name."""

_log = logging.getLogger("remuda_llm")
_asking = threading.Lock()
"""Held while plugins of `llm` say what they have: many write to tables of their own then."""


class Offer(Struct, frozen=True):
    """A model that can be asked for."""

    name: str
    """As a client would write it."""
    id: str
    capabilities: tuple[str, ...]


class Parts(Struct):
    """What `llm` has under one id. At least one of them is there."""

    id: str
    chat: Chats | None = None
    """The asynchronous one where there are two."""
    embedding: Vectors | None = None
    aliases: tuple[str, ...] = ()

    @property
    def all(self) -> list[Any]:
        return [part for part in (self.chat, self.embedding) if part is not None]


class Library:
    """The models that the settings let through, by the names that clients write."""

    def __init__(self, settings: LlmSettings | None = None) -> None:
        self._settings = settings or LlmSettings()
        self._ids: dict[str, str] = {}

    def offers(self) -> list[Offer]:
        """In the order in which `llm` has them. Of two ids that make the same name the first one stays."""
        found: dict[str, Offer] = {}
        has_key = cache(_has_key)
        for parts in _registered():
            if not self._lets(parts.id) or not (self._settings.without_key or all(map(has_key, _keys(parts.all)))):
                continue
            able = tuple(_capabilities(parts))
            for id in (parts.id, *(parts.aliases if self._settings.aliases else ())):
                offer = Offer(model_name(id, self._settings.namespace), parts.id, able)
                first = found.setdefault(offer.name, offer)
                if first.id != parts.id:
                    _log.warning("%r is not offered: its name would be that of %r, %s", id, first.id, offer.name)
        self._ids = {offer.name: offer.id for offer in found.values()}
        return list(found.values())

    def load(self, name: str) -> Parts:
        """The model that is offered as `name`, with its keys in it. The tag may be left out, or be `latest`.

        Raises `LoadFailed` for one that is not there any more, `EngineMissing` for a key that is missing.
        """
        id = self._ids.get(name) or self._ids.get(name.removesuffix(":latest"))
        parts = next((parts for parts in _registered() if parts.id == id), None)
        if parts is None:
            raise LoadFailed(f"model '{name}' is not among the models of llm any more: restart the server")
        for part in parts.all:
            _unlock(part, name)
        return parts

    def _lets(self, id: str) -> bool:
        return _matches(id, self._settings.allow) and not _matches(id, self._settings.deny)


def _registered() -> Iterator[Parts]:
    """What `llm` and its plugins have at this moment, each id once."""
    import llm

    found: dict[str, Parts] = {}
    with _asking:
        for each in llm.get_models_with_aliases():
            parts = found.setdefault(each.model.model_id, Parts(each.model.model_id))
            # An asynchronous one need not be there, whatever `llm` says of its type.
            parts.chat = cast("Chats | None", each.async_model) or each.model
            parts.aliases = tuple(each.aliases)
        for each in llm.get_embedding_models_with_aliases():
            parts = found.setdefault(each.model.model_id, Parts(each.model.model_id))
            parts.embedding, parts.aliases = each.model, (*parts.aliases, *each.aliases)
    yield from found.values()


def _capabilities(parts: Parts) -> Iterator[str]:
    """In the words of the protocol (Ollama API, "Capabilities")."""
    if parts.chat is not None:
        yield "completion"
        if any(kind.startswith("image/") for kind in cast(Collection[str], parts.chat.attachment_types)):
            yield "vision"
        if parts.chat.supports_tools:
            yield "tools"
        if can_think(parts.chat):
            yield "thinking"
    if parts.embedding is not None:
        yield "embedding"


def _keys(models: Iterable[Any]) -> Iterator[tuple[str, str | None]]:
    for model in models:
        if model.needs_key and not model.key:
            yield model.needs_key, model.key_env_var


def _has_key(key: tuple[str, str | None]) -> bool:
    import llm

    return bool(llm.get_key(alias=key[0], env=key[1]))


def _unlock(model: Any, name: str) -> None:
    """Put the key into the model: it is not looked for in files while requests are served."""
    import llm

    try:
        key = model.get_key()
    except llm.NeedsKeyException as error:
        raise EngineMissing(f"model '{name}' cannot be used: {error}") from None
    if key is not None:
        model.key = key


def _matches(id: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(id.lower(), pattern.lower()) for pattern in patterns)
