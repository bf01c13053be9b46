"""A store's models as entries: what their manifests and the small blobs beside the weights say.

Each state of a manifest is read once. What is wrong with a part of a model becomes the entry's `fault`, so that the
model can be listed, and removed, all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from ...errors import BadRequest, RemudaError
from ...wire import parse_options
from ..entry import ModelEntry, Stored
from ..manifest import (
    ADAPTER,
    DRAFT,
    GGML,
    GGML_MODEL,
    LICENSE,
    MESSAGES,
    PARAMS,
    PROJECTOR,
    SYSTEM,
    TEMPLATES,
    WEIGHTS,
    BadManifest,
    Layer,
    ModelConfigFile,
    decode_config,
)
from ..name import ModelName
from ..parameters import parameter_keep_alive, stored_model_type
from .manifests import StoredManifest
from .store import Store
from .verified import FileState

__all__ = ["StoredEntries"]

_log = logging.getLogger("remuda.store")
_MAX_TEXT: Final = 4 * 1024 * 1024
_MAX_TEXTS: Final = 16 * 1024 * 1024
"""Bytes of one small blob, and of all small blobs of a model."""
_ADVICE: Final = "a part of it is missing or damaged; pull it or create it again"

T = TypeVar("T")


class _Message(Struct, frozen=True):
    role: str = ""
    content: str = ""


class _Read(Struct, frozen=True):
    state: FileState
    entry: ModelEntry


class StoredEntries:
    """The models of a store. Blocking; any thread."""

    def __init__(self, store: Store, parsers: frozenset[str]) -> None:
        """`parsers` are the output parsers that there are."""
        self._store, self._parsers = store, parsers
        self._read: dict[ModelName, _Read] = {}
        self._cased: dict[str, ModelName] = {}
        """Names as they are stored, by their keys."""
        self._reported: dict[ModelName, FileState | None] = {}

    def find(self, name: ModelName) -> ModelEntry | None:
        """None when the store has no such model. Raises `BadManifest`."""
        found = self._current(name)
        if found is None and (cased := self._cased.get(name.key)) is not None:
            found = self._current(cased)
        if found is not None:
            return found
        return self._load(name)

    def all(self) -> list[ModelEntry]:
        """Those with a corrupt manifest are left out, which is logged once for each of its states."""
        found: list[ModelEntry] = []
        names = self._store.names()
        for name in names:
            try:
                entry = self._current(name) or self._load(name)
            except RemudaError as error:
                self._report(name, error)
                continue
            if entry is not None:
                found.append(entry)
        for gone in {*self._read, *self._reported} - set(names):
            self._read.pop(gone, None)
            self._reported.pop(gone, None)
            self._cased.pop(gone.key, None)
        return found

    def _current(self, name: ModelName) -> ModelEntry | None:
        """What was read before, if its manifest is still the same."""
        read = self._read.get(name)
        return read.entry if read is not None and read.state == self._store.state(name) else None

    def _load(self, name: ModelName) -> ModelEntry | None:
        while True:
            stored = self._store.find(name)
            if stored is None:
                return None
            self._cased[name.key] = stored.name
            if (entry := self._current(stored.name)) is not None:
                return entry
            reader = _Reader(self._store)
            entry = reader.entry(stored, self._parsers)
            if not reader.missing:
                self._read[stored.name] = _Read(stored.state, entry)
                return entry
            if self._store.state(stored.name) == stored.state:
                return entry  # not kept: what is missing may come back without a new manifest
            # The model was replaced or removed while it was read, and some of the old one's blobs are gone.

    def _report(self, name: ModelName, error: RemudaError) -> None:
        state = self._store.state(name)
        if name not in self._reported or self._reported[name] != state:
            self._reported[name] = state
            _log.warning("%s is not listed: %s", name, error)


class _Reader:
    """Reads one model. What goes wrong is collected."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._room = _MAX_TEXTS
        self._faults: list[str] = []
        self.missing = False

    def entry(self, stored: StoredManifest, parsers: frozenset[str]) -> ModelEntry:
        manifest = stored.manifest
        config = self._config(manifest.config)
        weights = next(manifest.of(*WEIGHTS), None)
        if weights is None:
            self._faults.insert(0, _without_weights(config))
        is_ggml = weights is not None and weights.media_type == GGML_MODEL
        parameters = self._parameters(manifest.of(PARAMS))
        return ModelEntry(
            name=stored.name,
            weights=self._store.blob((weights or manifest.config).digest),
            format=GGML if is_ggml else config.model_format or "gguf",
            model_type=stored_model_type(parameters),
            projector=next(iter(self._paths(manifest.of(PROJECTOR))), None),
            adapters=self._paths(manifest.of(ADAPTER)),
            draft=next(iter(self._paths(manifest.of(DRAFT))), None),
            template=self._last_text(manifest.of(*TEMPLATES)),
            parser=config.parser if config.parser in parsers else None,
            system=self._last_text(manifest.of(SYSTEM)),
            messages=self._messages(manifest.of(MESSAGES)),
            options=self._options(parameters),
            keep_alive=_keep_alive(stored.name, parameters),
            parameters=parameters,
            licenses=tuple(self._text(layer) for layer in manifest.of(LICENSE)),
            source="store",
            stored=Stored(
                digest=stored.digest,
                size=manifest.size,
                modified=stored.modified,
                config=config,
                parent=weights.parent if weights is not None else "",
            ),
            fault=f"model '{stored.name}' cannot be used: {self._faults[0]}" if self._faults else "",
        )

    def _config(self, layer: Layer) -> ModelConfigFile:
        data = self._data(layer)
        try:
            return decode_config(data) if data else ModelConfigFile()
        except BadManifest as error:
            self._faults.append(str(error))
            return ModelConfigFile()

    def _paths(self, layers: Iterable[Layer]) -> tuple[Path, ...]:
        return tuple(self._store.blob(layer.digest) for layer in layers)

    def _last_text(self, layers: Iterable[Layer]) -> str | None:
        """None for an empty one too."""
        texts = [self._text(layer) for layer in layers]
        return (texts[-1] or None) if texts else None

    def _parameters(self, layers: Iterable[Layer]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for layer in layers:
            merged.update(self._decoded(layer, dict[str, Any], "parameters") or {})
        return merged

    def _options(self, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            return parse_options(parameters)[0]
        except BadRequest as error:
            self._faults.append(f"among its parameters, {error}")
            return {}

    def _messages(self, layers: Iterable[Layer]) -> tuple[tuple[str, str], ...]:
        messages: list[_Message] = []
        for layer in layers:
            messages = self._decoded(layer, list[_Message], "messages") or []
        return tuple((message.role, message.content) for message in messages)

    def _decoded(self, layer: Layer, type: type[T], what: str) -> T | None:
        data = self._data(layer)
        try:
            return msgspec.json.decode(data, type=type | None) if data else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._faults.append(f"its {what} cannot be read: {error}")
            return None

    def _text(self, layer: Layer) -> str:
        return self._data(layer).decode(errors="replace")

    def _data(self, layer: Layer) -> bytes:
        try:
            data = self._store.read_blob(layer.digest, min(self._room, _MAX_TEXT))
        except RemudaError as error:
            self.missing |= not isinstance(error, BadManifest)
            self._faults.append(_ADVICE if self.missing else str(error))
            return b""
        self._room -= len(data)
        return data


def _keep_alive(name: ModelName, parameters: dict[str, Any]) -> float | None:
    """None where it cannot be read, too: the model can be served all the same."""
    try:
        return parameter_keep_alive(parameters)
    except BadRequest:
        _log.warning("%s is served without a keep_alive of its own: its parameters have one that is no duration", name)
        return None


def _without_weights(config: ModelConfigFile) -> str:
    if config.remote_host:
        return "its weights are on another server, which this one does not reach"
    return f"it has no weights that can be loaded (its format is {config.model_format or 'unknown'})"
