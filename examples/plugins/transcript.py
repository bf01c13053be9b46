"""A template engine for models that were trained on text alone: a conversation becomes a transcript.

    [models."base:7b"]
    path = "~/models/base-7b.gguf"
    template_engine = "transcript"
    template = "{role}: {content}"

The template is how one message looks. The prompt is one such line for each message, and the beginning of the line that
the assistant writes. An answer ends where the model begins to write the user's next line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from remuda import BadRequest, TemplateTraits, hookimpl
from remuda.hookspecs import RegisterFactory

_CONTENT: Final = "{content}"


class Transcript:
    """A `remuda.TemplateEngine`. Templates are untrusted: names in them are replaced, and nothing is evaluated."""

    async def inspect(self, template: str, *, timeout: float) -> TemplateTraits:
        return TemplateTraits(stops=("\n" + _head(template, "user"),))

    async def render(self, template: str, variables: Mapping[str, Any], *, timeout: float) -> str:
        lines = [_line(template, message["role"], message["content"]) for message in variables["messages"]]
        return "\n".join([*lines, _head(template, "assistant").rstrip()])

    async def close(self) -> None:
        pass


def _line(template: str, role: str, content: str) -> str:
    _, _, tail = template.partition(_CONTENT)
    return _head(template, role) + content + tail


def _head(template: str, role: str) -> str:
    """What stands before the content of a message."""
    head, found, _ = template.partition(_CONTENT)
    if not found or "{role}" not in head:
        raise BadRequest(f"a template for transcripts needs {{role}} and then {_CONTENT}; this one is {template!r}")
    return head.replace("{role}", role.capitalize())


@hookimpl
def remuda_register_templates(register: RegisterFactory) -> None:
    register("transcript", Transcript)
