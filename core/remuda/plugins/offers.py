"""Registries for plugins: what a factory of theirs makes is looked at before it is used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from msgspec import Struct

from ..backend import Backend
from ..errors import PluginError, RemudaError
from ..hookspecs import Filter, OutputFormat, TemplateEngine
from ..output import ParserKind
from ..registry import Registry

__all__ = ["Call", "Offers", "backends", "filters", "formats", "parsers", "templates"]

T = TypeVar("T")
Call = Callable[[str, Callable[[], object]], object]
"""`call(plugin, function)`: the function called in that plugin's thread, for no longer than a start may take."""

_log = logging.getLogger("remuda.plugins")


class Promise(Struct, frozen=True):
    """What a factory's product must be."""

    name: str
    base: type | None = None
    methods: tuple[str, ...] = ()

    def kept(self, made: object) -> bool:
        if self.base is not None:
            return isinstance(made, self.base)
        return all(callable(getattr(made, name, None)) for name in self.methods)


_BACKEND: Final = Promise("remuda.Backend", base=Backend)
_PARSER: Final = Promise("remuda.ParserKind", base=ParserKind)
_TEMPLATE: Final = Promise("remuda.TemplateEngine", methods=("inspect", "render", "close"))
_FORMAT: Final = Promise("remuda.OutputFormat", methods=("constraint", "close"))
_FILTER: Final = Promise("remuda.Filter", methods=("wrap",))


class Offers(Registry[T]):
    """A registry that names the plugin when its factory fails or makes something else than was promised."""

    def __init__(self, kind: str, promise: Promise, call: Call, *, at_start: bool = False) -> None:
        """`at_start`: made before requests are served, when a factory may be given up as anything else at start."""
        super().__init__(kind)
        self._promise, self._call, self._at_start = promise, call, at_start

    def resolve(self, name: str) -> Callable[..., object]:
        """As `Registry.resolve`; the import is done in the plugin's thread."""
        offer = self._offers.get(name)
        if offer is None or callable(offer.factory):
            return super().resolve(name)
        found: Any = self._call(offer.source, partial(super().resolve, name))
        return found

    def get(self, name: str, *args: object) -> T:
        """As `Registry.get`. Raises `PluginError` for a factory that fails, or makes what it should not."""
        if name in self._made:
            return self._made[name]
        factory = self.resolve(name)
        offer = self._offers[name]
        which = f"the {self._kind} {name!r} of plugin {offer.source!r}"
        try:
            made: Any = self._call(offer.source, lambda: factory(*args)) if self._at_start else factory(*args)
        except RemudaError:
            raise
        except Exception as error:
            _log.exception("%s could not be made", which)
            raise PluginError(f"{which} could not be made: {type(error).__name__}: {error}") from error
        if not self._promise.kept(made):
            wanted = self._promise.name
            text = f"{which} is a {type(made).__name__} and no {wanted}: its factory must return one"
            raise PluginError(text)
        self._made[name] = made
        return made


def backends(call: Call) -> Offers[Backend]:
    return Offers("backend", _BACKEND, call)


def templates(call: Call) -> Offers[TemplateEngine]:
    return Offers("template engine", _TEMPLATE, call)


def formats(call: Call) -> Offers[OutputFormat]:
    return Offers("format", _FORMAT, call)


def parsers(call: Call) -> Offers[ParserKind]:
    return Offers("parser", _PARSER, call)


def filters(call: Call) -> Offers[Filter]:
    return Offers("filter", _FILTER, call, at_start=True)
