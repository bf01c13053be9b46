"""What the parameters of a model say beside options: `keep_alive`, how long it stays loaded, and `model_type`, what
kind of model weights in GGML are.

They stand among them because other servers of the protocol skip what they do not know there. Options know nothing of
them: in a request `keep_alive` has a place of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import BadRequest
from ..wire import parse_keep_alive
from .ggml import KNOWN_TYPES, known_type

__all__ = ["KEEP_ALIVE", "MODEL_TYPE", "parameter_keep_alive", "parameter_model_type", "stored_model_type"]

KEEP_ALIVE: Final = "keep_alive"
MODEL_TYPE: Final = "model_type"


def parameter_keep_alive(parameters: Mapping[str, Any]) -> float | None:
    """Seconds, `math.inf` for ever, None where they say nothing. Raises `BadRequest` that names the parameter."""
    try:
        return parse_keep_alive(parameters.get(KEEP_ALIVE))
    except BadRequest as error:
        raise BadRequest(f'parameter "{KEEP_ALIVE}": {error}') from None


def parameter_model_type(parameters: Mapping[str, Any]) -> str:
    """One of `MODEL_TYPES`; empty where they say nothing. Raises `BadRequest` that names the parameter."""
    value = parameters.get(MODEL_TYPE)
    if value is None:
        return ""
    known = known_type(value) if isinstance(value, str) else None
    if known is None:
        raise BadRequest(f'parameter "{MODEL_TYPE}" is {repr(value)[:80]}; it must be one of {KNOWN_TYPES}')
    return known


def stored_model_type(parameters: Mapping[str, Any]) -> str | None:
    """What parameters that nobody checked say, to be checked together with the weights."""
    value = parameters.get(MODEL_TYPE)
    return value if isinstance(value, str) else None
