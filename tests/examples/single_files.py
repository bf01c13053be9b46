"""The plugins in examples/plugins, loaded as `remuda serve --plugins-dir` loads them, or one module by itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from msgspec import structs

from remuda.config import Config, load_config
from remuda.plugins import Plugins, load_plugins
from remuda.testing import ScriptedPlugin

__all__ = ["FILES", "FOLDER", "configured", "load", "load_module"]

FOLDER = Path(__file__).parents[2] / "examples" / "plugins"
FILES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def configured(text: str, folder: Path) -> Config:
    """A configuration file of that text, read, with the folder of plugins in it. Raises `ConfigError`."""
    file = folder / "remuda.toml"
    file.write_text(text)
    config = load_config(file, {})
    return structs.replace(config, plugins=structs.replace(config.plugins, dir=str(FOLDER)))


def load(config: Config) -> Plugins:
    """All plugins, and the scripted backend. Raises `ConfigError`."""
    return load_plugins(extra=[("scripted", ScriptedPlugin())], config=config)


def load_module(name: str) -> ModuleType:
    """The module of one file, made anew."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where msgspec looks for what annotations name
    spec.loader.exec_module(module)
    return module
