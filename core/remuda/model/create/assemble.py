"""A new model, put together: its texts become layers, then there is a configuration, then a manifest.

The order is the protocol's: what the base has, then what is new, each kind at its place; the manifest is written last
and at once, so that whatever fails before leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from ...errors import BadRequest
from ..manifest import (
    CONFIG,
    LICENSE,
    MESSAGES,
    PARAMS,
    SYSTEM,
    TEMPLATES,
    Manifest,
    ModelConfigFile,
    encode_manifest,
)
from ..store import Pins, Store
from .parts import MAX_KEPT, MAX_TEXT, Basis, Part, keep
from .recipe import Recipe

__all__ = ["Family", "assemble", "manifest_of"]

_MAX_TEXTS: Final = 12 * 1024 * 1024
_MAX_LAYERS: Final = 1024
_TEXTS: Final = frozenset({*TEMPLATES, SYSTEM, LICENSE, PARAMS, MESSAGES})
"""Types of layers that are read whenever a model is looked at, so that they have to be small all together."""


class Family(Struct, frozen=True):
    """A family of models that the weights were recognised as: a template that they go well with, and what ends an
    answer.
    """

    name: str
    template: str
    stops: tuple[str, ...]


class _Habit(Struct, frozen=True):
    """What models of an architecture need when nobody says otherwise."""

    renderer: str = ""
    parser: str = ""
    stops: tuple[str, ...] = ()


_HABITS: Final = {
    "gemma4": _Habit("gemma4", "gemma4", ("<turn|>",)),
    "laguna": _Habit("laguna", "laguna"),
    "nemotron_h": _Habit("nemotron-3-nano", "nemotron-3-nano"),
    "nemotron_h_moe": _Habit("nemotron-3-nano", "nemotron-3-nano"),
}


class _Text(Struct, frozen=True):
    """A layer to be."""

    media_type: str
    data: bytes
    note: str = ""


def assemble(store: Store, pins: Pins, recipe: Recipe, basis: Basis, family: Family | None) -> tuple[list[Part], Part]:
    """The layers in their order, and the configuration. Raises `BadRequest`."""
    config = _merged(recipe.config, basis.config)
    habit = _HABITS.get(config.model_family, _Habit())
    config = _merged(config, ModelConfigFile(renderer=habit.renderer, parser=habit.parser))
    stops = (family.stops if family else ()) or habit.stops
    texts = list(_texts(recipe, family, _parameters(store, basis.parts, recipe, stops)))
    replaced = {_place(text.media_type) for text in texts if text.media_type != LICENSE}
    parts = [part for part in basis.parts if _place(part.layer.media_type) not in replaced]
    _check_total(parts, texts)
    licenses = {part.layer.digest for part in parts if part.layer.media_type == LICENSE}
    for text in texts:
        part = keep(store, pins, text.media_type, text.data, note=text.note)
        if text.media_type != LICENSE:
            parts.append(part)
        elif part.layer.digest not in licenses:
            parts.append(part)
            licenses.add(part.layer.digest)
    written = structs.replace(config, architecture="amd64", os="linux")
    return parts, keep(store, pins, CONFIG, msgspec.json.encode(written))


def manifest_of(parts: Sequence[Part], config: Part) -> bytes:
    """The bytes of the manifest."""
    return encode_manifest(Manifest(config=config.layer, layers=[part.layer for part in parts]))


def _texts(recipe: Recipe, family: Family | None, parameters: bytes | None) -> Iterator[_Text]:
    """What is new, in the protocol's order."""
    if recipe.template:
        yield _Text(TEMPLATES[0], recipe.template.encode())
    elif family is not None:
        yield _Text(TEMPLATES[0], family.template.encode(), f"using autodetected template {family.name}")
    if recipe.system:
        yield _Text(SYSTEM, recipe.system.encode())
    yield from (_Text(LICENSE, text.encode()) for text in recipe.licenses)
    if parameters is not None:
        yield _Text(PARAMS, parameters)
    if recipe.messages:
        yield _Text(MESSAGES, msgspec.json.encode(recipe.messages))


def _check_total(old: Sequence[Part], new: Sequence[_Text]) -> None:
    sizes = [part.layer.size for part in old if part.layer.media_type in _TEXTS] + [len(text.data) for text in new]
    if len(sizes) > _MAX_LAYERS or sum(sizes) > _MAX_TEXTS:
        raise BadRequest(
            f"the model's texts are {len(sizes)} layers of {sum(sizes)} bytes together, licenses included; "
            f"at most {_MAX_LAYERS} layers and {_MAX_TEXTS} bytes are possible"
        )


def _merged(first: ModelConfigFile, second: ModelConfigFile) -> ModelConfigFile:
    """For each field the first of the two that says something."""
    said = {name: value for name, value in structs.asdict(first).items() if value}
    return structs.replace(second, **said)


def _place(media_type: str) -> str:
    """What layers of which there is only one have in common."""
    return TEMPLATES[0] if media_type in TEMPLATES else media_type


def _parameters(store: Store, parts: Sequence[Part], recipe: Recipe, stops: Sequence[str]) -> bytes | None:
    """What the new layer of options says: the request's over the base's over what is usual. None without any, or if the
    base's layer says it already.
    """
    base: dict[str, Any] = {}
    layers = [part.layer for part in parts if part.layer.media_type == PARAMS]
    for layer in layers:
        base |= _read_object(store.read_blob(layer.digest, MAX_KEPT))
    usual = {"stop": list(stops)} if stops else {}
    merged = usual | base | recipe.parameters
    if not merged or (merged == base and len(layers) == 1):
        return None
    data = msgspec.json.encode(merged, order="sorted")
    if len(data) > MAX_TEXT:
        raise BadRequest(f"parameters take more than {MAX_TEXT} bytes together with those of the base")
    return data


def _read_object(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the parameters of the base cannot be read: they are not a JSON object") from None
