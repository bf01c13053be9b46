"""The test kit: public, and shipped with the package.

`Script`, `ScriptedPlugin` and `write_script` make models that do what a test says; `LiveServer` runs the whole server
on a real socket, and `remuda.testing.fixtures` are pytest fixtures of both. `EngineConformance` and
`BackendConformance` are tests to be inherited by those of a plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .scripted import Script, ScriptedBackend, ScriptedEngine, ScriptedPlugin, write_script

if TYPE_CHECKING:
    from .conformance import BackendConformance, EngineConformance
    from .server import LiveServer

__all__ = [
    "BackendConformance",
    "EngineConformance",
    "LiveServer",
    "Script",
    "ScriptedBackend",
    "ScriptedEngine",
    "ScriptedPlugin",
    "write_script",
]


def __getattr__(name: str) -> object:
    """What is heavy, when it is wanted: a runner with the scripted engine has no use for pytest or a web framework."""
    if name == "LiveServer":
        from .server import LiveServer

        return LiveServer
    if name in {"BackendConformance", "EngineConformance"}:
        from . import conformance

        return getattr(conformance, name)
    raise AttributeError(name)
