"""A pipeline without a server, asked as the server asks it, and templates whose prompts can be read at a glance."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from anyio import to_thread

from remuda.config import Config
from remuda.pipeline import Pipeline, ResponseStream
from remuda.plugins import Plugins
from remuda.wire import ChatRequest, ChatResponse, GenerateRequest, GenerateResponse, decode

THINKER = (
    '{{ range .Messages }}{{ if eq .Role "assistant" }}A:{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}'
    "{{ .Content }}{{ else }}{{ .Role }}:{{ .Content }}{{ end }}|{{ end }}"
    "{{ if .IsThinkSet }}{{ .Think }}/{{ .ThinkLevel }}|{{ end }}A:"
)
"""Knows of thinking, between `<think>` and `</think>`."""
CALLER = (
    "{{ if .Tools }}{{ range .Tools }}{{ .Function.Name }},{{ end }}|{{ end }}"
    "{{ range .Messages }}{{ .Role }}{{ if .ToolName }}({{ .ToolName }}){{ end }}:{{ .Content }}"
    "{{ if .ToolCalls }}<tool_call>{{ range .ToolCalls }}"
    '{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}{{ end }}</tool_call>{{ end }}|{{ end }}A:'
)
"""Knows of tools, whose calls stand between `<tool_call>` and `</tool_call>`."""
PLAIN = "{{ range .Messages }}{{ .Role }}:{{ .Content }}|{{ end }}A:"


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """A tool as clients send it; each of `properties` is a schema."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"does {name}", "parameters": parameters}}


WEATHER = tool("get_weather", city={"type": "string"})
TIME = tool("get_time", zone={"type": "string"})


@asynccontextmanager
async def opened(config: Config, plugins: Plugins) -> AsyncGenerator[Pipeline, None]:
    pipeline = await to_thread.run_sync(Pipeline, config, plugins)
    try:
        yield pipeline
    finally:
        await pipeline.close()


async def ask(pipeline: Pipeline, **fields: Any) -> GenerateResponse:
    reply = await pipeline.generate(_generate(**{"stream": False, **fields}), request_id="r")
    assert isinstance(reply, GenerateResponse)
    return reply


async def stream(pipeline: Pipeline, **fields: Any) -> ResponseStream[GenerateResponse]:
    reply = await pipeline.generate(_generate(**fields), request_id="r")
    assert not isinstance(reply, GenerateResponse)
    return reply


async def chat(pipeline: Pipeline, *messages: dict[str, Any] | str, **fields: Any) -> ChatResponse:
    """A text is a user's message."""
    reply = await pipeline.chat(_chat(messages, **{"stream": False, **fields}), request_id="r")
    assert isinstance(reply, ChatResponse)
    return reply


async def chat_stream(pipeline: Pipeline, *messages: dict[str, Any] | str, **fields: Any) -> list[ChatResponse]:
    reply = await pipeline.chat(_chat(messages, **fields), request_id="r")
    assert not isinstance(reply, ChatResponse)
    return [part async for part in reply]


async def rendered(pipeline: Pipeline, *messages: dict[str, Any] | str, **fields: Any) -> str:
    """The prompt that a chat makes."""
    reply = await chat(pipeline, *messages, _debug_render_only=True, **fields)
    assert reply.debug_info is not None
    return reply.debug_info.rendered_template


def _generate(**fields: Any) -> GenerateRequest:
    return decode(msgspec.json.encode({"model": "m", **fields}), GenerateRequest)


def _chat(texts: tuple[dict[str, Any] | str, ...], /, **fields: Any) -> ChatRequest:
    said = [{"role": "user", "content": each} if isinstance(each, str) else each for each in texts]
    return decode(msgspec.json.encode({"model": "m", "messages": said, **fields}), ChatRequest)
