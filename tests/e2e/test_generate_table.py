"""`POST /api/generate`, field by field: its type, its default, its error, its effect (Ollama API, "Generate")."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from .conftest import DEMO
from .tables import Table, settled

ENDPOINT = "/api/generate"
NO_THINK = 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'
BAD_THINK = 'invalid think value: "hard" (must be "high", "medium", "low", "max", true, or false)'
SHORT = {"temperature": 0, "num_predict": 4}
PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0" + bytes(64),
).decode()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("model", 5, "$.model"),
        ("prompt", 5, "$.prompt"),
        ("prompt", ["x"], "$.prompt"),
        ("suffix", 5, "$.suffix"),
        ("system", {}, "$.system"),
        ("template", [], "$.template"),
        ("context", "x", "$.context"),
        ("context", ["x"], "$.context[0]"),
        ("context", [1.5], "$.context[0]"),
        ("context", [1, -1], "context holds a number that is no token"),
        ("context", [2**64], "context holds a number that is no token"),
        ("context", [2**31 - 1], "context holds a token outside this model's vocabulary"),
        ("stream", "yes", "$.stream"),
        ("stream", 1, "$.stream"),
        ("raw", "no", "$.raw"),
        ("format", "xml", r'invalid format: "\"xml\""; expected "json" or a valid JSON Schema object'),
        ("format", 5, 'invalid format: "5"; expected "json" or a valid JSON Schema object'),
        ("format", True, 'invalid format: "true"; expected "json" or a valid JSON Schema object'),
        ("format", ["json"], r'invalid format: "[\"json\"]"; expected "json" or a valid JSON Schema object'),
        ("keep_alive", True, "Unsupported type: 'bool'"),
        ("keep_alive", [], "Unsupported type: 'array'"),
        ("keep_alive", {}, "Unsupported type: 'object'"),
        ("keep_alive", "soon", 'time: invalid duration "soon"'),
        ("keep_alive", "5 m", 'time: invalid duration "5 m"'),
        ("images", PNG, "$.images"),
        ("images", [5], "$.images[0]"),
        ("images", [f"data:image/png;base64,{PNG}"], "illegal base64 data at input byte 4"),
        ("images", ["aGk"], "illegal base64 data at input byte 0"),
        ("images", ["aGk="], "image 1 is of no kind that is known"),
        ("images", [PNG], "registry.ollama.ai/library/plain:latest does not support vision"),
        ("options", [], "$.options"),
        ("options", "x", "$.options"),
        ("think", 5, NO_THINK),
        ("think", [], NO_THINK),
        ("think", "hard", BAD_THINK),
        ("think", True, '"plain" does not support thinking'),
        ("think", "low", '"plain" does not support thinking'),
        ("truncate", "yes", "$.truncate"),
        ("shift", 0, "$.shift"),
        ("_debug_render_only", "yes", "$._debug_render_only"),
        ("logprobs", 1, "$.logprobs"),
        ("top_logprobs", "x", "$.top_logprobs"),
        ("top_logprobs", 1.5, "$.top_logprobs"),
        ("top_logprobs", 21, "top_logprobs must be between 0 and 20"),
        ("top_logprobs", -1, "top_logprobs must be between 0 and 20"),
    ],
)
def test_a_field_of_the_wrong_type_or_value_is_named(table: Table, field: str, value: Any, words: str) -> None:
    body = {"model": "plain", "prompt": "hi", field: value}
    stated = body.pop("stream", None)
    if stated is None:
        assert words in table.refused(**body)
    else:
        reply = table.post({**body, "stream": stated})
        assert reply.status_code == 400
        assert words in reply.json()["error"]


FIELDS = [
    *("suffix", "system", "template", "context", "raw", "format", "keep_alive", "images", "options", "think"),
    *("truncate", "shift", "_debug_render_only", "logprobs", "top_logprobs", "stream"),
]


@pytest.mark.parametrize("field", FIELDS)
def test_null_is_absent(table: Table, field: str) -> None:
    reply = table.post({"model": "opened", "prompt": "hi", field: None}).content
    lines = [settled(json.loads(line)) for line in reply.splitlines()]
    assert lines == [settled(line) for line in table.lines(model="opened", prompt="hi")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("suffix", ""),
        ("system", ""),
        ("template", ""),
        ("context", []),
        ("stream", True),
        ("raw", False),
        ("format", ""),
        ("images", []),
        ("options", {}),
        ("think", False),
        ("truncate", True),
        ("shift", True),
        ("_debug_render_only", False),
        ("logprobs", False),
        ("top_logprobs", 0),
    ],
)
def test_a_field_left_out_is_its_default(table: Table, field: str, value: Any) -> None:
    found = table.lines(model="plain", prompt="p" * 50, **{field: value})
    assert list(map(settled, found)) == list(map(settled, table.lines(model="plain", prompt="p" * 50)))


@pytest.mark.parametrize("name", ["plain", "PLAIN", "plain:latest", " plain ", "library/plain", "plain:local"])
def test_model_is_found_however_it_is_written_and_told_as_typed(table: Table, name: str) -> None:
    assert table.whole(model=name, prompt="hi")["model"] == name


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        (None, 400, "model is required"),
        ("", 400, "model is required"),
        ("a//b", 400, "invalid model name"),
        ("Nope", 404, "model 'Nope' not found"),
        ("nope:7b", 404, "model 'nope:7b' not found"),
        ("plain:cloud", 403, "ollama cloud is disabled: remote model is unavailable"),
        ("plain:local:cloud", 400, 'use either :local or :cloud, not both: "plain:local:cloud"'),
    ],
)
def test_a_model_that_is_not_there(table: Table, name: str | None, status: int, words: str) -> None:
    assert table.refused(status, model=name, prompt="hi") == words
    assert table.refused(status, model=name) == words


def test_prompt_is_rendered_by_the_models_template(table: Table, demo: Table) -> None:
    assert table.prompt(model="bare", prompt="hi") == "hi"
    assert table.prompt(model="plain", prompt="hi") == "user:hi|A:"
    assert demo.prompt(model=DEMO, prompt="hi") == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_system_replaces_the_models_own(table: Table, demo: Table) -> None:
    opening = "user:hey|assistant:ho|user:hi|A:"
    assert table.prompt(model="opened", prompt="hi") == f"system:Be brief.|{opening}"
    assert table.prompt(model="opened", prompt="hi", system="Be long.") == f"system:Be long.|{opening}"
    assert demo.prompt(model=DEMO, prompt="hi", system="S").startswith("<|im_start|>system\nS<|im_end|>\n")


def test_template_replaces_the_models_own(table: Table, demo: Table) -> None:
    walks = "{{ range .Messages }}[{{ .Role }} {{ .Content }}]{{ end }}"
    assert table.prompt(model="plain", prompt="hi", template="<{{ .Prompt }}>{{ .Response }}</>") == "<hi>"
    assert table.prompt(model="plain", prompt="hi", system="S", template="{{ .System }}/{{ .Prompt }}") == "S/hi"
    assert table.prompt(model="plain", prompt="hi", system="S", template=walks) == "[system S][user hi]"
    said = demo.whole(model=DEMO, prompt="One, two, three,", template="{{ .Prompt }}", options=SHORT)
    assert "four" in said["response"]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ .Prompt ", "template: :1: unclosed action"),
        ("{{ if .Prompt }}x", "template: :1: unexpected EOF"),
        ("a\n{{ end }}", "template: :2: unexpected {{end}}"),
        ("{{ frobnicate .Prompt }}", 'template: :1: function "frobnicate" not defined'),
        ('{{ template "x" }}{{ .Prompt }}', 'template "x" not defined'),
    ],
)
def test_a_bad_template_is_refused_in_gos_words(table: Table, template: str, text: str) -> None:
    assert text in table.refused(model="plain", prompt="hi", template=template)


def test_suffix_needs_a_template_or_tokens_for_it(table: Table, demo: Table) -> None:
    assert table.prompt(model="filler", prompt="a", suffix="b", system="S") == "<P>a<S>b<M>"
    assert table.prompt(model="filler", prompt="a") == "a"
    filled = table.prompt(model="hole", prompt="a", suffix="b")
    assert filled == "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    whole = table.whole(model="hole", prompt="a", suffix="b", options={"num_predict": 4, "temperature": 0})
    assert (whole["eval_count"], len(whole["response"]) > 0) == (4, True)
    for asked, name in ((table, "plain:latest"), (demo, DEMO)):
        text = asked.refused(model=name, prompt="a", suffix="b")
        assert text == f"registry.ollama.ai/library/{name} does not support insert"


def test_context_is_returned_and_continues(table: Table, demo: Table) -> None:
    first = table.whole(model="plain", prompt="hi")
    assert first["context"] == [*map(ord, "user:hi|A:"), 1, 2, 3]
    second = table.whole(model="plain", prompt="go", context=first["context"])
    assert second["context"] == [*first["context"], *map(ord, "user:go|A:"), 1, 2, 3]
    assert table.prompt(model="opened", prompt="hi", context=[65]) == "system:Be brief.|user:hi|A:"
    fields = {"model": DEMO, "options": {"temperature": 0, "num_predict": 24}}
    told = demo.whole(prompt="Why is the sky blue?", **fields)
    asked = demo.whole(prompt="Say more.", context=told["context"], **fields)
    assert asked["context"][: len(told["context"])] == told["context"]
    text = demo.prompt(prompt="Why is the sky blue?", **fields) + told["response"]
    same = demo.whole(prompt=text + demo.prompt(prompt="Say more.", **fields), raw=True, **fields)
    assert (asked["response"], asked["prompt_eval_count"]) == (same["response"], same["prompt_eval_count"])


def test_raw_is_taken_as_it_is(table: Table, demo: Table) -> None:
    assert table.prompt(model="opened", prompt="hi", raw=True) == "hi"
    whole = table.whole(model="plain", prompt="hi", raw=True)
    assert (whole["response"], whole["prompt_eval_count"], "context" in whole) == ("one two three", 2, False)
    said = demo.whole(model=DEMO, prompt="One, two, three,", raw=True, options=SHORT)
    assert "four" in said["response"]
    for field in ({"template": "{{ .Prompt }}"}, {"system": "s"}, {"context": [1]}):
        text = table.refused(model="plain", prompt="hi", raw=True, **field)
        assert text == "raw mode does not support template, system, or context"


def test_stream_is_the_default(table: Table) -> None:
    lines = table.lines(model="plain", prompt="hi")
    whole = table.whole(model="plain", prompt="hi")
    assert [line["response"] for line in lines] == ["one", " two", " three", ""]
    assert whole["response"] == "one two three"
    assert settled({**lines[-1], "response": "one two three"}) == settled(whole)


def test_think_splits_the_answer_and_is_the_default_where_a_model_can(table: Table) -> None:
    for think in ({}, {"think": True}, {"think": "high"}):
        whole = table.whole(model="thinker", prompt="hi", **think)
        assert (whole["thinking"], whole["response"]) == ("hm hm", "yes sir")
        lines = table.lines(model="thinker", prompt="hi", **think)
        assert [(line.get("thinking", ""), line["response"]) for line in lines] == [
            *(("hm", ""), (" hm", ""), ("", "yes"), ("", " sir"), ("", "")),
        ]
    plain = table.whole(model="thinker", prompt="hi", think=False)
    assert plain["response"] == "<think>hm hm</think>\n\nyes sir"
    assert "thinking" not in plain


def test_truncate_and_shift_say_what_happens_at_the_end_of_the_context(table: Table) -> None:
    options = {"num_ctx": 64}
    cut = table.whole(model="bare", prompt="p" * 100, options=options)
    assert (cut["truncated"], cut["dropped_tokens"]) == (True, 100 - cut["prompt_eval_count"])
    text = table.refused(model="bare", prompt="p" * 100, options=options, truncate=False)
    assert "100 tokens" in text
    assert "63" in text
    assert "longer than the context" in table.refused(model="bare", prompt="p" * 100, options=options, shift=False)
    short = table.whole(model="bare", prompt="p" * 62, options=options, shift=False)
    assert (short["done_reason"], short["eval_count"], "truncated" in short) == ("length", 2, False)
    assert table.whole(model="bare", prompt="p" * 62, options=options, shift=True)["done_reason"] == "stop"


def test_debug_render_only_loads_and_shows_the_prompt(table: Table) -> None:
    table.whole(model="plain", keep_alive=0)
    shown = table.whole(model="plain", prompt="hi", _debug_render_only=True, stream=True)
    assert settled(shown) == {
        **settled(table.lines(model="plain", prompt="hi")[0]),
        "response": "",
        "_debug_info": {"rendered_template": "user:hi|A:"},
    }
    assert "plain:latest" in table.loaded()


def test_format_is_obeyed(demo: Table) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    options = {"temperature": 0, "num_predict": 64}
    whole = demo.whole(model=DEMO, prompt="The sky's colour?", format=schema, options=options)
    assert json.loads(whole["response"])["colour"] in {"red", "blue"}
    lines = demo.lines(model=DEMO, prompt="Describe a cat as JSON.", format="json", options=options)
    assert isinstance(json.loads("".join(line["response"] for line in lines)), dict)
    assert "minimum" in demo.refused(model=DEMO, prompt="x", format={"type": "integer", "minimum": "low"})


@pytest.mark.parametrize("top", [0, 1, 20])
def test_logprobs_tell_every_token_and_the_likeliest(demo: Table, top: int) -> None:
    options = {"temperature": 0, "num_predict": 6}
    fields = {"model": DEMO, "prompt": "hi", "logprobs": True, "top_logprobs": top, "options": options}
    whole = demo.whole(**fields)
    lines = demo.lines(**fields)
    assert [each for line in lines for each in line.get("logprobs", [])] == whole["logprobs"]
    assert len(whole["logprobs"]) == whole["eval_count"] == 6
    assert b"".join(bytes(each["bytes"]) for each in whole["logprobs"]).decode() == whole["response"]
    for each in whole["logprobs"]:
        assert list(each) == ["token", "logprob", "bytes", *(["top_logprobs"] if top else [])]
        assert each["token"].encode() == bytes(each["bytes"])
        assert each["logprob"] <= 0
        likeliest = each.get("top_logprobs", [])
        assert len(likeliest) == top
        assert all(list(one)[:2] == ["token", "logprob"] for one in likeliest)
        assert [one["logprob"] for one in likeliest] == sorted((one["logprob"] for one in likeliest), reverse=True)
        assert not top or likeliest[0]["token"] == each["token"]


def test_top_logprobs_alone_ask_for_nothing(demo: Table) -> None:
    options = {"temperature": 0, "num_predict": 2}
    assert "logprobs" not in demo.whole(model=DEMO, prompt="hi", top_logprobs=5, options=options)
