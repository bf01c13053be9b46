"""Run as a program: `remuda` with the scripted backend among its plugins."""

from __future__ import annotations

from remuda.cli import make_cli
from remuda.plugins import load_plugins
from remuda.testing import ScriptedPlugin

__all__: list[str] = []

if __name__ == "__main__":
    make_cli(lambda: load_plugins(extra=[("scripted", ScriptedPlugin())])).main(prog_name="remuda")
