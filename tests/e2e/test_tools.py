"""Calls of tools on real weights: the demo model is made to call, by the official client and by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jsonschema
import ollama
import pytest

from remuda.testing import LiveServer

from .conftest import DEMO
from .tables import Table, shelf

MUST = {"temperature": 0, "num_predict": 64, "tool_choice": "required"}


def get_weather(city: str, days: int) -> str:
    """Tell the weather.

    Args:
        city: The name of a city.
        days: How many days to look ahead.
    """
    return f"{days} days of rain in {city}"


BOOK = {
    "type": "function",
    "function": {
        "name": "book_table",
        "description": "Book a table in a restaurant.",
        "parameters": {
            "type": "object",
            "properties": {
                "guests": {"type": "integer"},
                "meal": {"type": "string", "enum": ["lunch", "dinner"]},
                "wishes": {"type": "array", "items": {"type": "string", "enum": ["window", "quiet"]}},
            },
            "required": ["guests", "meal"],
        },
    },
}
QUESTION = {"role": "user", "content": "How will the weather be in Oslo for the next 3 days?"}


@pytest.fixture
def official(server: LiveServer) -> Iterator[ollama.Client]:
    with closing(ollama.Client(host=server.url)) as client:
        yield client


@pytest.fixture
def demo(server: LiveServer) -> Iterator[Table]:
    with closing(Table(server, "/api/chat")) as table:
        yield table


def _check_weather(call: ollama.Message.ToolCall) -> None:
    assert call.function.name == "get_weather"
    assert set(call.function.arguments) == {"city", "days"}
    assert isinstance(call.function.arguments["city"], str)
    assert isinstance(call.function.arguments["days"], int)


def test_the_ollama_client_calls_a_python_function_and_gives_its_result_back(official: ollama.Client) -> None:
    messages: list[Any] = [QUESTION]
    reply = official.chat(DEMO, messages, tools=[get_weather], options=MUST)
    assert (reply.done, reply.done_reason, reply.message.content) == (True, "stop", "")
    [call] = reply.message.tool_calls or []
    _check_weather(call)
    messages += [reply.message]
    messages += [{"role": "tool", "tool_name": call.function.name, "content": get_weather(**call.function.arguments)}]
    told = official.chat(DEMO, messages, options={"temperature": 0, "num_predict": 12})
    assert told.message.content
    assert not told.message.tool_calls
    assert (told.prompt_eval_count or 0) > 30
    again = official.chat(DEMO, [*messages, QUESTION], tools=[get_weather], options=MUST)
    _check_weather((again.message.tool_calls or [])[0])


def test_the_ollama_client_gets_a_call_in_a_stream(official: ollama.Client) -> None:
    parts = list(official.chat(DEMO, [QUESTION], tools=[get_weather, BOOK], options=MUST, stream=True))
    [calling] = [part for part in parts if part.message.tool_calls]
    [call] = calling.message.tool_calls or []
    assert call.function.name in {"get_weather", "book_table"}
    assert not calling.done
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].done_reason == "stop"
    assert "".join(part.message.content or "" for part in parts) == ""
    whole = official.chat(DEMO, [QUESTION], tools=[get_weather, BOOK], options=MUST)
    assert whole.message.tool_calls == calling.message.tool_calls


@pytest.mark.anyio
async def test_the_async_ollama_client_gets_the_call_that_it_demands_by_name(server: LiveServer) -> None:
    official = ollama.AsyncClient(host=server.url)
    try:
        options = {**MUST, "tool_choice": "book_table"}
        reply = await official.chat(DEMO, [QUESTION], tools=[get_weather, BOOK], options=options)
        [call] = reply.message.tool_calls or []
        stream = await official.chat(DEMO, [QUESTION], tools=[get_weather, BOOK], options=options, stream=True)
        [same] = [call async for part in stream for call in part.message.tool_calls or []]
    finally:
        await official.close()
    assert call.function.name == "book_table"
    jsonschema.validate(dict(call.function.arguments), BOOK["function"]["parameters"])
    assert same == call


@pytest.mark.parametrize("seed", range(3))
def test_a_demanded_call_always_fits_its_schema(demo: Table, seed: int) -> None:
    options = {"temperature": 1.2, "seed": seed, "num_predict": 80}
    fields = {"model": DEMO, "messages": [QUESTION], "tools": [BOOK], "options": options}
    choice = {"type": "function", "function": {"name": "book_table"}}
    message = demo.whole(tool_choice=choice, **fields)["message"]
    [call] = message["tool_calls"]
    assert call["function"]["index"] == 0
    jsonschema.validate(call["function"]["arguments"], BOOK["function"]["parameters"])
    found = [line["message"] for line in demo.lines(tool_choice="required", **fields)]
    calls = [each for part in found for each in part.get("tool_calls", [])]
    assert [each["function"] for each in calls] == [call["function"]]


def test_a_demanded_call_that_is_cut_short_is_still_a_call_and_says_so(demo: Table) -> None:
    options = {"temperature": 0, "num_predict": 3}
    reply = demo.whole(model=DEMO, messages=[QUESTION], tools=[BOOK], tool_choice="required", options=options)
    assert reply["done_reason"] == "length"
    [call] = reply["message"]["tool_calls"]
    jsonschema.validate(call["function"]["arguments"], BOOK["function"]["parameters"])


def test_without_a_demand_a_model_that_knows_no_tools_refuses_them(official: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        official.chat(DEMO, [QUESTION], tools=[get_weather])
    assert caught.value.status_code == 400
    assert caught.value.error == "registry.ollama.ai/library/smollm2:135m does not support tools"
    with pytest.raises(ollama.ResponseError, match="invalid tool_choice"):
        official.chat(DEMO, [QUESTION], tools=[get_weather], options={"tool_choice": "fly"})
    allowed = official.chat(
        DEMO, [QUESTION], tools=[get_weather], options={"tool_choice": "none", "temperature": 0, "num_predict": 4}
    )
    assert allowed.message.content


def test_a_model_whose_template_knows_tools_writes_calls_in_its_own_syntax(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with shelf(tmp_path_factory.mktemp("shelf")) as server, closing(Table(server, "/api/chat")) as tiny:
        fields = {"model": "tiny", "messages": [QUESTION], "tools": [BOOK], "think": False}
        prompt = tiny.prompt(**fields)
        assert json.loads(prompt.partition("\n")[0])["function"]["name"] == "book_table"
        options = {"temperature": 0, "num_predict": 300}
        reply = tiny.whole(**fields, tool_choice="required", options=options)
        [call] = reply["message"]["tool_calls"]
        jsonschema.validate(call["function"]["arguments"], BOOK["function"]["parameters"])
        asked = {"role": "assistant", "content": "", "tool_calls": [call]}
        result = {"role": "tool", "tool_name": "book_table", "content": "done"}
        assert "<tool_call>" in tiny.prompt(**{**fields, "messages": [QUESTION, asked, result]})
        thought = tiny.whole(**{**fields, "think": True}, tool_choice="required", options={**options, "num_predict": 9})
        assert (thought["message"]["content"], thought["done_reason"]) == ("", "length")
        assert thought["message"]["thinking"]
        either = {"model": "tiny", "messages": [QUESTION], "format": {"enum": ["a", "b"]}, "options": options}
        assert tiny.whole(**either, think=False)["message"]["content"] in {'"a"', '"b"'}
        cut = tiny.whole(**{**either, "options": {**options, "num_predict": 9}})
        assert (cut["message"]["content"] in {'"a"', '"b"'}, cut["done_reason"]) == (True, "length")
        assert cut["message"]["thinking"]
