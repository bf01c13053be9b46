"""Chooses the backend of a model by its name, by what kind of file it is, and by how big it is.

    [[plugins.settings.placement.rules]]
    format = "gguf"
    at_most = 200_000_000
    backend = "ctransformers"

    [[plugins.settings.placement.rules]]
    model = "team/*"
    backend = "llamacpp"

The first rule that fits decides. `[[routes]]` go by names alone and are asked before, and so is the model itself.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec import Struct

from remuda import ModelEntry, hookimpl
from remuda.hookspecs import ReadSettings


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    backend: str
    """As `remuda plugins` lists it."""
    model: str = "*"
    """A glob over whole names, tag included, without regard to case."""
    format: str = ""
    """What kind of file it is; empty for any."""
    at_most: int = 0
    """Bytes of the weights; 0 is no bound."""

    def fits(self, model: ModelEntry) -> bool:
        name = str(model.name).lower()
        right_kind = self.format in {"", model.format} and fnmatchcase(name, self.model.lower())
        return right_kind and (not self.at_most or _size(model) <= self.at_most)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rules: tuple[Rule, ...] = ()


_rules: list[Rule] = []


@hookimpl
def remuda_configure(settings: ReadSettings) -> None:
    _rules[:] = settings(Settings).rules


@hookimpl
def remuda_select_backend(model: ModelEntry) -> str | None:
    return next((rule.backend for rule in _rules if rule.fits(model)), None)


def _size(model: ModelEntry) -> int:
    """0 for a model without a file."""
    return model.weights.stat().st_size if model.weights.is_file() else 0
