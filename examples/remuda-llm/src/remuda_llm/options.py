"""Options of a request as the model's own: each model of `llm` says in its class `Options` which ones it takes.

An option that the model has no field for is passed over, as the protocol does with what a model has no use for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pydantic

from remuda.errors import BadRequest

__all__ = ["model_options"]

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "seed": ("seed",),
    "num_predict": ("max_tokens", "max_output_tokens", "num_predict", "max_new_tokens"),
    "num_ctx": ("num_ctx",),
    "repeat_penalty": ("repeat_penalty", "repetition_penalty"),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "stop": ("stop", "stop_sequences"),
}
"""By options of the protocol: what plugins of `llm` call them."""


def model_options(model: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` are options of the protocol, checked. Raises `BadRequest` for a value that the model does not take."""
    taken: dict[str, Any] = {}
    for name, value in given.items():
        field = next((field for field in _FIELDS.get(name, ()) if field in model.Options.model_fields), None)
        if field is None or _is_default(name, value):
            continue
        if name == "stop":
            taken |= _stop(model, field, value)
        else:
            _check(model, name, {field: value})
            taken[field] = value
    return taken


def _is_default(name: str, value: Any) -> bool:
    """Numbers by which the protocol says that there is no bound, or no seed. An answer of 0 tokens is cut elsewhere."""
    return (name == "num_predict" and value <= 0) or (name == "seed" and value < 0)


def _stop(model: Any, field: str, value: tuple[str, ...]) -> dict[str, Any]:
    """Some models take one text, others a list. Where neither will do, the answer is cut here all the same."""
    forms: list[str | list[str]] = [*value[:1], list(value)] if len(value) == 1 else [list(value)]
    for form in forms:
        try:
            _check(model, "stop", {field: form})
        except BadRequest:
            continue
        return {field: form}
    return {}


def _check(model: Any, name: str, options: dict[str, Any]) -> None:
    try:
        model.Options(**options)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise BadRequest(f'option "{name}" does not suit this model: {reason}') from None
