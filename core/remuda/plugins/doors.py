"""The `register` arguments: where a plugin hands over what it brings, while it is asked for it and no longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, ValidationError, convert, structs

from ..errors import BadRequest, PluginError
from ..model.entry import NO_WEIGHTS, ModelEntry
from ..model.ggml import KNOWN_TYPES, known_type
from ..model.name import parse_name
from ..registry import Offer, Registry
from .record import Plugin

__all__ = ["Door", "factory_door", "model_door"]


class _Told(Struct, kw_only=True):
    """What a plugin tells of a model, which may have any type at all."""

    format: str
    model_type: str | None
    backend: str | None
    capabilities: tuple[str, ...]
    context_length: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    template: str | None
    template_engine: str | None


class Door:
    """Open while a hook is called. One that was given up, or kept its `register`, must not hand over anything later."""

    def __init__(self) -> None:
        self.open = True

    def check(self) -> None:
        if not self.open:
            raise PluginError("register was called too late\nFix: call it before the hook returns")


def factory_door(door: Door, info: Plugin, registry: Registry[Any], kind: str) -> Callable[..., None]:
    """A `RegisterFactory` for `info`."""

    def register(name: str, factory: str | Callable[..., object], *, hint: str = "") -> None:
        door.check()
        named = isinstance(name, str) and name and name.isprintable()  # pyright: ignore[reportUnnecessaryIsInstance]
        where = factory.partition(":") if isinstance(factory, str) else ("-", ":", "-")
        if not named or not all(where) or not (isinstance(factory, str) or callable(factory)):
            text = f"the {kind} {name!r} is registered with {factory!r}"
            raise PluginError(f'{text}\nFix: register a name and a factory: a callable or "package.module:name"')
        registry.add(Offer(name, factory, hint, info.name))
        info.provides.append(f"{kind} {name}")

    return register


def model_door(door: Door, info: Plugin, models: dict[str, ModelEntry]) -> Callable[..., None]:
    """A `RegisterModel` for `info`."""

    def register(
        name: str,
        weights: Path | None = None,
        *,
        format: str = "gguf",
        model_type: str | None = None,
        backend: str | None = None,
        capabilities: Sequence[str] = (),
        context_length: int = 0,
        template: str | None = None,
        template_engine: str | None = None,
    ) -> None:
        door.check()
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PluginError(f"a model is registered as {name!r}\nFix: register a name, such as 'steam:tiny'")
        try:
            parsed = parse_name(name)
        except BadRequest as error:
            raise PluginError(f"{error}: {name!r}\nFix: register a name, such as 'steam:tiny'") from None
        if parsed.key in models:
            text = f"model {name!r} is registered twice: {models[parsed.key].source!r} has it too"
            raise PluginError(f"{text}\nFix: give it another name, or uninstall one of the two plugins")
        told = {
            "format": format,
            "model_type": model_type,
            "backend": backend,
            "capabilities": capabilities,
            "context_length": context_length,
            "template": template,
            "template_engine": template_engine,
        }
        try:
            right = structs.asdict(convert(told, _Told))
        except ValidationError as error:
            raise PluginError(f"model {name!r}: {error}\nFix: give each argument the type that it has") from None
        if model_type is not None and known_type(model_type) is None:
            raise PluginError(f"model {name!r}: model_type is {model_type!r}; it must be one of {KNOWN_TYPES}")
        weights = NO_WEIGHTS if weights is None else Path(weights)
        entry = ModelEntry(name=parsed, weights=weights, source=info.name, **right)
        models[parsed.key] = entry
        info.provides.append(f"model {parsed}")

    return register
