"""Options as fields of OpenAI's API, or of those servers that take more (Ollama API, "Options")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from remuda.errors import BadRequest
from remuda.wire import RULES

from ..member import Member
from .flavour import Flavour

__all__ = ["option_fields"]

_SEEDS: Final = 2**32
_SAMPLING: Final = frozenset(rule.name for rule in RULES if rule.acts == "sampling")
"""The others are about loading the model, which is the upstream's own affair."""
_OFF: Final[Mapping[str, Any]] = {"top_k": 0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0, "repeat_last_n": 0}
"""Values that ask for nothing: a server that does not know the option fulfils them."""


def option_fields(given: Mapping[str, Any], flavour: Flavour, member: Member) -> dict[str, Any]:
    """The fields for the options that the request gave.

    Raises `BadRequest` naming upstream and option for one that the server cannot honour, unless the configuration
    says to leave those out.
    """
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _SAMPLING or (name == "seed" and value == -1) or (name == "stop" and not value):
            continue
        field = flavour.options.get(name)
        if field is None:
            if _OFF.get(name) != _written(name, value) and member.config.unsupported == "refuse":
                raise BadRequest(
                    f"upstream '{member.name}' cannot do the option \"{name}\": leave it out, or set its "
                    '`unsupported = "ignore"`'
                )
        elif name != "num_predict":
            fields[field] = _written(name, value)
        elif value >= 0:
            # Servers take 0 for "no limit", or write a token all the same: that one is thrown away (`events`).
            fields[field] = max(value, 1)
    return fields


def _written(name: str, value: Any) -> Any:
    match name:
        case "seed":
            return value % _SEEDS
        case "stop":
            return list(value)
        case "top_k":
            return max(value, 0)
        case _:
            return value
