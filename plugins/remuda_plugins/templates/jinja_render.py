"""Renders Jinja chat templates in the sandbox, in an environment as published chat templates are written for.

That is transformers' `apply_chat_template`: blocks trimmed, `raise_exception`, `strftime_now`, loop controls,
`generation` blocks, and a `tojson` that keeps text readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn, cast

from jinja2 import Template, TemplateError
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .jinja_data import shape, to_json
from .jinja_traits import think_tags

__all__ = ["Refused", "forget", "render"]

_LONGEST_PROMPT = 16 * 1024 * 1024
_HARMONY = "<|start|>assistant"
"""How a harmony prompt ends: the answer begins with the name of a channel."""


class Refused(TemplateError):
    """What a template's own `raise_exception` raises."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Lists can change: some published templates collect messages, and everything they can reach is theirs alone."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return (isinstance(obj, list) and attr in {"append", "pop"}) or super().is_safe_attribute(obj, attr, value)


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}` marks the assistant's text for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - the base class has it as a variable of the instance

    def parse(self, parser: Parser) -> Node | list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def render(template: str, canonical: Mapping[str, Any]) -> str:
    """The prompt. Raises whatever the template raises: it is a program."""
    shaped = shape(template, canonical)
    pieces: list[str] = []
    left = _LONGEST_PROMPT
    for piece in _compiled(template).generate(shaped.variables):
        left -= len(piece)
        if left < 0:
            raise Refused(f"the prompt is longer than {_LONGEST_PROMPT} characters")
        pieces.append(piece)
    prompt = "".join(pieces)
    return prompt if shaped.prefill is None else _continued(prompt, shaped.prefill, *think_tags(template))


def forget() -> None:
    """Give back the memory that compiled templates take."""
    _compiled.cache_clear()


@lru_cache(maxsize=32)
def _compiled(template: str) -> Template:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation])
    environment.filters["tojson"] = to_json
    # Jinja's own annotation of `globals` knows only what it puts there itself.
    names: dict[str, Any] = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    cast(dict[str, Any], environment.globals).update(names)
    return environment.from_string(template)


def _continued(prompt: str, message: Mapping[str, Any], open_: str, close: str) -> str:
    """The prompt and the beginning of the answer. Thinking that the prompt has begun is ended before the content."""
    content, thinking = message.get("content", ""), message.get("thinking", "")
    if prompt.endswith(_HARMONY):
        before = f"<|channel|>analysis<|message|>{thinking}<|end|>{_HARMONY}" if thinking else ""
        return f"{prompt}{before}<|channel|>final<|message|>{content}"
    begun = bool(open_) and prompt.rstrip().endswith(open_)
    if not open_ or close in content or not (thinking or (begun and content)):
        return prompt + content
    prompt += thinking if begun else f"{open_}\n{thinking}"
    return f"{prompt}\n{close}\n\n{content}" if content else prompt


def _raise_exception(message: object) -> NoReturn:
    raise Refused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now(UTC).astimezone().strftime(form)
