"""The test kit: public, and shipped with the package.

`Script`, `ScriptedPlugin` and `write_script` make models that do what a test says; `LiveServer` runs the whole server
on a real socket.
"""

from __future__ import annotations

from .scripted import Script, ScriptedBackend, ScriptedEngine, ScriptedPlugin, write_script
from .server import LiveServer

__all__ = ["LiveServer", "Script", "ScriptedBackend", "ScriptedEngine", "ScriptedPlugin", "write_script"]
