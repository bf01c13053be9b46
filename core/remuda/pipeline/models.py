"""`[models]` of the configuration as entries of the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..config import ModelConfig, dotted
from ..errors import BadRequest, ConfigError
from ..model import ModelEntry, parse_name
from ..wire import parse_options

__all__ = ["configured_models"]


def configured_models(models: Mapping[str, ModelConfig]) -> list[ModelEntry]:
    """Raises `ConfigError` that names the key. Looks for the files."""
    return [_configured(name, model) for name, model in models.items()]


def _configured(text: str, model: ModelConfig) -> ModelEntry:
    key = dotted(("models", text))
    try:
        name = parse_name(text)
    except BadRequest as error:
        raise ConfigError(f"{key}: {error}") from None
    try:
        options, unknown = parse_options(model.options)
    except BadRequest as error:
        raise ConfigError(f"{key}.options: {error}") from None
    if unknown:
        raise ConfigError(f"{key}.options: unknown option {unknown[0]!r}")
    return ModelEntry(
        name=name,
        weights=_file(model.path, f"{key}.path"),
        projector=_file(model.projector, f"{key}.projector") if model.projector else None,
        draft=_file(model.draft, f"{key}.draft") if model.draft else None,
        format=model.format,
        model_type=model.model_type,
        backend=model.backend,
        template=model.template,
        template_engine=model.template_engine,
        parser=model.parser,
        system=model.system,
        messages=tuple((message.role, message.content) for message in model.messages),
        options=options,
        source="configuration",
    )


def _file(text: str, key: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(f"{key}: there is no file {text!r}")
    return path.absolute()
