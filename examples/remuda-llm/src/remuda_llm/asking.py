"""From a job to a response of `llm` that only has to be read: prompt, earlier turns, tools, schema and options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import llm
import msgspec
import pydantic
from llm.parts import AttachmentPart, Part, TextPart, ToolCallPart, ToolResultPart

from remuda.errors import BadRequest
from remuda.job import Job
from remuda.wire import Tool

from .options import model_options
from .thinking import thinking_options
from .turns import Turn, turns_of

__all__ = ["response_to"]

_MAGIC: Final = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"RIFF", "webp"))


def response_to(job: Job, model: Any) -> Any:
    """An `llm.Response`, or an `llm.AsyncResponse` where the model is asynchronous. No work has begun.

    Raises `BadRequest` that names the field for what the model cannot do.
    """
    _refuse(job)
    system, turns = turns_of(job.messages)
    conversation = model.conversation()
    history: list[llm.Message] = [llm.system(system)] if system else []
    for turn in turns[:-1]:
        conversation.responses.append(_earlier(model, turn, system, history))
    turn = turns[-1]
    wishes: dict[str, Any] = model_options(model, job.given) | thinking_options(model, job.think)
    schema = _schema(job, model, wishes)
    try:
        return conversation.prompt(
            turn.text or None,
            messages=history,
            system=system or None,
            attachments=_attachments(turn.images),
            tool_results=_results(turn),
            tools=_tools(job.tools),
            schema=schema,
            stream=bool(model.can_stream),
            hide_reasoning=job.think is False,
            **wishes,
        )
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        named = ".".join(map(str, first["loc"])) or "options"
        raise BadRequest(f'"{job.name}" does not take this "{named}": {first["msg"]}') from None
    except ValueError as error:  # what `llm` says of attachments, of conversations and of tools
        raise BadRequest(f'"{job.name}": {error}') from None


def _refuse(job: Job) -> None:
    """What has no place in `llm`."""
    for field, there, why in (
        ("tool_choice", job.tool_choice is not None, "llm leaves it to the model whether it calls a tool"),
        ("logprobs", job.logprobs is not None, "llm tells none"),
        ("suffix", job.suffix, "llm has no place for it"),
    ):
        if there:
            raise BadRequest(f'"{job.name}" does not support "{field}": {why}')


def _schema(job: Job, model: Any, wishes: dict[str, Any]) -> dict[str, Any] | None:
    """The schema that the answer must match; or, added to `wishes`, the model's own option for any JSON."""
    if job.format is None:
        return None
    if model.supports_schema:
        return {"type": "object"} if job.format == "json" else job.format
    if job.format == "json" and "json_object" in model.Options.model_fields:
        wishes["json_object"] = True
        return None
    raise BadRequest(f'"{job.name}" does not support "format": its plugin of llm takes no schema')


def _earlier(model: Any, turn: Turn, system: str, history: list[llm.Message]) -> Any:
    """A turn as a response that is complete; its messages are added to `history`."""
    if turn.replies:
        results = [ToolResultPart(name=each.name, output=each.output, tool_call_id=each.id) for each in turn.replies]
        history.append(llm.tool_message(*results))
    attachments = _attachments(turn.images)
    asked: list[Part] = [TextPart(text=text) for text in turn.texts]
    asked += [AttachmentPart(attachment=attachment) for attachment in attachments]
    if asked:
        history.append(llm.user(*asked))
    prompt = llm.Prompt(
        turn.text,
        model,
        attachments=attachments,
        system=system or None,
        tool_results=_results(turn),
        messages=list(history),
    )
    parts: list[Part] = [TextPart(text=turn.answer)] if turn.answer else []
    parts += [ToolCallPart(name=call.name, arguments=call.arguments, tool_call_id=call.id) for call in turn.calls]
    answer = llm.assistant(*parts)
    kind: Any = llm.AsyncResponse if isinstance(model, (llm.AsyncModel, llm.AsyncKeyModel)) else llm.Response
    stored: dict[str, Any] = {"model": model.model_id, "prompt": {"messages": []}, "messages": [answer.to_dict()]}
    response = kind.from_dict(stored, model=model)
    # The prompt that it has now holds no text by itself, which is what older plugins look for.
    response.prompt, response.attachments = prompt, attachments
    history.append(answer)
    return response


def _results(turn: Turn) -> list[llm.ToolResult]:
    return [llm.ToolResult(name=each.name, output=each.output, tool_call_id=each.id) for each in turn.replies]


def _attachments(images: Iterable[bytes]) -> list[llm.Attachment]:
    return [llm.Attachment(type=_type(image), content=image) for image in images]


def _type(image: bytes) -> str:
    return f"image/{next((kind for magic, kind in _MAGIC if image.startswith(magic)), 'png')}"


def _tools(tools: Iterable[Tool]) -> list[llm.Tool]:
    """Without anything to run: calls go to the client."""
    return [_tool(msgspec.to_builtins(tool.function)) for tool in tools]


def _tool(function: dict[str, Any]) -> llm.Tool:
    parameters: dict[str, Any] = {"type": "object", "properties": {}, **(function.get("parameters") or {})}
    return llm.Tool(name=function["name"], description=function.get("description") or None, input_schema=parameters)
