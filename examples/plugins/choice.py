"""An output format: the answer is one of the texts given, and nothing else. For classification without JSON.

"format": {"type": "choice", "of": ["positive", "negative", "neutral"]}
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from remuda import BadRequest, Constraint, hookimpl
from remuda.hookspecs import RegisterFactory

_HOW: Final = 'ask for {"type": "choice", "of": ["one", "another"]} with up to 1000 texts of up to 1000 characters'


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """The format as a client sends it."""

    type: Literal["choice"]
    of: Annotated[list[Annotated[str, Meta(min_length=1, max_length=1000)]], Meta(min_length=1, max_length=1000)]


class Choice:
    """A `remuda.OutputFormat`. The grammar is one rule of texts in quotes, which Lark escapes as JSON does."""

    async def constraint(self, value: Any, *, timeout: float) -> Constraint:
        try:
            wanted = msgspec.convert(value, Wanted)
        except msgspec.ValidationError as error:
            raise BadRequest(f"invalid format: {error}; {_HOW}") from None
        return Constraint(grammar="start: " + " | ".join(json.dumps(text) for text in wanted.of))

    async def close(self) -> None:
        pass


@hookimpl
def remuda_register_formats(register: RegisterFactory) -> None:
    register("choice", Choice)
