"""What a new model begins with: the model that it is based on, or files; with an adapter and a draft model if any."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from ...errors import BadRequest, ModelNotFound
from ..entry import ModelEntry
from ..gguf import read_header
from ..manifest import DRAFT
from ..store import Pins, Store
from .base import describe, outside_basis, stored_basis
from .parts import Basis
from .recipe import Recipe
from .uploads import Upload, Uploads, adapter_part, draft_part

__all__ = ["begin", "chat_template"]

_CHAT_TEMPLATE: Final = "tokenizer.chat_template"


def begin(store: Store, pins: Pins, recipe: Recipe, entry: ModelEntry | None, uploads: Uploads) -> Basis:
    """`entry` is the model of `recipe.base`, where that is one of this server; `uploads.files` are arranged and whole.

    Blocking. Raises `BadRequest` for files that do not go together.
    """
    if entry is not None:
        basis = _of_entry(store, pins, recipe, entry)
    elif recipe.base:
        basis = Basis()
    else:
        basis = _of_files(store, recipe, [file for file in uploads.files if file.kind != "adapter"])
    adapters = [*(file for file in uploads.files if file.kind == "adapter"), *uploads.adapters]
    if adapters:
        part = adapter_part(adapters, basis.config.model_family)
        basis = structs.replace(basis, parts=[*basis.parts, part])
    if uploads.drafts:
        basis = basis.without(DRAFT).with_weights(draft_part(uploads.drafts))
    return basis


def chat_template(store: Store, uploads: Uploads) -> str:
    """The one in the uploaded model's weights; empty without. Blocking. Raises `GGUFError`."""
    model = next((file for file in uploads.files if file.kind == "model"), None)
    return read_header(store.blob(model.digest))[0].text(_CHAT_TEMPLATE) if model is not None else ""


def _of_entry(store: Store, pins: Pins, recipe: Recipe, entry: ModelEntry) -> Basis:
    if entry.stored is None:
        return outside_basis(store, pins, entry, template=not recipe.template)
    while True:
        stored = store.find(entry.name)
        if stored is None:
            raise ModelNotFound(recipe.base)
        try:
            basis = stored_basis(store, pins, stored)
            break
        except BadRequest:
            if store.state(stored.name) == stored.state:
                raise
            # It was replaced or removed before its blobs were held.
    return structs.replace(basis, config=structs.replace(basis.config, model_format=entry.format))


def _of_files(store: Store, recipe: Recipe, files: list[Upload]) -> Basis:
    config = describe(recipe.name, store.blob(files[0].digest))
    families = list(dict.fromkeys(file.architecture for file in files if file.architecture))
    return Basis(parts=[file.part() for file in files], config=structs.replace(config, model_families=families or None))
