"""A scripted engine that really takes the memory that its script says it needs."""

from __future__ import annotations

import mmap
from typing import ClassVar

from remuda.engine import LoadSpec
from remuda.hookspecs import RegisterFactory, hookimpl
from remuda.testing.scripted import Script, ScriptedBackend, ScriptedEngine

__all__ = ["HoardingBackend", "HoardingEngine", "HoardingPlugin"]


class HoardingEngine(ScriptedEngine):
    def __init__(self, script: Script, spec: LoadSpec) -> None:
        super().__init__(script, spec)
        size = script.needs + script.needs_per_token * spec.context * self.parallel
        try:
            self._hoard = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
        except OSError:  # which is how this module tells of a want of memory
            raise MemoryError from None


class HoardingBackend(ScriptedBackend):
    """Takes models of the format `hoarding`. Its process must find this module: `PYTHONPATH`."""

    formats: ClassVar[frozenset[str]] = frozenset({"hoarding"})
    engine: ClassVar[str] = "hoarding:HoardingEngine"


class HoardingPlugin:
    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        register("hoarding", HoardingBackend)
