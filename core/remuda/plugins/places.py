"""Where a plugin's code lies, so that a frame of a stack can be told to be one of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, ModuleType

__all__ = ["culprit", "place_of"]

_OTHERS = {"remuda", "__main__", *sys.stdlib_module_names}
"""What a plugin may be an object of without its being the plugin's."""
_HERE = str(Path(__file__).parents[1]) + os.sep


def place_of(plugin: object) -> str:
    """The folder of the package that the plugin is in, or its file; empty where that cannot be told."""
    module = plugin if isinstance(plugin, ModuleType) else sys.modules.get(type(plugin).__module__)
    if module is None:
        return ""
    top = module.__name__.partition(".")[0]
    if top in _OTHERS:
        return ""
    module = sys.modules.get(top, module)
    paths = list(getattr(module, "__path__", ()))
    return str(paths[0] if paths else getattr(module, "__file__", None) or "")


def culprit(frame: FrameType | None, places: Mapping[str, str]) -> tuple[str, str] | None:
    """Whose code runs in `frame`, and where, by the places of plugins; None if it is nobody's of these.

    What a plugin has called counts as its own, but not what Remuda does for it.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_HERE):
            return None
        for name, place in places.items():
            if code.co_filename == place or code.co_filename.startswith(place + os.sep):
                return name, f"{code.co_name} ({os.path.basename(code.co_filename)}, line {frame.f_lineno})"
        frame = frame.f_back
    return None
