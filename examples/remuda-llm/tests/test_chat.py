"""Conversations over HTTP, with Ollama's own client: with the real llm-echo, and models that show what they got."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ollama import Client, ResponseError

from .fakes import Old, Registers, Seen

Connect = Callable[..., Client]
Installed = Callable[[object], None]

PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010800000000") + bytes(32)
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "tells the time",
        "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}},
    },
}
HI = [{"role": "user", "content": "hi"}]


def _echoed(reply: Any) -> Any:
    return json.loads(reply.message.content)


def test_a_conversation_is_streamed(client: Connect) -> None:
    ollama = client()
    parts = list(ollama.chat("echo", [{"role": "system", "content": "be brief"}, *HI], stream=True))
    assert _echoed(parts[0]) | {"attachments": []} == {
        "prompt": "hi",
        "system": "be brief",
        "attachments": [],
        "stream": True,
        "previous": [],
    }
    last = parts[-1]
    assert (last.done, last.done_reason, last.prompt_eval_count) == (True, "stop", 3)
    assert (last.eval_count or 0) > 0
    assert (last.eval_duration or 0) > 0


def test_earlier_turns_and_images_are_there(client: Connect) -> None:
    ollama = client()
    earlier = [*HI, {"role": "assistant", "content": "hello"}]
    reply = _echoed(ollama.chat("echo", [*earlier, {"role": "user", "content": "look", "images": [PNG]}]))
    assert reply["previous"] == [{"prompt": "hi"}]
    assert [attachment["type"] for attachment in reply["attachments"]] == ["image/png"]


def test_a_text_is_completed(client: Connect) -> None:
    reply = client().generate("echo", "hi", system="be brief")
    assert json.loads(reply.response)["system"] == "be brief"


def test_thinking_comes_apart(client: Connect) -> None:
    ollama = client()
    reply = ollama.chat("echo", HI, think=True)
    assert reply.message.thinking == "First I consider the prompt, then I decide what to say."
    assert _echoed(reply)["prompt"] == "hi"
    assert not ollama.chat("echo", HI, think=False).message.thinking


def test_a_tool_is_called_by_the_client_and_its_reply_comes_back(client: Connect) -> None:
    ollama = client()
    wish = json.dumps({"prompt": "time?", "tool_calls": [{"name": "clock", "arguments": {"zone": "CET"}}]})
    asked = {"role": "user", "content": wish}
    message = ollama.chat("echo", [asked], tools=[CLOCK]).message
    [call] = message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("clock", {"zone": "CET"})
    told = {"role": "tool", "content": "noon", "tool_name": "clock"}
    reply = _echoed(ollama.chat("echo", [asked, message, told], tools=[CLOCK]))
    [result] = reply["tool_results"]
    assert (result["name"], result["output"]) == ("clock", "noon")
    assert result["tool_call_id"]


def test_older_plugins_see_a_conversation_in_their_own_way(client: Connect, installed: Installed) -> None:
    installed(Registers(Old()))
    calls = [{"function": {"name": "clock", "arguments": {}}}]
    said = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "time?", "images": [PNG]},
        {"role": "assistant", "content": "wait", "tool_calls": calls},
        {"role": "tool", "content": "noon", "tool_name": "clock"},
        {"role": "assistant", "content": "noon"},
        {"role": "user", "content": "thanks"},
    ]
    reply = client().chat("old", said, tools=[CLOCK])
    first, second = "[time?||1 -> wait|clock#call_1]", "[|clock#call_1|0 -> noon|]"
    assert reply.message.content == f"{first}{second}(be brief|thanks||0)"


def test_newer_plugins_get_all_messages(client: Connect, installed: Installed) -> None:
    model = Seen()
    installed(Registers(model))
    calls = [{"function": {"name": "clock", "arguments": {"zone": "CET"}}}]
    said = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "time?"},
        {"role": "assistant", "content": "wait", "tool_calls": calls},
        {"role": "tool", "content": "noon", "tool_name": "clock"},
    ]
    client().chat("seen", said, tools=[CLOCK])
    [prompt] = model.prompts
    assert [(message.role, [part.to_dict()["type"] for part in message.parts]) for message in prompt.messages] == [
        ("system", ["text"]),
        ("user", ["text"]),
        ("assistant", ["text", "tool_call"]),
        ("tool", ["tool_result"]),
    ]
    assert prompt.messages[2].parts[1].arguments == {"zone": "CET"}
    assert prompt.messages[3].parts[0].tool_call_id == prompt.messages[2].parts[1].tool_call_id == "call_1"
    [tool] = prompt.tools
    assert (tool.name, tool.description, tool.implementation) == ("clock", "tells the time", None)
    assert tool.input_schema == CLOCK["function"]["parameters"]  # type: ignore[index]


def test_options_formats_and_effort_reach_the_model(client: Connect, installed: Installed) -> None:
    model = Seen()
    installed(Registers(model))
    ollama = client()
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    options = {"temperature": 0.5, "num_predict": 1, "seed": 7, "stop": ["X"], "top_k": 3}
    reply = ollama.chat("seen", HI, options=options, format=schema, think="low")
    assert (reply.message.content, reply.done_reason) == ("seen", "length")
    assert (reply.prompt_eval_count, reply.eval_count) == (5, 1)
    ollama.chat("seen", HI, format="json")
    first, second = model.prompts
    given = {name: value for name, value in dict(first.options).items() if value is not None}
    assert given == {"temperature": 0.5, "max_tokens": 1, "seed": 7, "stop": "X", "reasoning_effort": "low"}
    assert (first.schema, second.schema) == (schema, {"type": "object"})
    assert not any(dict(second.options).values())


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"format": "json"}, '"echo" does not support "format"'),
        ({"logprobs": True}, '"echo" does not support "logprobs"'),
        ({"tools": [CLOCK], "options": {"tool_choice": "clock"}}, '"echo" does not support "tool_choice"'),
        ({"messages": [{"role": "user", "content": "", "images": [b"BM" + bytes(60)]}]}, "image"),
        ({"messages": [*HI, {"role": "assistant", "content": "hel"}]}, "the last one must be of a user or a tool"),
    ],
    ids=["format", "logprobs", "tool_choice", "image", "last"],
)
def test_what_it_cannot_do_is_refused(client: Connect, fields: Any, refusal: str) -> None:
    with pytest.raises(ResponseError, match=refusal) as refused:
        client().chat("echo", **{"messages": HI, **fields})
    assert refused.value.status_code == 400


def test_models_are_listed_and_shown(client: Connect) -> None:
    ollama = client(namespace="llm", deny=["smol*"])
    assert "llm/echo:latest" in [model.model for model in ollama.list().models]
    shown = ollama.show("llm/echo")
    assert shown.capabilities == ["completion", "vision", "tools", "thinking"]
    assert shown.details is not None
    assert shown.details.format == "llm"
