"""What a new model takes over from the one that it is based on."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import structs

from ...errors import BadRequest
from ...wire import ShowMessage
from ..entry import NO_WEIGHTS, REMOTE, ModelEntry
from ..facts import read_facts
from ..manifest import (
    ADAPTER,
    DRAFT,
    LICENSE,
    MESSAGES,
    PARAMS,
    PROJECTOR,
    SYSTEM,
    TEMPLATES,
    ModelConfigFile,
    decode_config,
)
from ..parameters import MODEL_TYPE
from ..store import BlobMissing, Pins, Store, StoredManifest
from .parts import MAX_KEPT, Basis, Part, adopt, keep

__all__ = ["describe", "outside_basis", "stored_basis"]


def stored_basis(store: Store, pins: Pins, stored: StoredManifest) -> Basis:
    """All layers of a model of the store. Raises `BadRequest` if some of them are missing."""
    manifest = stored.manifest
    try:
        for digest in manifest.digests:
            pins.add(digest)
        config = decode_config(store.read_blob(manifest.config.digest, MAX_KEPT))
    except BlobMissing:
        raise BadRequest(f"model '{stored.name}' is not complete: pull it again") from None
    parts = [Part(structs.replace(layer, parent=str(stored.name))) for layer in manifest.layers]
    return Basis(parts=parts, config=config, parent=str(stored.name))


def outside_basis(store: Store, pins: Pins, entry: ModelEntry, *, template: bool) -> Basis:
    """A model that the configuration or a package brings, all but its weights copied into the store.

    `template` says whether its template is wanted. Blocking. Raises `BadRequest` for one in a language that a model of
    the store cannot have.
    """
    if entry.format == REMOTE:
        raise BadRequest(f"model '{entry.name}' is on other servers: its weights cannot be had from there")
    if entry.weights == NO_WEIGHTS:
        raise BadRequest(f"model '{entry.name}' has no weights here: no other model can be made from it")
    if template and entry.template and entry.template_engine not in {None, "go"}:
        raise BadRequest(
            f"model '{entry.name}' has a template for the engine {entry.template_engine!r}, "
            "which cannot be kept with another model: say which template it shall have"
        )
    files = [(PROJECTOR, entry.projector)] if entry.projector else []
    files += [(ADAPTER, adapter) for adapter in entry.adapters]
    files += [(DRAFT, entry.draft)] if entry.draft else []
    parts = [adopt(store, pins, media_type, path, parent=str(entry.name)) for media_type, path in files]
    if template and entry.template:
        parts.append(keep(store, pins, TEMPLATES[0], entry.template.encode()))
    parts += [keep(store, pins, media_type, data) for media_type, data in _texts(entry)]
    config = structs.replace(describe(entry), parser=entry.parser or "")
    return Basis(parts=parts, config=config, outside=entry.weights, parent=str(entry.name))


def describe(entry: ModelEntry) -> ModelConfigFile:
    """What the weights of a model outside the store say of themselves. Raises `WeightsError`."""
    details = read_facts(entry).details
    return ModelConfigFile(
        model_format=details.format,
        model_family=details.family,
        model_families=details.families,
        model_type=details.parameter_size,
        file_type=details.quantization_level,
    )


def _texts(entry: ModelEntry) -> Iterator[tuple[str, bytes]]:
    if entry.system:
        yield SYSTEM, entry.system.encode()
    for text in entry.licenses:
        yield LICENSE, text.encode()
    parameters = entry.parameters or entry.options
    if entry.model_type is not None:
        parameters = {MODEL_TYPE: entry.model_type, **parameters}
    if parameters:
        yield PARAMS, msgspec.json.encode(parameters, order="sorted")
    if entry.messages:
        yield MESSAGES, msgspec.json.encode([ShowMessage(role, content) for role, content in entry.messages])
