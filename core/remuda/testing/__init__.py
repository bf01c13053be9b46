"""The test kit: public, and shipped with the package.

`Script`, `ScriptedPlugin` and `write_script` make models that do what a test says; `LiveServer` runs the whole server
on a real socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .scripted import Script, ScriptedBackend, ScriptedEngine, ScriptedPlugin, write_script

if TYPE_CHECKING:
    from .server import LiveServer

__all__ = ["LiveServer", "Script", "ScriptedBackend", "ScriptedEngine", "ScriptedPlugin", "write_script"]


def __getattr__(name: str) -> object:
    """`LiveServer` when it is wanted: a runner that hosts the scripted engine has no use for a web framework."""
    if name == "LiveServer":
        from .server import LiveServer

        return LiveServer
    raise AttributeError(name)
