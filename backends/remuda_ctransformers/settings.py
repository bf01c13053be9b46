"""The backend's table of the configuration, checked."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from remuda.errors import LoadFailed
from remuda.model.parameters import MODEL_TYPE

from .native import LIBRARIES

__all__ = ["Settings", "read_settings"]


class Settings(Struct, frozen=True, kw_only=True):
    library: str = "auto"
    """Which of the libraries in the package to use: one of `native.LIBRARIES`."""
    model_type: str = ""
    """What kind of model a GGML file is, as the backend hands it over; empty if the file tells."""


def read_settings(table: dict[str, Any]) -> Settings:
    """Raises `LoadFailed` naming the key, its value and what is allowed. Unknown keys are someone else's."""
    library = table.get("library", "auto")
    if library not in LIBRARIES:
        raise LoadFailed(f"library is {library!r}; it must be one of {', '.join(LIBRARIES)}")
    return Settings(library=library, model_type=table.get(MODEL_TYPE) or "")
