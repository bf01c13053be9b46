"""What a new model begins with: the model that it is based on, or files; with an adapter and a draft model if any."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from ...errors import BadRequest, ModelNotFound
from ..entry import ModelEntry
from ..gguf import read_header
from ..manifest import DRAFT, GGML, WEIGHTS
from ..store import Pins, Store
from ..weights import WeightsError
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
    _check_company(basis, uploads)
    adapters = [*(file for file in uploads.files if file.kind == "adapter"), *uploads.adapters]
    if adapters:
        part = adapter_part(adapters, basis.config.model_family)
        basis = structs.replace(basis, parts=[*basis.parts, part])
    if uploads.drafts:
        basis = basis.without(DRAFT).with_weights(draft_part(uploads.drafts))
    return basis


def chat_template(store: Store, uploads: Uploads) -> str:
    """The one in the uploaded model's weights; empty without. Blocking. Raises `GGUFError`."""
    model = next((file for file in uploads.files if file.kind == "model" and file.format != GGML), None)
    return read_header(store.blob(model.digest))[0].text(_CHAT_TEMPLATE) if model is not None else ""


def _of_entry(store: Store, pins: Pins, recipe: Recipe, entry: ModelEntry) -> Basis:
    if entry.stored is None:
        return _of_outside(store, pins, recipe, entry)
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
    basis = structs.replace(basis, config=structs.replace(basis.config, model_format=entry.format))
    return _typed(store, recipe, basis)


def _of_outside(store: Store, pins: Pins, recipe: Recipe, entry: ModelEntry) -> Basis:
    """The type of model that the recipe says counts for more than the one that is configured."""
    typed = bool(recipe.model_type) and entry.format == GGML
    if typed:
        entry = structs.replace(entry, model_type=recipe.model_type)
    try:
        return outside_basis(store, pins, entry, template=not recipe.template)
    except WeightsError as error:
        if not typed:
            raise
        raise _unusable(str(entry.name), error) from None


def _typed(store: Store, recipe: Recipe, basis: Basis) -> Basis:
    """`basis` with the type of model that the recipe says. Raises `BadRequest` if the weights are not of that."""
    part = basis.first(*WEIGHTS)
    if not recipe.model_type or basis.config.model_format != GGML or part is None:
        return basis
    weights = store.blob(part.layer.digest)
    try:
        said = describe(ModelEntry(name=recipe.name, weights=weights, format=GGML, model_type=recipe.model_type))
    except WeightsError as error:
        raise _unusable(basis.parent, error) from None
    config = structs.replace(basis.config, model_family=said.model_family, model_families=said.model_families)
    return structs.replace(basis, config=config)


def _unusable(name: str, error: WeightsError) -> BadRequest:
    return BadRequest(f"the weights of '{name}' cannot be used: {error}")


def _of_files(store: Store, recipe: Recipe, files: list[Upload]) -> Basis:
    weights, format = store.blob(files[0].digest), files[0].format
    config = describe(ModelEntry(name=recipe.name, weights=weights, format=format, model_type=recipe.model_type))
    families = list(dict.fromkeys(file.architecture for file in files if file.architecture))
    return Basis(parts=[file.part() for file in files], config=structs.replace(config, model_families=families or None))


def _check_company(basis: Basis, uploads: Uploads) -> None:
    others = [*(file for file in uploads.files if file.kind != "model"), *uploads.adapters, *uploads.drafts]
    if others and basis.config.model_format == GGML:
        raise BadRequest(
            f"{others[0].name!r} cannot be added: a model in GGML has no projector, adapter or draft model"
        )
