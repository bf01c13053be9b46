"""What is decided about a job once its model is known and before any work: all that can be refused is refused here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from msgspec import Struct, structs

from ..config import Config
from ..errors import BadRequest
from ..hookspecs import TemplateTraits
from ..job import Job, Message
from ..model import ModelFacts
from ..output import Constraint, ParserKind, ParserView
from ..plugins import Plugins
from .answer import choose_kinds, tool_kind
from .blame import answered
from .prompt import Prompter, add_tools_by_hand
from .templates import Chosen, capabilities, check_abilities, thinks_in_tags

__all__ = ["Plan", "settle"]

_NO_SHIFT = "deepseek2"
"""The family whose caches cannot forget older text (Ollama API, "Truncation and context shift")."""
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)
_HARMONY = frozenset({"gptoss", "gpt-oss"})


class Plan(Struct, frozen=True, kw_only=True):
    """A job with nothing left open, and how to serve it."""

    job: Job
    chosen: Chosen | None
    view: ParserView
    kinds: list[ParserKind]
    constraint: Constraint | None

    def constraint_after(self, prompt: str) -> Constraint | None:
        """The constraint for an answer to `prompt`: thinking is free of it.

        A call that is demanded in a syntax that also holds the thinking comes at once.
        """
        first = self.kinds[0] if self.kinds else None
        if self.constraint is None or first is None or first.stage == "tools":
            return self.constraint
        if first.stage == "both" and self.job.tool_choice is not None:
            return self.constraint
        open, close = first.free(self.view)
        if not (open and close):
            return self.constraint
        opened = prompt.rstrip().endswith(open)
        return structs.replace(self.constraint, open=open, close=close, opened=opened)

    @property
    def visible(self) -> tuple[str, ...]:
        """Control tokens that the parsers look for."""
        if not self.kinds:
            return ()
        tags = (self.view.think_open, self.view.think_close, self.view.tool_tag)
        return tuple(dict.fromkeys(tag for tag in (*(t for kind in self.kinds for t in kind.visible), *tags) if tag))


async def settle(job: Job, facts: ModelFacts, prompter: Prompter, plugins: Plugins, config: Config) -> Plan:
    """Raises `BadRequest` for what the model cannot do, for a bad template and for a format that cannot be honoured."""
    own = await prompter.own(job, facts)
    able = capabilities(facts, own)
    check_abilities(job, able, facts.details.family)
    chosen = await prompter.given(job) or own
    traits = chosen.traits if chosen else TemplateTraits()
    tags = own.traits if own else traits  # a request's template need not say how the model thinks
    job = add_tools_by_hand(_with_defaults(job, facts, traits, able), traits)
    view = ParserView(
        template=chosen.template if chosen else "",
        family=facts.details.family,
        think=bool(job.think),
        think_open=tags.think_open,
        think_close=tags.think_close,
        tool_tag=traits.tool_tag,
        tools=job.tools,
    )
    kinds = choose_kinds(plugins, view, job.entry.parser) if job.prompt is None or job.think else []
    constraint = None
    if job.tool_choice is not None:
        kind = tool_kind(plugins, kinds)
        kinds = kinds if kind in kinds else [*kinds, kind]
        constraint = await _constraint(_forced(job, kind, view), plugins, config)
    elif job.format is not None:
        constraint = await _constraint(job.format, plugins, config)
    return Plan(job=job, chosen=chosen, view=view, kinds=kinds, constraint=constraint)


def _with_defaults(job: Job, facts: ModelFacts, traits: TemplateTraits, able: list[str]) -> Job:
    think = True if job.think is None and "thinking" in able and job.prompt is None else job.think
    if think == "max" and facts.details.family in _HARMONY:
        think = "high"
    options = job.options
    if not options.stop and job.prompt is None and not job.template:
        options = structs.replace(options, stop=traits.stops)
    shift = facts.details.family != _NO_SHIFT if job.shift is None else job.shift
    messages = job.messages
    if thinks_in_tags(job.entry, facts.details.family):
        messages = _without_old_thoughts(messages)
    return structs.replace(job, messages=messages, think=think, options=options, shift=shift)


def _without_old_thoughts(messages: list[Message]) -> list[Message]:
    """What the assistant thought before the last question does not go to the model again (Ollama API, "chat")."""
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=0)
    return [
        structs.replace(message, content=_THOUGHT.sub("", message.content, count=1))
        if at < last and message.role == "assistant"
        else message
        for at, message in enumerate(messages)
    ]


def _forced(job: Job, kind: ParserKind, view: ParserView) -> Any:
    if job.format is not None:
        raise BadRequest("format and a tool_choice that demands a call exclude each other: leave one of them out")
    forced = kind.forced(view, job.tool_choice or None)
    if forced is None:
        raise BadRequest("tool_choice cannot demand a call from this model: leave it out")
    return forced


async def _constraint(value: Any, plugins: Plugins, config: Config) -> Constraint:
    """`value` is the name of a format, or an object: of the format that its `type` names, else a JSON Schema."""
    name = value
    if isinstance(value, dict):
        kind = cast(Mapping[str, Any], value).get("type")
        name = kind if isinstance(kind, str) and kind in plugins.formats.names() else "json_schema"
    made, timeout = plugins.formats.get(name), config.limits.format_timeout
    return await answered(
        plugins.formats, name, "constraint", Constraint, lambda: made.constraint(value, timeout=timeout)
    )
