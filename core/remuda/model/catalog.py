"""Which models there are, by name, with what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from ..errors import BadRequest, ModelNotFound, Unavailable
from ..wire.models import Details
from .digest import parse_digest
from .entry import NO_WEIGHTS, REMOTE, ModelEntry
from .facts import ModelFacts, file_digest, read_facts
from .name import ModelName, parse_name
from .source import without_source
from .store import BlobMissing, Pins, Store, incomplete
from .store.entries import StoredEntries
from .weights import WeightsError

__all__ = ["CONFIGURED", "Catalog", "Elsewhere"]

CONFIGURED: Final = "configuration"
"""The `source` of entries that come before those of the store; all others come after."""

_MOST: Final = 10_000
_State = tuple[str, str | None, Path, Path | None, tuple[int, int], tuple[str, float] | None]
"""A model that keeps its files, their times and sizes, and its manifest, keeps what is known of it."""
T = TypeVar("T")


class Elsewhere(Protocol):
    """Models that are not on this machine. Neither method looks further than memory."""

    def routed(self, name: ModelName) -> bool:
        """Whether the model must be one from there, whatever there is here."""
        ...

    def find(self, name: ModelName) -> ModelEntry | None:
        """The model, if it may and can be had from there."""
        ...


class Catalog:
    """Entries by name; facts and digests read once for each state of a model. All methods may read files."""

    def __init__(
        self, entries: Iterable[ModelEntry], store: Store | None = None, *, parsers: frozenset[str] = frozenset()
    ) -> None:
        """`entries` are the configured and the shipped models; of two with one name the later one stays.

        `parsers` are the output parsers that there are: a stored model that wishes for another one gets none.
        """
        self.store = store
        self._fixed = {entry.name.key: entry for entry in entries}
        self._stored = StoredEntries(store, parsers) if store is not None else None
        self._facts = _Cache(read_facts)
        self._digests = _Cache(file_digest)
        self._aliases: dict[str, ModelName] = {}
        self.elsewhere: Elsewhere | None = None
        """Where `find` looks for what is not here. `entries` leaves its models out."""

    def set_aliases(self, aliases: Mapping[str, str]) -> None:
        """From now on these other names, and no more, stand for models. Raises `BadRequest` for what is no name.

        An alias comes before a model of the same name, and does not lead to another alias.
        """
        self._aliases = {parse_name(alias).key: parse_name(target) for alias, target in aliases.items()}

    def entries(self) -> list[ModelEntry]:
        """Every model once, as `find` would find it; no aliases. Stored ones with a corrupt manifest are left out, and
        logged."""
        stored = [entry for entry in (self._stored.all() if self._stored else []) if not self._is_configured(entry)]
        names = {entry.name.key for entry in stored}
        entries = [entry for key, entry in self._fixed.items() if key not in names] + stored
        aliases = self._aliases
        return [entry for entry in entries if entry.name.key not in aliases]

    def find(self, name: str) -> ModelEntry:
        """Raises `BadRequest` for what is no name, `ModelNotFound`, which repeats it as typed, `Forbidden` for the
        cloud, and `BadManifest`.

        A model whose own tag is `local` or `cloud` is found before these are read as a source. An alias gives the entry
        of the model it stands for, under that model's own name.
        """
        _, entry = self._found(name)
        if entry is None:
            raise ModelNotFound(name)
        return entry

    def named(self, text: str) -> ModelName:
        """The name that `text` is here: an alias's own, or else that of the model. Raises as `find` does."""
        return self._found(text)[0]

    def alias(self, name: ModelName) -> ModelName | None:
        """The model, which may be missing, that `name` stands for; None if it is no alias."""
        return self._aliases.get(name.key)

    def fixed(self, name: ModelName) -> ModelEntry | None:
        """The configured or shipped model of that name, which the store cannot change."""
        return self._fixed.get(name.key)

    def facts(self, entry: ModelEntry) -> ModelFacts:
        """Blocking. Raises `WeightsError` for weights that cannot be read, unless the store says what they are.

        Of a model that is not on this machine nothing is known.
        """
        if entry.format == REMOTE:
            return ModelFacts(details=Details(format=REMOTE), size=0, modified=0.0)
        return self._facts.get(entry)

    def digest(self, entry: ModelEntry) -> str:
        """64 hex digits. Blocking, and slow the first time for a model outside the store: the whole file is read.

        Raises `WeightsError`.
        """
        return entry.stored.digest if entry.stored else self._digests.get(entry)

    def hold(self, entry: ModelEntry) -> Pins | None:
        """The files of a stored model, checked, and kept from being removed until they are closed; None for others.

        Raises `LoadFailed` when one is not what it was, `ModelNotFound` and `Unavailable` when the model was removed or
        replaced since `entry` was found. Blocking, and slow the first time: whole files are read.
        """
        if self.store is None or entry.stored is None:
            return None
        pins = self.store.pin()
        try:
            for path in (entry.weights, entry.projector, entry.draft, *entry.adapters):
                if path is not None:
                    digest = parse_digest(path.name)
                    pins.add(digest)
                    self.store.verify(digest)
        except BlobMissing:
            pins.close()
            now = self._lookup(entry.name)
            if now is None:
                raise ModelNotFound(str(entry.name)) from None
            if now.stored != entry.stored:
                raise Unavailable(f"model '{entry.name}' was replaced at this moment: try again") from None
            raise incomplete(entry.name) from None
        except BaseException:
            pins.close()
            raise
        return pins

    def _found(self, text: str) -> tuple[ModelName, ModelEntry | None]:
        aliases = self._aliases
        for reading in _readings(text):
            if (target := aliases.get(reading.key)) is not None:
                return reading, self._lookup(target)
            if (entry := self._lookup(reading)) is not None:
                return entry.name, entry
        raise ModelNotFound(text)

    def _lookup(self, name: ModelName) -> ModelEntry | None:
        if self.elsewhere is None:
            return self.here(name)
        if self.elsewhere.routed(name):
            return self.elsewhere.find(name)
        return self.here(name) or self.elsewhere.find(name)

    def here(self, name: ModelName) -> ModelEntry | None:
        """The model of this machine, or None."""
        fixed = self._fixed.get(name.key)
        if self._stored is None or (fixed is not None and fixed.source == CONFIGURED):
            return fixed
        return self._stored.find(name) or fixed

    def _is_configured(self, entry: ModelEntry) -> bool:
        fixed = self._fixed.get(entry.name.key)
        return fixed is not None and fixed.source == CONFIGURED


