"""The two template engines: `jinja` for the chat template inside the weights, `go` for a Modelfile's or a request's.

A template is somebody else's program. Neither a sandbox nor a budget surely keeps it from running for ever or asking
for a gigabyte, so both engines put it to a process that can be killed, with little memory and under a deadline.
Prompts go through one by one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Struct

from remuda.errors import BadRequest
from remuda.hookspecs import TemplateTraits
from remuda.runner.worker import Worker, WorkerEnded, WorkerLate

__all__ = ["Answer", "GoEngine", "JinjaEngine", "Question", "template_worker"]

_LONGEST_TEMPLATE: Final = 256 * 1024
"""Characters; published templates have up to thirty thousand."""
_KEPT: Final = 64
"""How many templates' traits are kept."""


class Question(Struct, frozen=True):
    """Down to the child."""

    engine: str
    template: str
    variables: bytes | None = None
    """JSON, which holds integers of any size; None asks what the template can say."""


class Answer(Struct, frozen=True):
    """Up from the child: a prompt, traits, or what is wrong with the template."""

    prompt: str = ""
    traits: TemplateTraits | None = None
    error: str = ""


def template_worker() -> Worker[Answer]:
    """The process that templates run in; engines may share it. It starts with the first template."""
    return Worker("remuda_plugins.templates.worker", Question("jinja", ""), Answer)


class _Engine:
    language: ClassVar[str]
    subject: ClassVar[str]
    """What errors call the template."""
    before_error: ClassVar[str] = ""
    """What stands before the error of a template."""

    def __init__(self, worker: Worker[Answer] | None = None) -> None:
        self._worker = worker or template_worker()
        self._traits: OrderedDict[str, TemplateTraits] = OrderedDict()

    async def inspect(self, template: str, *, timeout: float) -> TemplateTraits:
        traits = self._traits.get(template)
        if traits is None:
            traits = (await self._ask(template, None, timeout)).traits or TemplateTraits()
            if len(self._traits) >= _KEPT:
                self._traits.popitem(last=False)
            self._traits[template] = traits
        self._traits.move_to_end(template)
        return traits

    async def render(self, template: str, variables: Mapping[str, Any], *, timeout: float) -> str:
        try:
            encoded = msgspec.json.encode(variables)
        except (RecursionError, UnicodeEncodeError):
            raise BadRequest("the messages or tools hold what cannot be rendered: too deep, or no Unicode") from None
        return (await self._ask(template, encoded, timeout)).prompt

    async def close(self) -> None:
        await self._worker.close()

    async def _ask(self, template: str, variables: bytes | None, timeout: float) -> Answer:
        if len(template) > _LONGEST_TEMPLATE:
            raise BadRequest(f"{self.subject} is longer than {_LONGEST_TEMPLATE} characters")
        try:
            answer = await self._worker.ask(Question(self.language, template, variables), timeout=timeout)
        except WorkerLate:
            raise BadRequest(f"{self.subject} did not finish within {timeout:g} s") from None
        except WorkerEnded:
            raise BadRequest(f"{self.subject} needs more memory than a template may have") from None
        if answer.error:
            raise BadRequest(f"{self.before_error}{answer.error}")
        return answer


class JinjaEngine(_Engine):
    """A `remuda.TemplateEngine` for the Jinja of `tokenizer.chat_template`."""

    language = "jinja"
    subject = "the model's prompt template"
    before_error = "the model's prompt template failed: "


class GoEngine(_Engine):
    """A `remuda.TemplateEngine` for Go's text/template as Ollama uses it. Errors of a template have Go's own text."""

    language = "go"
    subject = "the prompt template"
