"""What the parameters of a model say beside options: `keep_alive`, how long it stays loaded.

It stands among them because other servers of the protocol skip what they do not know there. Options know nothing of it:
in a request `keep_alive` has a place of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import BadRequest
from ..wire import parse_keep_alive

__all__ = ["KEEP_ALIVE", "parameter_keep_alive"]

KEEP_ALIVE: Final = "keep_alive"
"""Its name."""


def parameter_keep_alive(parameters: Mapping[str, Any]) -> float | None:
    """Seconds, `math.inf` for ever, None where they say nothing. Raises `BadRequest` that names the parameter."""
    try:
        return parse_keep_alive(parameters.get(KEEP_ALIVE))
    except BadRequest as error:
        raise BadRequest(f'parameter "{KEEP_ALIVE}": {error}') from None
