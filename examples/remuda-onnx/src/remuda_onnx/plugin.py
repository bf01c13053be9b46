"""Announces the backend "onnx", and the models in a folder. Imported at every start, so it loads no engine."""

from __future__ import annotations

import logging
from pathlib import Path

from msgspec import Struct

from remuda import hookimpl
from remuda.errors import ConfigError, RemudaError
from remuda.hookspecs import ReadSettings, RegisterFactory, RegisterModel

from .found import find_models

__all__ = ["OnnxPlugin", "Settings", "plugin"]

_log = logging.getLogger("remuda_onnx")


class Settings(Struct, frozen=True, kw_only=True):
    """`[plugins.settings.onnx]`."""

    folder: str = ""
    """A folder of models, each in a folder of its own; `~` is the home folder. Empty is none."""


class OnnxPlugin:
    """An object, not a module: what one hook is told, another uses."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    @hookimpl
    def remuda_configure(self, settings: ReadSettings) -> None:
        named = settings(Settings).folder
        self._folder = Path(named).expanduser() if named else None
        if self._folder is not None and not self._folder.is_dir():
            raise ConfigError(f"plugins.settings.onnx.folder: there is no folder {named!r}")

    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        register("onnx", "remuda_onnx.backend:OnnxBackend", hint="pip install --upgrade remuda-onnx")

    @hookimpl
    def remuda_register_models(self, register: RegisterModel) -> None:
        """Those of the folder. They bring their own chat templates along, which the server cannot read from ONNX."""
        for model in find_models(self._folder) if self._folder is not None else ():
            try:
                register(
                    model.name,
                    model.weights,
                    format="onnx",
                    context_length=model.context,
                    template=model.template,
                    template_engine="jinja" if model.template else None,
                )
            except RemudaError as error:  # a name that is taken, or is none: no reason to offer nothing at all
                _log.warning("the model in the file %s is not offered: %s", model.weights, error)


plugin = OnnxPlugin()
"""What the entry point names."""
