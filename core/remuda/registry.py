"""Things by name, each made on first use.

A registry takes factories while plugins register and hands out objects later. A name is taken once; a miss says
what is known and, when a package is missing, how to install it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from msgspec import Struct

from .errors import BadRequest, PluginError

__all__ = ["Offer", "Registry"]

T = TypeVar("T")


class Offer(Struct, frozen=True):
    """One registered name."""

    name: str
    factory: str | Callable[..., object]
    """A callable, or `"package.module:attribute"`, imported when the thing is first made."""
    hint: str
    """How to install what the factory needs, for the error message."""
    source: str
    """The plugin that registered it."""


class Registry(Generic[T]):
    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._offers: dict[str, Offer] = {}
        self._made: dict[str, T] = {}

    def add(self, offer: Offer) -> None:
        """Raises `PluginError` if the name is taken, naming both plugins."""
        taken = self._offers.get(offer.name)
        if taken is not None:
            text = f"{self._kind} {offer.name!r} is registered twice, by {taken.source!r} and by {offer.source!r}"
            raise PluginError(f"{text}\nFix: give it another name, or uninstall one of the two plugins")
        self._offers[offer.name] = offer

    def names(self) -> list[str]:
        return sorted(self._offers)

    def offers(self) -> list[Offer]:
        """In the order of registration."""
        return list(self._offers.values())

    def made(self) -> list[T]:
        return list(self._made.values())

    def resolve(self, name: str) -> Callable[..., object]:
        """The factory itself, imported if need be. Raises `BadRequest` on an unknown name, `PluginError` otherwise."""
        offer = self._offers.get(name)
        if offer is None:
            known = ", ".join(self.names()) or "none"
            raise BadRequest(f"unknown {self._kind} {name!r}; known: {known}")
        if callable(offer.factory):
            return offer.factory
        module, _, attribute = offer.factory.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            hint = f"; install it with: {offer.hint}" if offer.hint else ""
            raise PluginError(f"{self._kind} {name!r} is not installed ({error}){hint}") from error
        except AttributeError as error:
            raise PluginError(f"{self._kind} {name!r} of plugin {offer.source!r}: {error}") from error

    def get(self, name: str, *args: object) -> T:
        """The object, made with `args` on first use and kept."""
        if name not in self._made:
            self._made[name] = cast(T, self.resolve(name)(*args))
        return self._made[name]
