"""What published chat templates expect to find, made from the canonical form of a conversation.

Chat templates are written for transformers' `apply_chat_template`: messages are those of OpenAI's chat format, the
arguments of a call an object or, in some templates, its JSON text. Where a template has no way to say something, it is
said in a way that every template has: a call of a tool as JSON text in the assistant's content, its result as a
message of role `tool`, or of role `user` if the template looks at roles by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from msgspec import Struct

from .jinja_traits import says_tools

__all__ = ["Shaped", "shape", "to_json"]

_CHANNEL = "<|channel|>"
"""A harmony template."""
_BY_NAME = re.compile(r"[!=]=\s*['\"](?:user|assistant)['\"]")
"""The template has its own idea of which roles there are."""
_NINE = re.compile(r"length\s*[!=]=\s*9\b")
"""Mistral's templates take no id of a call but nine letters and digits."""
_NINE_LONG = re.compile(r"[A-Za-z0-9]{9}")
_NO_CONTENT = re.compile(r"==\s*['\"]assistant['\"]\s+and\s+message(?:\.content|\[['\"]content['\"]\])\s+is\s+none\b")
"""The template knows a message with nothing but calls by its content, which is None."""
_NONE = re.compile(r"\b(?:tools|documents)\s+is\s+(?:not\s+)?none\b")
"""The template expects an absent thing to be None, as transformers has it."""
_IN_PARTS = re.compile(r"\bfor\s+\w+\s+in\s+\w+(?:\.content|\[['\"]content['\"]\])")
"""The template walks over the parts of a content."""


class Arguments(dict[str, Any]):
    """The arguments of a call: an object that is its JSON text where a template joins or prints it."""

    def __str__(self) -> str:
        return to_json(self)

    def __add__(self, other: str) -> str:
        return str(self) + other

    def __radd__(self, other: str) -> str:
        return other + str(self)


class Shaped(Struct, frozen=True):
    """The variables of a template, and the message that the answer continues, which the template is not shown."""

    variables: dict[str, Any]
    prefill: dict[str, Any] | None = None


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter `tojson` as transformers has it: text stays readable, nothing is escaped for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=_listed
    )


def _listed(value: Any) -> list[Any]:
    """What filters such as `map` make."""
    if isinstance(value, Iterator):
        return list(cast(Iterator[Any], value))
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def shape(template: str, canonical: Mapping[str, Any]) -> Shaped:
    """`canonical` is what `remuda.TemplateEngine.render` takes.

    Thinking goes by the names that templates know it by. A last message of the assistant is not shown to the template:
    what it holds follows the prompt.
    """
    messages: list[dict[str, Any]] = [dict(message) for message in canonical.get("messages", ())]
    if "messages" not in canonical:
        messages = [{"role": "user", "content": canonical.get("prompt", "")}]
    prefill = messages.pop() if messages and messages[-1]["role"] == "assistant" else None
    if prefill is not None and prefill.get("tool_calls"):
        messages.append(prefill)
        prefill = None
    shown = _messages(template, messages)
    variables: dict[str, Any] = {
        "messages": _in_parts(shown) if _wants_parts(template) else shown,
        "add_generation_prompt": True,
        "bos_token": canonical.get("bos_token", ""),
        "eos_token": canonical.get("eos_token", ""),
    }
    tools = [_tool(tool) for tool in canonical.get("tools", ())]
    if tools:
        variables["tools"] = tools
    if _NONE.search(template):
        variables = {"tools": None, "documents": None, **variables}
    if "functions" in template and "datetime" in template:  # Firefunction's own names
        now = datetime.now(UTC).strftime("%b %d %Y %H:%M:%S GMT")
        variables |= {"functions": to_json(tools, indent=4) if tools else "", "datetime": now}
    think = canonical.get("think")
    if think is not None:
        variables |= {"enable_thinking": bool(think), "thinking": bool(think)}
        if isinstance(think, str):
            variables["reasoning_effort"] = "high" if think == "max" and _CHANNEL in template else think
    return Shaped(variables, prefill)


