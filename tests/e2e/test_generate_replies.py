"""`POST /api/generate`: the order in which a request is checked, and the shape of every reply (Ollama API, "Generate",
"Schedule-time errors").
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from .conftest import DEMO
from .tables import JSON, METRICS, Table, settled

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z")


ENDPOINT = "/api/generate"
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": 5}, "$.prompt"),
    ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
    ({"model": "a//b"}, "invalid model name"),
    ({"model": "nope"}, "model 'nope' not found"),
    ({"raw": True, "system": "s"}, "raw mode does not support template, system, or context"),
    ({"think": True}, '"plain" does not support thinking'),
    ({"suffix": "x"}, "does not support insert"),
    ({"template": "{{"}, "template: :1: unclosed action"),
]
"""In the order of the checks; each with the words of its refusal."""


@pytest.mark.parametrize(("first", "second"), [*combinations(FAULTS, 2)])
def test_of_two_faults_the_first_in_the_protocols_order_is_told(
    table: Table, first: tuple[dict[str, Any], str], second: tuple[dict[str, Any], str]
) -> None:
    (fault, words), (other, _) = first, second
    text = table.refused(404 if "not found" in words else 400, **{"model": "plain", "prompt": "hi", **other, **fault})
    assert words in text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "missing request body"),
        (b" \n", "missing request body"),
        (b"x", "invalid JSON"),
        (b'{"model": "plain"', "invalid JSON"),
        (b"[]", "the body must be a JSON object"),
        (b'"plain"', "the body must be a JSON object"),
        (b'{"model": "plain", "prompt": "\\ud800"}', "half of a surrogate pair"),
        (b'{"format": ' + b"[" * 100_000, "invalid JSON"),
        (b'{"prompt": "hi"}', "model is required"),
    ],
)
def test_a_body_that_is_no_request(table: Table, body: bytes, text: str) -> None:
    reply = table.post(body)
    assert (reply.status_code, reply.headers["content-type"]) == (400, JSON)
    assert list(reply.json()) == ["error"]
    assert text in reply.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"MODEL": "plain", "Prompt": "hi", "Stream": false}',
        b'{"model": "plain", "prompt": "hi", "stream": false, "unknown": {"a": 1}}',
        b'{"model": "plain", "prompt": "hi", "stream": false} trailing',
        b'\xef\xbb\xbf {"model": "plain", "prompt": "hi", "stream": false}\n\n',
    ],
)
def test_a_body_is_read_as_leniently_as_go_does(table: Table, body: bytes) -> None:
    reply = table.http.post(table.endpoint, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert reply.json()["response"] == "one two three"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "load"),
        ({"prompt": ""}, "load"),
        ({"prompt": None}, "load"),
        ({"stream": True}, "load"),
        ({"system": "s", "suffix": "", "images": []}, "load"),
        ({"raw": True}, "load"),
        ({"_debug_render_only": True}, "load"),
        ({"keep_alive": 60}, "load"),
        ({"keep_alive": "1m"}, "load"),
        ({"keep_alive": -1}, "load"),
        ({"keep_alive": 0}, "unload"),
        ({"keep_alive": 0.0}, "unload"),
        ({"keep_alive": "0"}, "unload"),
        ({"keep_alive": "0s", "stream": True}, "unload"),
        ({"keep_alive": 0, "raw": True, "system": "s"}, "unload"),
        ({"keep_alive": 0, "options": {"top_k": "x"}, "suffix": "x"}, "unload"),
    ],
)
def test_without_a_prompt_a_model_is_loaded_or_unloaded(table: Table, fields: dict[str, Any], reason: str) -> None:
    for _ in range(2):
        reply = table.post({"model": "plain", **fields})
        assert (reply.status_code, reply.headers["content-type"]) == (200, JSON)
        assert list(reply.json()) == ["model", "created_at", "response", "done", "done_reason"]
        assert settled(reply.json()) == {"model": "plain", "response": "", "done": True, "done_reason": reason}
        assert ("plain:latest" in table.loaded()) == (reason == "load")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        (90.5, 90.5),
        ("90", 90),
        ("90s", 90),
        ("1m30s", 90),
        ("1.5m", 90),
        ("90000ms", 90),
        (None, 90),
        ("2h45m", 9900),
        (-1, None),
        ("-1", None),
        ("-1m", None),
        (1e300, None),
    ],
)
def test_keep_alive_says_how_long_a_model_stays(table: Table, value: Any, seconds: float | None) -> None:
    table.whole(model="plain", prompt="hi", keep_alive=90)
    before = datetime.now(UTC)
    table.whole(model="plain", prompt="hi", keep_alive=value)
    expires = table.loaded()["plain:latest"]["expires_at"]
    stays = datetime.fromisoformat(re.sub(r"\.(\d{6})\d*", r".\1", expires)) - before
    if seconds is None:
        assert stays > timedelta(days=365 * 200)
    else:
        assert abs(stays.total_seconds() - seconds) < 5


def test_a_keep_alive_of_zero_unloads_after_the_answer(table: Table) -> None:
    assert table.whole(model="plain", prompt="hi", keep_alive=0)["response"] == "one two three"
    assert "plain:latest" not in table.loaded()


def test_an_embedding_model_does_not_generate(table: Table) -> None:
    for fields in ({"prompt": "hi"}, {}, {"prompt": "hi", "raw": True}, {"prompt": "hi", "suffix": "x"}):
        assert table.refused(model="embedder", **fields) == '"embedder" does not support generate'
    assert table.refused(model="embedder", prompt="hi", think=True) == '"embedder" does not support thinking'
    assert table.whole(model="embedder", keep_alive=0)["done_reason"] == "unload"
    assert "embedder:latest" not in table.loaded()


@pytest.mark.parametrize("model", ["plain", "thinker", "hole", "tiny"])
def test_the_lines_of_a_stream(table: Table, model: str) -> None:
    lines = table.lines(model=model, prompt="hi", options={"num_predict": 8, "temperature": 0})
    for line in lines:
        assert RFC3339.fullmatch(line["created_at"])
        assert line["model"] == model
    for line in lines[:-1]:
        assert [key for key in line if key != "thinking"] == ["model", "created_at", "response", "done"]
        assert line["response"] or line["thinking"]
    last = lines[-1]
    assert last["response"] == ""
    assert last["done_reason"] in {"stop", "length"}
    assert isinstance(last["context"], list)
    assert all(isinstance(last[metric], int) and last[metric] > 0 for metric in METRICS)
    parts = ("load_duration", "prompt_eval_duration", "eval_duration")
    assert sum(last[part] for part in parts) <= last["total_duration"]


def test_the_object_that_is_the_whole_answer(table: Table, demo: Table) -> None:
    whole = table.whole(model="plain", prompt="hi")
    assert list(whole) == ["model", "created_at", "response", "done", "done_reason", "context", *METRICS]
    options = {"num_predict": 3, "temperature": 0}
    whole = demo.whole(model=DEMO, prompt="hi", options=options)
    assert whole["done_reason"] == "length"
    assert whole["prompt_eval_count"] + whole["eval_count"] == len(whole["context"])
    assert whole["eval_count"] == 3
    again = demo.whole(model=DEMO, prompt="hi", options=options)
    assert again["prompt_eval_count"] == whole["prompt_eval_count"]


def test_text_is_utf_8_and_never_cut_inside_a_character(demo: Table) -> None:
    prompt = "Repeat: 日本語 🙂 é"
    body = json.dumps({"model": DEMO, "prompt": prompt, "raw": True, "options": {"num_predict": 24, "temperature": 0}})
    raw = demo.http.post(demo.endpoint, content=body).content
    assert b"\\u" not in raw
    raw.decode("utf-8")
    shown = demo.http.post(demo.endpoint, json={"model": DEMO, "prompt": "<&>🙂", "_debug_render_only": True}).content
    assert "<&>🙂" in shown.decode("utf-8")


def test_a_failure_in_the_middle_is_the_last_line_and_a_500_for_a_whole_answer(table: Table) -> None:
    with table.http.stream("POST", table.endpoint, json={"model": "fails", "prompt": "hi"}) as reply:
        assert reply.status_code == 200
        first, last = map(json.loads, reply.iter_lines())
    assert first["response"] == "a"
    assert last == {"error": "the script says so"}
    reply = table.post({"model": "fails", "prompt": "hi", "stream": False})
    assert (reply.status_code, reply.json()) == (500, {"error": "the script says so"})
