"""From a job to a prompt: variables for the template, marks for the images, older messages left out where all of them
do not fit (Ollama API, "Templates, capabilities, prompt building").
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, structs

from ..backend import LoadedModel, Tokenizes
from ..config import Config
from ..errors import BadRequest
from ..hookspecs import TemplateTraits
from ..job import Job, Message
from ..model import ModelFacts
from ..plugins import Plugins
from .blame import answered
from .templates import CHATML, Chosen, choose

__all__ = ["Prompt", "Prompter", "add_tools_by_hand"]

_IMAGE_TOKENS = 768
"""What an image counts while it is decided which messages fit (Ollama API, "Truncation and context shift")."""
_SPECIAL = 2
"""Tokens that a model may want round a text."""


class Prompt(Struct, frozen=True):
    """What goes to the model. `[img-0]`, `[img-1]`, ... in `text` stand for `images`."""

    text: str
    images: list[bytes]
    dropped: int = 0
    """Tokens of the messages that were left out."""


class Prompter:
    def __init__(self, config: Config, plugins: Plugins) -> None:
        self._config, self._plugins = config, plugins

    async def own(self, job: Job, facts: ModelFacts) -> Chosen | None:
        """The template of the job's model; None for a model that continues text as it is.

        A raw prompt needs none, but whether its model can think is read from its template.
        """
        entry = job.entry
        if job.prompt is not None and not job.think:
            return None
        if entry.template_engine:
            template = entry.template or facts.chat_template
            return await self._inspected(entry.template_engine, template) if template else None
        go = await self._inspected("go", entry.template) if entry.template else None
        prefer_go, has_parser = self._config.go_template, entry.parser is not None
        jinja = None
        if facts.chat_template and not (go and (prefer_go or has_parser)):
            jinja = await self._inspected("jinja", facts.chat_template)
        chosen = choose(go, jinja, prefer_go=prefer_go, has_parser=has_parser)
        if chosen is None and job.endpoint.endswith("/chat"):
            return await self._inspected("go", CHATML)
        return chosen

    async def given(self, job: Job) -> Chosen | None:
        """The template that the request brings; None if it brings none. Raises `BadRequest` for a bad one."""
        return await self._inspected("go", job.template) if job.template else None

    async def render(
        self, job: Job, facts: ModelFacts, chosen: Chosen | None, limit: int, model: LoadedModel
    ) -> Prompt:
        """The prompt of a job for a sequence of `limit` tokens."""
        if job.prompt is not None:
            return Prompt(job.prompt, job.images)
        if job.suffix and (chosen is None or not chosen.traits.insert):
            return Prompt(_infill(job, facts), [])
        whole = await self._render(job, facts, chosen, job.messages)
        if job.template or job.suffix or not job.truncate or len(job.messages) < 2 or not isinstance(model, Tokenizes):
            return whole
        room = limit - len(job.context)
        if len(whole.text.encode("utf-8", "replace")) + _IMAGE_TOKENS * len(whole.images) + _SPECIAL < room:
            return whole  # no token is shorter than a byte
        return await self._fitted(job, facts, chosen, room, model, whole)

    async def _fitted(
        self, job: Job, facts: ModelFacts, chosen: Chosen | None, room: int, model: Tokenizes, whole: Prompt
    ) -> Prompt:
        """With as few of the oldest messages left out as makes the rest fit; system messages and the last one stay.

        What is kept begins with a question: many templates refuse a conversation that begins with an answer.
        """

        async def measured(prompt: Prompt) -> tuple[Prompt, int]:
            return prompt, len(await model.tokenize(prompt.text)) + _IMAGE_TOKENS * len(prompt.images)

        async def without(count: int) -> tuple[Prompt, int]:
            return await measured(await self._render(job, facts, chosen, _without(job.messages, count)))

        _, total = await measured(whole)
        if total < room:
            return whole
        end = len(job.messages) - 1
        cuts = [at for at in range(1, end) if job.messages[at].role == "user"] + [end]
        low, high, best = 0, len(cuts) - 1, None
        while low < high:
            middle = (low + high) // 2
            found = await without(cuts[middle])
            if found[1] < room:
                high, best = middle, found
            else:
                low = middle + 1
        prompt, size = best or await without(cuts[high])
        return structs.replace(prompt, dropped=total - size)

    async def _inspected(self, engine: str, template: str) -> Chosen:
        known, timeout = self._plugins.templates, self._config.limits.template_timeout
        made = known.get(engine)
        traits = await answered(
            known, engine, "inspect", TemplateTraits, lambda: made.inspect(template, timeout=timeout)
        )
        return Chosen(engine, template, traits)

    async def _render(self, job: Job, facts: ModelFacts, chosen: Chosen | None, messages: list[Message]) -> Prompt:
        if chosen is None:
            return Prompt(messages[-1].content, job.images)
        marked, images = (messages, job.images) if job.template else _marked(messages)
        variables: dict[str, Any] = {
            "messages": [_plain(message) for message in marked],
            "bos_token": facts.bos_token,
            "eos_token": facts.eos_token,
        }
        if job.tools and chosen.traits.tools:
            variables["tools"] = msgspec.to_builtins(job.tools)
        if job.suffix:
            variables |= {"prompt": job.messages[-1].content, "suffix": job.suffix}
        if job.think is not None:
            variables["think"] = job.think
        known, timeout = self._plugins.templates, self._config.limits.template_timeout
        engine = known.get(chosen.engine)
        text = await answered(
            known, chosen.engine, "render", str, lambda: engine.render(chosen.template, variables, timeout=timeout)
        )
        return Prompt(text, images)


def add_tools_by_hand(job: Job, traits: TemplateTraits) -> Job:
    """For a model whose template knows of no tools, when a call is demanded: the tools told in a system message."""
    if traits.tools or not job.tools or job.tool_choice is None:
        return job
    described = "\n".join(msgspec.json.encode(tool.function).decode() for tool in job.tools)
    text = (
        "You can call these functions:\n"
        f'{described}\nAnswer with a JSON object {{"name": function name, "arguments": object}} and nothing else.'
    )
    first = job.messages[0] if job.messages else None
    if first is not None and first.role == "system":
        told = structs.replace(first, content=f"{first.content}\n\n{text}")
        return structs.replace(job, messages=[told, *job.messages[1:]])
    return structs.replace(job, messages=[Message("system", text), *job.messages])


def _without(messages: list[Message], count: int) -> list[Message]:
    """`messages` without the oldest `count`, but with every system message."""
    return [message for message in messages[:count] if message.role == "system"] + messages[count:]


def _marked(messages: list[Message]) -> tuple[list[Message], list[bytes]]:
    """Messages with a mark for each image, at the first `[img]` of the text or before it, and the images in order."""
    marked: list[Message] = []
    images: list[bytes] = []
    for message in messages:
        content, before = message.content, ""
        for image in message.images:
            mark = f"[img-{len(images)}]"
            images.append(image)
            if "[img]" in content:
                content = content.replace("[img]", mark, 1)
            else:
                before += mark
        marked.append(structs.replace(message, content=before + content))
    return marked, images


def _infill(job: Job, facts: ModelFacts) -> str:
    if facts.infill is None:
        raise BadRequest(f"{job.entry.name.full} does not support insert")
    before, after, middle = facts.infill
    return f"{before}{job.messages[-1].content}{after}{job.suffix}{middle}"


def _plain(message: Message) -> dict[str, Any]:
    """A message as plain data, as `TemplateEngine.render` describes it."""
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        plain["thinking"] = message.thinking
    if message.images:
        plain["images"] = len(message.images)
    if message.tool_calls:
        plain["tool_calls"] = [
            {"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.arguments}}
            for index, call in enumerate(message.tool_calls)
        ]
    if message.tool_name:
        plain["tool_name"] = message.tool_name
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    return plain
