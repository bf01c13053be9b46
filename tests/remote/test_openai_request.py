from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from openai_jobs import WEATHER, a_job, member_of

from remuda.errors import BadRequest
from remuda.job import Job, Message
from remuda.output import ToolCall
from remuda.wire import Tool
from remuda_remote.openai.flavour import LLAMA_CPP_PYTHON, LLAMA_SERVER, STANDARD, VLLM, Flavour, Learned, flavour_of
from remuda_remote.openai.formats import closed
from remuda_remote.openai.request import request_for
from remuda_remote.openai.wire import ListedModel

FLAVOURS = (STANDARD, LLAMA_SERVER, LLAMA_CPP_PYTHON, VLLM)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def sent(job: Job, flavour: Flavour = STANDARD, learned: Learned | None = None, **settings: Any) -> dict[str, Any]:
    """The body of the request, without what is always in it."""
    request = request_for(job, "there", member_of(**settings), flavour, learned or Learned())
    body = msgspec.json.decode(msgspec.json.encode(request.asked))
    assert (body.pop("model"), body.pop("stream")) == ("there", True)
    assert body.pop("stream_options", None) in (None, {"include_usage": True})
    return body


def refused(job: Job, flavour: Flavour = STANDARD, **settings: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        request_for(job, "there", member_of(**settings), flavour, Learned())
    return str(caught.value)


def test_a_chat_is_sent_with_nothing_that_was_not_asked_for():
    job = a_job(Message("system", "Be brief."), "Hi")
    assert sent(job) == {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}


def test_options_that_every_server_has_are_sent_and_those_about_loading_are_not():
    options = {"temperature": 0.5, "top_p": 0.25, "seed": 2**40 + 7, "stop": ("a", "b"), "num_predict": 5}
    more = {"presence_penalty": 1.0, "frequency_penalty": -1.0, "num_ctx": 512, "num_gpu": 1, "use_mmap": True}
    expected = {"temperature": 0.5, "top_p": 0.25, "seed": 7, "stop": ["a", "b"], "max_tokens": 5}
    for flavour in FLAVOURS:
        body = sent(a_job(options={**options, **more}), flavour)
        del body["messages"]
        assert body == {**expected, "presence_penalty": 1.0, "frequency_penalty": -1.0}


def test_options_that_ask_for_nothing_are_left_out():
    nothing = {"seed": -1, "num_predict": -1, "stop": (), "top_k": -1, "min_p": 0.0, "typical_p": 1.0}
    assert set(sent(a_job(options={**nothing, "repeat_penalty": 1.0, "repeat_last_n": 0}))) == {"messages"}


@pytest.mark.parametrize(
    ("flavour", "fields"),
    [
        (
            LLAMA_SERVER,
            {"top_k": 3, "min_p": 0.1, "typical_p": 0.5, "repeat_penalty": 1.5, "repeat_last_n": 9, "n_keep": 2},
        ),
        (LLAMA_CPP_PYTHON, {"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.5}),
        (VLLM, {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5}),
        (STANDARD, {}),
    ],
    ids=lambda each: each.name or "standard" if isinstance(each, Flavour) else "",
)
def test_options_beyond_the_api_go_to_servers_that_have_them(flavour: Flavour, fields: dict[str, Any]):
    options = {"top_k": 3, "min_p": 0.1, "typical_p": 0.5, "repeat_penalty": 1.5, "repeat_last_n": 9, "num_keep": 2}
    body = sent(a_job(options=options), flavour, unsupported="ignore")
    del body["messages"]
    assert body == fields
    for name, value in options.items():
        if name not in flavour.options:
            assert f"upstream 'far' cannot do the option \"{name}\"" in refused(a_job(options={name: value}), flavour)


def test_a_server_that_wants_the_other_name_for_the_limit_gets_it():
    body = sent(a_job(options={"num_predict": 0}), learned=Learned(completion_tokens=True))
    assert (body["max_completion_tokens"], "max_tokens" in body) == (1, False)


def test_generate_continues_raw_text_and_fills_in_before_a_suffix():
    raw = sent(a_job("ignored", prompt="Once", logprobs=3))
    assert raw == {"prompt": "Once", "logprobs": 3}
    assert sent(a_job("def f(", suffix="return")) == {"prompt": "def f(", "suffix": "return"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"context": [1, 2]}, "context"),
        ({"render_only": True}, "_debug_render_only"),
        ({"format": "regex"}, "format"),
        ({"format": {"type": "gbnf", "grammar": "root ::= [a]"}}, "format"),
    ],
)
def test_what_has_no_place_in_the_api_is_refused_by_name(fields: dict[str, Any], named: str):
    text = refused(a_job(**fields))
    assert text.startswith("upstream 'far' cannot do ")
    assert f'"{named}"' in text


def test_what_has_no_place_in_a_completion_is_refused_by_name():
    picture = Message("user", "x", images=(b"\x89PNG",))
    assert '"raw"' in refused(a_job(picture, prompt="x"))
    assert '"suffix"' in refused(a_job(picture, suffix="y"))
    assert '"suffix"' in refused(a_job(Message("system", "s"), "x", suffix="y"))
    assert '"suffix": llama-server' in refused(a_job("x", suffix="y"), LLAMA_SERVER)