def _readings(text: str) -> Iterator[ModelName]:
    """What a name may mean, the most literal first. Raises `BadRequest`, and `Forbidden` for the cloud."""
    try:
        asked = parse_name(text)
    except BadRequest:
        asked = None
    if asked is not None:
        yield asked
    plain = parse_name(without_source(text))
    if plain != asked:
        yield plain


class _Cache(Generic[T]):
    """What `read` says of an entry, once for each state of it."""

    def __init__(self, read: Callable[[ModelEntry], T]) -> None:
        self._read = read
        self._values: dict[ModelName, tuple[_State, T]] = {}

    def get(self, entry: ModelEntry) -> T:
        state = _state(entry)
        known = self._values.get(entry.name)
        if known is not None and known[0] == state:
            return known[1]
        value = self._read(entry)
        if len(self._values) >= _MOST:
            self._values.clear()
        self._values[entry.name] = (state, value)
        return value


def _state(entry: ModelEntry) -> _State:
    file = (0, 0)
    if entry.weights != NO_WEIGHTS:
        try:
            stat = entry.weights.stat()
            file = (stat.st_mtime_ns, stat.st_size)
        except OSError:
            if entry.stored is None:
                raise WeightsError("the weights are not there any more") from None
    stored = (entry.stored.digest, entry.stored.modified) if entry.stored else None
    return entry.format, entry.model_type, entry.weights, entry.projector, file, stored
