"""`[models]` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..config import ModelConfig
from ..errors import BadRequest, ConfigError
from ..model import ModelEntry, parse_name
from ..wire import parse_options

__all__ = ["configured_models"]


def configured_models(models: Mapping[str, ModelConfig]) -> list[ModelEntry]:
    """`[models]` of the configuration as entries. Raises `ConfigError` that names the key."""
    return [_configured(name, model) for name, model in models.items()]


def _configured(text: str, model: ModelConfig) -> ModelEntry:
    try:
        name = parse_name(text)
        options, unknown = parse_options(model.options)
    except BadRequest as error:
        raise ConfigError(f"models.{text!r}: {error}") from None
    if unknown:
        raise ConfigError(f"models.{text!r}.options: unknown option {unknown[0]!r}")
    path = Path(model.path).expanduser()
    if not path.is_file():
        raise ConfigError(f"models.{text!r}.path: there is no file {model.path!r}")
    return ModelEntry(
        name=name,
        weights=path.absolute(),
        format=model.format,
        backend=model.backend,
        system=model.system,
        options=options,
        source="configuration",
    )
