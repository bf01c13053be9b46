"""What Remuda is told: the backend `llm`, and every model that `llm` has and the settings let through."""

from __future__ import annotations

import logging
from typing import Any

from remuda import RemudaError, hookimpl
from remuda.hookspecs import ReadSettings, RegisterFactory, RegisterModel

from .backend import FORMAT, LlmBackend
from .library import Library, Offer
from .settings import LlmSettings

__all__ = ["LlmPlugin", "plugin"]

_log = logging.getLogger("remuda_llm")


class LlmPlugin:
    def __init__(self) -> None:
        self._library = Library()

    @hookimpl
    def remuda_configure(self, settings: ReadSettings) -> None:
        self._library = Library(settings(LlmSettings))

    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        register("llm", self._backend)

    @hookimpl
    def remuda_register_models(self, register: RegisterModel) -> None:
        for offer in self._offers():
            try:
                register(offer.name, format=FORMAT, backend="llm", capabilities=offer.capabilities)
            except RemudaError as error:  # another plugin has a model of that name: no reason to offer none at all
                _log.warning("the model %r of llm is not offered: %s", offer.id, error)

    def _offers(self) -> list[Offer]:
        """Raises what `llm` raises, with what to do about it: its own words name neither plugin nor file."""
        try:
            return self._library.offers()
        except Exception as error:
            fix = "run `llm models` in the same environment, which fails likewise, until it names the models"
            raise RuntimeError(f"llm cannot say which models it has: {error}\nFix: {fix}") from error

    def _backend(self, settings: dict[str, Any] | None = None) -> LlmBackend:
        return LlmBackend(self._library, settings)


plugin = LlmPlugin()
