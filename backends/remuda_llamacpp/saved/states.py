"""What the engine asks of stored states. All but `flush` and `close` is called on the engine's own thread.

The index belongs to that thread alone, and the writer never touches it: what was written is found as other processes'
files are, by looking at the folder.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from remuda.errors import without_paths

from ..cache_folder import cut, make, remove
from .file import (
    STATES,
    Damaged,
    model_hash,
    name_of,
    namespace_hash,
    pack,
    read_state,
    size_of,
    touch,
    write_state,
)
from .index import Index
from .writer import Job, Writer

__all__ = ["Saved", "SavedStates"]

_log = logging.getLogger("remuda_llamacpp")
_MOST_PENDING: Final = 2
_MOST_TOKENS: Final = 2**22


class Saved(Struct, frozen=True):
    """A stored state."""

    tokens: int
    """How many it holds."""
    shared: int
    """How many of them, from the start, are those that were asked for: all of these, perhaps."""
    path: Path


class SavedStates:
    """The states of one model in `folder`, which others use as well.

    `key` names everything that a state's bytes depend on: weights, adapters, the kind of cache, the version of
    llama.cpp. All states in the folder together have at most `most_bytes` once a write is done. One that was not used
    for `most_age` seconds is removed.
    """

    def __init__(self, folder: Path, key: str, *, most_bytes: int, most_age: float) -> None:
        self._folder, self._most_bytes, self._most_age = folder, most_bytes, most_age
        self._model = model_hash(key)
        self._index = Index(folder, self._model, most_bytes)
        self._writer = Writer(self._write, _MOST_PENDING)
        self._told: set[str] = set()
        try:
            make(folder)
            cut(folder, STATES, most_bytes, most_age)
        except OSError as error:
            self._tell("saved states cannot be kept", error)
        self._refresh()

    def find(self, tokens: NDArray[np.int32], over: int, namespace: str = "") -> Saved | None:
        """The state that shares the longest prefix with `tokens`, if that is more than `over` tokens.

        Of several the one that holds least. A state is found in its own namespace only.
        """
        self._refresh()
        found = self._index.longest(namespace_hash(namespace), pack(tokens))
        if found is None or found[1] <= over:
            return None
        name, shared, held = found
        return Saved(held, shared, self._folder / name)

    def read(self, saved: Saved) -> NDArray[np.uint8] | None:
        """The bytes of the state, which counts as used now.

        None if they are not there any more, or damaged: it is not found again, but another one may be.
        """
        try:
            header, state = read_state(saved.path, self._most_bytes)
        except Damaged as error:
            self._tell("a saved state was damaged and has been removed", error)
            remove(saved.path)
        except FileNotFoundError:
            pass
        except (OSError, MemoryError) as error:
            self._tell("a saved state could not be read", error)
        else:
            if header.model == self._model:
                touch(saved.path)
                return state
        self._index.drop(saved.path.name)
        return None

    def wants(self, tokens: NDArray[np.int32], size: int, namespace: str = "") -> bool:
        """Whether a state of `size` bytes would be taken: for asking before it is copied out of the cache.

        Not when it is too large, when one that is stored or being written holds these tokens (a stored one counts as
        used now), or when earlier ones are still being written.
        """
        owner, packed = namespace_hash(namespace), pack(tokens)
        if not 0 < len(tokens) <= _MOST_TOKENS or size <= 0 or size_of(packed, size) > self._most_bytes:
            return False
        if any(job.namespace == owner and job.packed.startswith(packed) for job in self._writer.jobs):
            return False
        self._refresh()
        covering = self._index.covering(owner, packed)
        if covering is not None and touch(self._folder / covering):
            return False
        return self._writer.free

    def offer(self, tokens: NDArray[np.int32], state: NDArray[np.uint8], namespace: str = "") -> bool:
        """Give the state of `tokens` to the writer, at once. False if it was not taken, as `wants` says.

        `state` has one dimension, and nobody may change it afterwards. When it is stored, states that hold less of
        the same tokens are removed.
        """
        if not self.wants(tokens, state.size, namespace):
            return False
        owner, packed = namespace_hash(namespace), pack(tokens)
        shorter = self._index.prefixes(owner, packed)
        shorter += [job.name for job in self._writer.jobs if job.namespace == owner and packed.startswith(job.packed)]
        name = name_of(self._model, owner, packed)
        return self._writer.put(Job(name, owner, packed, np.ascontiguousarray(state), shorter))

    def flush(self, seconds: float) -> bool:
        """Wait until nothing is being written. Whether it is so."""
        return self._writer.flush(seconds)

    def close(self, seconds: float) -> None:
        """Write what was taken, as far as `seconds` suffice, and end the thread."""
        self._writer.close(seconds)

    def _refresh(self) -> None:
        try:
            self._index.refresh()
        except FileNotFoundError:
            pass
        except OSError as error:
            self._tell("saved states cannot be listed", error)

    def _write(self, job: Job) -> None:
        try:
            make(self._folder)
            write_state(self._folder / job.name, self._model, job.namespace, job.packed, job.state)
            for name in job.replaces:
                remove(self._folder / name)
            cut(self._folder, STATES, self._most_bytes, self._most_age)
        except Exception as error:  # the thread goes on: the next one may fit
            self._tell("a state could not be saved", error)

    def _tell(self, what: str, error: Exception) -> None:
        """A warning the first time: a disk that stays full would fill the log as well."""
        level = logging.DEBUG if what in self._told else logging.WARNING
        self._told.add(what)
        _log.log(level, "%s: %s", what, without_paths(str(error)))