def test_images_become_data_urls_of_their_kind():
    images = (b"\x89PNG...", b"\xff\xd8\xff..", b"GIF89a", b"BM..", b"RIFF....WEBP")
    (message,) = sent(a_job(Message("user", "What is it?", images=images)))["messages"]
    text, *parts = message["content"]
    assert text == {"type": "text", "text": "What is it?"}
    for image, kind, part in zip(images, ("png", "jpeg", "gif", "bmp", "webp"), parts, strict=True):
        assert part["image_url"]["url"] == f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def test_calls_keep_their_ids_or_get_some_that_their_replies_share():
    calls = (ToolCall(name="a", arguments={"z": 1, "a": 2}), ToolCall(name="b", arguments={}, id="mine"))
    job = a_job(
        Message("assistant", "", thinking="hm", tool_calls=calls),
        Message("tool", "for b", tool_name="b"),
        Message("tool", "for a"),
        Message("tool", "late", tool_call_id="other"),
    )
    said = sent(job, LLAMA_SERVER)["messages"]
    function = {"name": "a", "arguments": '{"z":1,"a":2}'}
    assert said[0]["tool_calls"][0] == {"id": "call_0", "type": "function", "function": function}
    assert [each["id"] for each in said[0]["tool_calls"]] == ["call_0", "mine"]
    assert [each["tool_call_id"] for each in said[1:]] == ["mine", "call_0", "other"]
    assert said[0]["reasoning_content"] == "hm"
    assert "reasoning_content" not in sent(job)["messages"][0]


def test_tools_have_parameters_and_are_demanded_as_far_as_the_server_can():
    bare = Tool()
    body = sent(a_job(tools=(WEATHER, bare)))
    assert body["tools"][0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}
    assert body["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert "tool_choice" not in body
    named = {"type": "function", "function": {"name": "weather"}}
    assert sent(a_job(tools=(WEATHER,), tool_choice=""))["tool_choice"] == "required"
    assert sent(a_job(tools=(WEATHER,), tool_choice="weather"))["tool_choice"] == named
    assert sent(a_job(tools=(WEATHER,), tool_choice=""), LLAMA_CPP_PYTHON)["tool_choice"] == named
    forced = sent(a_job(tools=(WEATHER, bare), tool_choice="weather"), LLAMA_SERVER)
    assert (forced["tool_choice"], [each["function"]["name"] for each in forced["tools"]]) == ("required", ["weather"])
    assert '"tool_choice"' in refused(a_job(tools=(WEATHER, bare), tool_choice=""), LLAMA_CPP_PYTHON)


def test_each_server_is_told_to_think_in_its_own_way():
    def thinking(think: bool | str | None, flavour: Flavour) -> dict[str, Any]:
        body = sent(a_job(think=think), flavour)
        del body["messages"]
        return body

    for flavour in FLAVOURS:
        assert thinking(None, flavour) == {}
    for flavour in (LLAMA_SERVER, VLLM):
        assert thinking(False, flavour) == {"chat_template_kwargs": {"enable_thinking": False}}
        level = {"enable_thinking": True, "reasoning_effort": "high"}
        assert thinking("max", flavour) == {"chat_template_kwargs": level}
    assert [thinking(each, STANDARD) for each in (False, True, "low")] == [
        {},
        {"reasoning_effort": "medium"},
        {"reasoning_effort": "low"},
    ]
    assert thinking(False, LLAMA_CPP_PYTHON) == {}
    assert '"think"' in refused(a_job(think=True), LLAMA_CPP_PYTHON)


def test_a_format_takes_the_form_that_the_server_knows_and_has_not_refused():
    def formats(format: Any, flavour: Flavour, *refused: str, **fields: Any) -> Any:
        body = sent(a_job(format=format, **fields), flavour, Learned(formats=set(refused)))
        return body.get("response_format", body.get("json_schema"))

    def strict(schema: Any) -> Any:
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}

    assert formats("json", STANDARD) == {"type": "json_object"}
    assert formats("json", STANDARD, "json_object") == strict({"type": "object"})
    assert formats("json", STANDARD, "json_object", "json_schema") is None
    assert formats(SCHEMA, STANDARD) == strict({**SCHEMA, "additionalProperties": False})
    assert formats(SCHEMA, LLAMA_SERVER) == strict(SCHEMA)
    assert formats(SCHEMA, STANDARD, "json_schema") is None
    assert formats("json", LLAMA_CPP_PYTHON) == {"type": "json_object"}
    assert formats(SCHEMA, LLAMA_CPP_PYTHON) == {"type": "json_object", "schema": SCHEMA}
    assert formats(SCHEMA, LLAMA_SERVER, prompt="raw") == SCHEMA
    assert formats(SCHEMA, VLLM, prompt="raw") == strict(SCHEMA)
    assert formats(SCHEMA, STANDARD, prompt="raw") is None


def test_a_server_is_known_by_who_owns_its_models():
    def of(*owners: str | None) -> Flavour:
        return flavour_of([ListedModel(str(at), owned_by=owner) for at, owner in enumerate(owners)])

    assert [of("llamacpp"), of("me", "me"), of("vllm")] == [LLAMA_SERVER, LLAMA_CPP_PYTHON, VLLM]
    assert of("organization_owner").formats == ("json_schema",)
    assert {of().name, of(None).name, of("openai", "system").name, of("vllm", "me").name} == {STANDARD.name}


def test_objects_are_closed_where_the_schema_leaves_them_open():
    shut = {"additionalProperties": False}
    inner = {"properties": {"properties": {"type": "string"}}}
    schema = {
        "$defs": {"a": inner},
        "properties": {"x": {"items": inner}, "y": {"anyOf": [inner, True]}, "z": {**inner, "allOf": [{}]}},
        "default": {"properties": {}},
    }
    assert closed(schema) == {
        "$defs": {"a": inner | shut},
        "properties": {
            "x": {"items": inner | shut},
            "y": {"anyOf": [inner | shut, True]},
            "z": {**inner, "allOf": [{}]},
        },
        "default": {"properties": {}},
        **shut,
    }
    for open in ({"type": "object"}, {**inner, "additionalProperties": {"type": "string"}}, True):
        assert closed(open) == open
