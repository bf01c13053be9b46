"""Manifests: what a model consists of, as registries and stores keep it (Ollama API, "Manifest").

A manifest from outside is bounded before anything is done with it: its size, the number of its layers, their digests
and sizes. Bytes that were pulled are kept as they are; what is decoded here is only read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from ..errors import RemudaError
from .digest import Digest, parse_digest

__all__ = [
    "ADAPTER",
    "CONFIG",
    "DRAFT",
    "GGML",
    "GGML_MODEL",
    "LICENSE",
    "MANIFEST",
    "MAX_MANIFEST",
    "MESSAGES",
    "MODEL",
    "PARAMS",
    "PROJECTOR",
    "SYSTEM",
    "TEMPLATES",
    "WEIGHTS",
    "BadManifest",
    "Layer",
    "Manifest",
    "ModelConfigFile",
    "decode_config",
    "decode_manifest",
    "encode_manifest",
    "weights_type",
]

MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_IMAGE: Final = "application/vnd.ollama.image."
MODEL: Final = _IMAGE + "model"
GGML_MODEL: Final = "application/vnd.remuda.image.model.ggml"
"""Weights in GGML. The type is this server's own, so that no other takes them for GGUF."""
WEIGHTS: Final = (MODEL, GGML_MODEL)
GGML: Final = "ggml"
"""The `model_format` of models with such weights, and the `ModelEntry.format`."""
PROJECTOR: Final = _IMAGE + "projector"
ADAPTER: Final = _IMAGE + "adapter"
DRAFT: Final = _IMAGE + "draft"
TEMPLATES: Final = (_IMAGE + "template", _IMAGE + "prompt")
"""The media type of a template, and the one that older manifests have."""
SYSTEM: Final = _IMAGE + "system"
PARAMS: Final = _IMAGE + "params"
MESSAGES: Final = _IMAGE + "messages"
LICENSE: Final = _IMAGE + "license"

MAX_MANIFEST: Final = 4 * 1024 * 1024
"""Bytes."""
_MAX_LAYERS: Final = 4096
_MAX_SIZE: Final = 2**50
_MAX_TYPE: Final = 256


class BadManifest(RemudaError):
    """It is not a manifest that can be used; the message names the field at fault."""


class Layer(Struct, frozen=True, kw_only=True):
    """One blob of a model and what it is for. `size` in bytes."""

    media_type: str
    digest: Digest
    size: int
    parent: str = ""
    """The model that it came from (`from`)."""
    name: str = ""


class Manifest(Struct, frozen=True, kw_only=True):
    config: Layer
    layers: list[Layer]

    @property
    def size(self) -> int:
        """Bytes of all layers and of the configuration."""
        return self.config.size + sum(layer.size for layer in self.layers)

    @property
    def digests(self) -> list[Digest]:
        """Of all layers and, last, of the configuration; each once."""
        return list(dict.fromkeys(layer.digest for layer in (*self.layers, self.config)))

    def of(self, *media_types: str) -> Iterator[Layer]:
        """The layers of these types, in their order."""
        return (layer for layer in self.layers if layer.media_type in media_types)


class ModelConfigFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The blob that a manifest's `config` names. Its keys are the protocol's."""

    model_format: str = ""
    model_family: str = ""
    model_families: list[str] | None = None
    model_type: str = ""
    """The size in parameters, such as `8.0B`."""
    file_type: str = ""
    """The quantisation, such as `Q4_K_M`."""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: list[str] | None = None
    context_length: int = 0
    embedding_length: int = 0
    base_name: str = ""
    architecture: str = ""
    os: str = ""


class _WireLayer(Struct, omit_defaults=True, rename="camel"):
    media_type: str
    digest: str
    size: int
    parent: str = field(default="", name="from")
    name: str = ""


class _WireManifest(Struct, rename="camel"):
    schema_version: int
    media_type: str
    config: _WireLayer
    layers: list[_WireLayer]


class _ReadLayer(Struct):
    digest: str
    media_type: str = field(default="", name="mediaType")
    size: int = 0
    parent: str = field(default="", name="from")
    name: str = ""


class _ReadManifest(Struct):
    config: _ReadLayer | None = None
    layers: list[_ReadLayer] | UnsetType | None = UNSET


def decode_manifest(data: bytes, *, stored: bool = False) -> Manifest:
    """Raises `BadManifest`. One that is in a store already may have `null` for no layers: Ollama writes it so."""
    if len(data) > MAX_MANIFEST:
        raise BadManifest(f"the manifest has {len(data)} bytes; at most {MAX_MANIFEST} are read")
    try:
        read = msgspec.json.decode(data, type=_ReadManifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadManifest(f"the manifest cannot be read: {error}") from None
    if read.config is None:
        raise BadManifest("the manifest has no config")
    layers = [] if stored and read.layers is None else read.layers
    if not isinstance(layers, list):
        raise BadManifest("the manifest has no layers")
    if len(layers) > _MAX_LAYERS:
        raise BadManifest(f"the manifest has {len(layers)} layers; at most {_MAX_LAYERS} are possible")
    return Manifest(config=_layer(read.config), layers=[_layer(layer) for layer in layers])


def encode_manifest(manifest: Manifest) -> bytes:
    """Compact JSON in the protocol's order and a newline; its SHA-256 is the model's digest."""
    wire = _WireManifest(2, MANIFEST, _wire(manifest.config), [_wire(layer) for layer in manifest.layers])
    return msgspec.json.encode(wire) + b"\n"


def decode_config(data: bytes) -> ModelConfigFile:
    """Keys of another type than expected are left out. Raises `BadManifest` for what is not a JSON object."""
    try:
        raw = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadManifest(f"the model's configuration cannot be read: {error}") from None
    fields = {each.encode_name: each for each in msgspec.structs.fields(ModelConfigFile)}
    known: dict[str, Any] = {}
    for key, value in raw.items():
        if key in fields:
            try:
                known[fields[key].name] = msgspec.convert(value, fields[key].type)
            except msgspec.ValidationError:
                continue
    return ModelConfigFile(**known)


def weights_type(format: str) -> str:
    """The media type of the weights of models in that format."""
    return GGML_MODEL if format == GGML else MODEL


def _layer(read: _ReadLayer) -> Layer:
    try:
        digest = parse_digest(read.digest)
    except RemudaError:
        raise BadManifest(f"the manifest has a layer with an invalid digest: {read.digest[:80]!r}") from None
    if not 0 <= read.size <= _MAX_SIZE:
        raise BadManifest(f"the manifest has a layer with the impossible size {read.size}")
    if len(read.media_type) > _MAX_TYPE:
        raise BadManifest("the manifest has a layer with an endless media type")
    return Layer(media_type=read.media_type, digest=digest, size=read.size, parent=read.parent, name=read.name)


def _wire(layer: Layer) -> _WireLayer:
    return _WireLayer(layer.media_type, str(layer.digest), layer.size, layer.parent, layer.name)
