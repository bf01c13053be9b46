"""What tells servers of OpenAI's API apart: which fields each takes beyond the API, and what it cannot do.

Who a server is, its list of models says. What it refused, it is not asked for again (`Learned`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct, field

from .wire import ListedModel

__all__ = ["LLAMA_CPP_PYTHON", "LLAMA_SERVER", "STANDARD", "VLLM", "Flavour", "Learned", "flavour_of"]

_STANDARD: Final[Mapping[str, str]] = {
    name: name for name in ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")
} | {"num_predict": "max_tokens"}


class Flavour(Struct, frozen=True, kw_only=True):
    name: str
    options: Mapping[str, str]
    """Fields by the names of the options that they carry."""
    formats: tuple[str, ...] = ("json_object", "json_schema")
    """Kinds of `response_format` that it may know. "json_object+schema" is a `json_object` with a `schema` in it."""
    raw_format: Literal["", "response_format", "json_schema"] = ""
    """The field that binds what continues a raw prompt, if there is one."""
    enforces: bool = True
    """It says so where it cannot hold an answer to a schema; others then write what they like."""
    suffix: bool = True
    """It takes text that stands behind the answer."""
    thinking: Literal["template", "effort", "none"] = "effort"
    """How it is told to think: by arguments of its template, by `reasoning_effort`, or not at all."""
    forces: Literal["any or one", "any", "one"] = "any or one"
    """What calls it can be made to make: of some tool, of a certain one."""
    one_at_a_time: bool = False
    """It ends the answer that it is writing when the next request comes."""
    request_ids: bool = True
    """It takes any `X-Request-Id`; others refuse requests over it."""


STANDARD: Final = Flavour(name="", options=_STANDARD)
LLAMA_SERVER: Final = Flavour(
    name="llama-server",
    options={
        **_STANDARD,
        **{name: name for name in ("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n")},
        "num_keep": "n_keep",
    },
    raw_format="json_schema",
    suffix=False,
    thinking="template",
    forces="any",
)
LLAMA_CPP_PYTHON: Final = Flavour(
    name="llama-cpp-python",
    options={**_STANDARD, "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repeat_penalty"},
    formats=("json_object+schema",),
    enforces=False,
    thinking="none",
    forces="one",
    one_at_a_time=True,
    request_ids=False,
)
VLLM: Final = Flavour(
    name="vllm",
    options={**_STANDARD, "top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"},
    raw_format="response_format",
    suffix=False,
    thinking="template",
)
_LM_STUDIO: Final = Flavour(
    name="lm-studio",
    options={**_STANDARD, "top_k": "top_k", "repeat_penalty": "repeat_penalty"},
    formats=("json_schema",),
)
_BY_OWNER: Final = {
    "llamacpp": LLAMA_SERVER,
    "me": LLAMA_CPP_PYTHON,
    "vllm": VLLM,
    "organization_owner": _LM_STUDIO,
    "organization-owner": _LM_STUDIO,
}
"""By what `GET /v1/models` says in `owned_by`."""


def flavour_of(listed: Iterable[ListedModel]) -> Flavour:
    """Of the server with these models. A name that users may choose counts only where all models have it."""
    owners = {model.owned_by if isinstance(model.owned_by, str) else "" for model in listed}
    return _BY_OWNER.get(owners.pop(), STANDARD) if len(owners) == 1 else STANDARD


class Learned(Struct):
    """What a server turned out not to take. Forgotten when it was away, since another one may have come back."""

    completion_tokens: bool = False
    """It wants `max_completion_tokens` for `max_tokens`."""
    no_usage: bool = False
    """It does not know `stream_options`."""
    formats: set[str] = field(default_factory=set[str])
    """Kinds of `response_format` that it refused."""
