"""Plugins that are single files in one folder: each `*.py` whose name begins with neither `_` nor a dot.

A file is a module under the name of its stem, so that its own classes can be named: `"stem:Class"`. The folder is put
at the very end of where Python looks for modules: it hides nothing that is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from ..errors import ConfigError, PluginError

__all__ = ["files", "load_file"]

_OURS = "__remuda_plugin__"


class _Loader(SourceFileLoader):
    """Reads the source each time: a cache goes by seconds, and who tries a plugin changes it more often."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def files(folder: Path) -> list[Path]:
    """The plugins of the folder, sorted. Raises `ConfigError` if there is no such folder."""
    if not folder.is_dir():
        raise ConfigError(f"plugins.dir: there is no folder {str(folder)!r}")
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".py" and path.name[0] not in "_.")
    except OSError as error:
        raise ConfigError(f"plugins.dir: the folder {str(folder)!r} cannot be read: {error.strerror}") from None


def load_file(path: Path) -> ModuleType:
    """Run the file anew, as the module that is named by its stem. Raises `PluginError`, and whatever it raises."""
    name = path.stem
    if not name.isidentifier():
        raise PluginError(f"{path.name} has a name that no module can have\nFix: rename it: letters, digits and _ only")
    known = sys.modules.get(name)
    if (known is not None and not hasattr(known, _OURS)) or (known is None and _installed(name, path.parent)):
        raise PluginError(f"{path.name} is named like a module that is installed\nFix: rename it")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = ModuleSpec(name, _Loader(name, str(path)), origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    setattr(module, _OURS, True)
    sys.modules[name] = module
    try:
        _Loader(name, str(path)).exec_module(module)
    except BaseException:
        if sys.modules.get(name) is module:
            del sys.modules[name]
        raise
    return module


def _installed(name: str, folder: Path) -> bool:
    """Whether the name means a module elsewhere."""
    spec = importlib.util.find_spec(name)
    return spec is not None and (spec.origin is None or Path(spec.origin).parent != folder)
