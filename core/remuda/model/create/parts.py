"""The layers of a model that is being made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct, field, structs

from ..digest import Digest
from ..manifest import WEIGHTS, Layer, ModelConfigFile
from ..store import Pins, Store

__all__ = ["MAX_KEPT", "MAX_TEXT", "Basis", "Part", "adopt", "keep", "stored"]

MAX_TEXT: Final = 1024 * 1024
"""Bytes of each text and list that comes with a request."""
MAX_KEPT: Final = 4 * 1024 * 1024
"""Bytes of each text and list of a model that is there."""


class Part(Struct, frozen=True):
    """A layer whose blob is in the store and pinned."""

    layer: Layer
    new: bool = False
    """Whether the store had no such blob before."""
    note: str = ""
    """What progress says of it in place of that."""

    @property
    def status(self) -> str:
        """Its line of progress."""
        return self.note or f"{'creating new' if self.new else 'using existing'} layer {self.layer.digest}"


class Basis(Struct, frozen=True, kw_only=True):
    """What a new model begins with, before its texts."""

    parts: list[Part] = field(default_factory=list[Part])
    config: ModelConfigFile = field(default_factory=ModelConfigFile)
    outside: Path | None = None
    """Weights that are no part yet: they lie outside the store."""
    parent: str = ""
    """The model that it is based on."""

    def first(self, *media_types: str) -> Part | None:
        return next((part for part in self.parts if part.layer.media_type in media_types), None)

    def without(self, media_type: str) -> Basis:
        return structs.replace(self, parts=[part for part in self.parts if part.layer.media_type != media_type])

    def with_weights(self, part: Part, file_type: str = "") -> Basis:
        """The same with other weights in place of those of that type; `file_type` is how precise they are now."""
        config = structs.replace(self.config, file_type=file_type) if file_type else self.config
        rest = self.without(part.layer.media_type).parts
        is_model = part.layer.media_type in WEIGHTS
        parts = [part, *rest] if is_model else [*rest, part]
        outside = None if is_model else self.outside
        return structs.replace(self, parts=parts, config=config, outside=outside)


def keep(store: Store, pins: Pins, media_type: str, data: bytes, *, note: str = "") -> Part:
    """`data` as a part."""
    digest, new = store.put(data, pins)
    return Part(Layer(media_type=media_type, digest=digest, size=len(data)), new, note)


def adopt(
    store: Store,
    pins: Pins,
    media_type: str,
    source: Path,
    *,
    parent: str = "",
    check: Callable[[], None] = lambda: None,
) -> Part:
    """A copy of a file of this machine as a part. Blocking, and slow for a large file; `check` may raise to give up."""
    return stored(store, media_type, store.adopt(source, pins, check=check), parent=parent)


def stored(store: Store, media_type: str, digest: Digest, *, parent: str = "") -> Part:
    """A blob as a part."""
    return Part(Layer(media_type=media_type, digest=digest, size=store.blob_size(digest), parent=parent))