def _messages(template: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    _pair(messages, nine=_NINE.search(template) is not None)
    shown = [_message(message, template) for message in messages]
    if "tool_calls" not in template:
        _calls_as_text(shown)
    return shown if says_tools(template) or not _BY_NAME.search(template) else _results_as_user(shown)


def _pair(messages: list[dict[str, Any]], *, nine: bool) -> None:
    """Give every call an id, and every result the id and the name of its call."""
    waiting: list[tuple[str, str, str]] = []
    count = 0
    for message in messages:
        if message.get("tool_calls"):
            waiting.clear()
            message["tool_calls"] = [dict(call) for call in message["tool_calls"]]
        for call in message.get("tool_calls") or ():
            theirs = str(call.get("id") or "")
            ours = theirs if theirs and (not nine or _NINE_LONG.fullmatch(theirs)) else f"call{count:05d}"
            count += 1
            call["id"] = ours
            waiting.append((theirs, ours, str(call["function"].get("name", ""))))
        if message["role"] == "tool" and waiting:
            theirs, ours, name = answered = _answered(waiting, message)
            waiting.remove(answered)
            message["tool_call_id"] = ours
            message["tool_name"] = message.get("tool_name") or name


def _answered(waiting: list[tuple[str, str, str]], message: dict[str, Any]) -> tuple[str, str, str]:
    for place, key in ((0, "tool_call_id"), (2, "tool_name")):
        for call in waiting:
            if message.get(key) and message[key] == call[place]:
                return call
    return waiting[0]


def _message(message: dict[str, Any], template: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": message["role"], "content": message.get("content", "")}
    calls, thinking = message.get("tool_calls"), message.get("thinking")
    if thinking:
        shown |= {"reasoning_content": thinking, "thinking": thinking}
        if calls and _CHANNEL in template:
            shown["content"] = ""  # harmony has one place for either before a call, and its template raises at both
    if calls:
        if not shown["content"] and _NO_CONTENT.search(template):
            shown["content"] = None
        shown["tool_calls"] = [
            {
                "type": "function",
                "id": call["id"],
                "function": {
                    "name": call["function"].get("name", ""),
                    "arguments": Arguments(call["function"].get("arguments") or {}),
                },
            }
            for call in calls
        ]
    if message.get("tool_name"):
        shown["name"] = message["tool_name"]
    if message.get("tool_call_id"):
        shown["tool_call_id"] = message["tool_call_id"]
    return shown


def _calls_as_text(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        calls = [
            to_json({key: call["function"][key] for key in ("name", "arguments")})
            for call in message.pop("tool_calls", ())
        ]
        if calls:
            message["content"] = "\n".join([message["content"], *calls] if message["content"] else calls)


def _results_as_user(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbouring results are one message, also with what the user says next: roles may have to alternate."""
    shown: list[dict[str, Any]] = []
    results = False
    for message in messages:
        result = message["role"] == "tool"
        if results and (result or message["role"] == "user"):
            shown[-1]["content"] += f"\n\n{message['content']}"
        else:
            shown.append({"role": "user", "content": message["content"]} if result else message)
        results = result or (results and message["role"] == "user")
    return shown


def _wants_parts(template: str) -> bool:
    return _IN_PARTS.search(template) is not None and "is string" not in template and "is not string" not in template


def _in_parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For templates that take no text as content, only a list of parts."""
    return [message | {"content": [{"type": "text", "text": message["content"]}]} for message in messages]


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function: Mapping[str, Any] = tool.get("function") or {}
    parameters: Mapping[str, Any] = function.get("parameters") or {}
    return {
        "type": tool.get("type") or "function",
        "function": {
            "name": function.get("name", ""),
            "description": function.get("description", ""),
            **{key: value for key, value in function.items() if key not in {"name", "description", "parameters"}},
            "parameters": {"type": "object", "properties": {}, **parameters},
        },
    }
