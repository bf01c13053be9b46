"""Which backend serves a model: a pure decision.

The order is fixed: the configuration's route table, then what the model itself says, then plugins, then the first
registered backend that takes the model's format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .config import RouteConfig
from .errors import EngineError
from .model.entry import ModelEntry
from .model.manifest import GGML

__all__ = ["choose_backend"]


def choose_backend(
    model: ModelEntry,
    routes: Iterable[RouteConfig],
    select: Callable[[ModelEntry], str | None],
    formats: Mapping[str, frozenset[str]],
) -> str:
    """The backend's name. `formats` maps each known backend, in order of registration, to the formats it takes.

    Raises `EngineError` that names the model's format and the backends there are.
    """
    name = str(model.name)
    for route in routes:
        if route.matches(name):
            return route.backend
    chosen = model.backend or select(model)
    if chosen is not None:
        return chosen
    for backend, taken in formats.items():
        if model.format in taken:
            return backend
    known, extra = ", ".join(formats) or "none", "ctransformers" if model.format == GGML else "llamacpp"
    raise EngineError(
        f"no backend takes {model.format!r} models (there are: {known}); "
        f"add one, such as remuda[{extra}], or see with `remuda plugins` whether one is broken"
    )
