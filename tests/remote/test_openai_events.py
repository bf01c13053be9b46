from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from openai_jobs import a_job, calls_of, finished, text_of, thinking_of

from remuda.errors import EngineError
from remuda.job import Event
from remuda.output import Text, TokenLogprob
from remuda_remote.faults import Broke, Fault, Refused
from remuda_remote.openai.events import Reader
from remuda_remote.openai.said import sentence
from remuda_remote.openai.sse import DONE, payloads

COMPLAINT = json.dumps(
    {
        "error": {
            "message": "1 validation error:\n  {'type': 'x', 'loc': ('body', 'top_p'), 'msg': 'Input should be 1', "
            "'input': 2}\n\n  File \"/srv/app.py\", line 3, in x\n    POST"
        }
    }
).encode()


def read(*chunks: dict[str, Any], **fields: Any) -> list[Event]:
    """The events of chunks, the end included."""
    reader = Reader(a_job(**fields), "far", 0)
    events = [event for chunk in chunks for event in reader.take(json.dumps(chunk).encode())]
    return [*events, *reader.finish()]


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def called(*pieces: dict[str, Any], finish: str = "tool_calls") -> list[Event]:
    return read(*[delta(tool_calls=[piece]) for piece in pieces], delta(finish))


def test_payloads_are_found_however_the_lines_are_written():
    block = b': ping\r\nevent: x\ndata: {"a": 1}\r\n\r\ndata:{"b":2}\ndata: [DONE]\n\nid: 4\ndata:\n'
    assert list(payloads(block)) == [b'{"a": 1}', b'{"b":2}', DONE]
    assert list(payloads(b'{"error": 1}\n')) == [b'{"error": 1}']


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1), max_size=5))
def test_all_text_arrives_as_it_was_written(texts: list[str]):
    events = read(*[delta(content=text) for text in texts], delta("stop"))
    assert [event.text for event in events if isinstance(event, Text)] == texts


def test_deltas_without_anything_make_no_events():
    nothing = [delta(role="assistant"), delta(content=None), delta(content="", tool_calls=None), {"choices": []}, {}]
    assert len(read(*nothing, {"choices": None}, delta("stop"))) == 1


def test_other_choices_than_the_first_are_not_read():
    second = {"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}]}
    events = read(delta(content="yes"), second, delta("stop"))
    assert (text_of(events), finished(events).done.reason) == ("yes", "stop")


def test_text_comes_as_a_delta_a_message_a_completion_or_in_parts():
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    for choice in (
        {"delta": {"content": "ab"}},
        {"message": {"content": "ab"}},
        {"text": "ab"},
        {"delta": {"content": parts}},
        {"delta": {"refusal": "ab"}},
    ):
        assert text_of(read({"choices": [{**choice, "finish_reason": "stop"}]})) == "ab"


def test_thinking_goes_by_either_name_and_comes_first():
    events = read(delta(reasoning_content="h"), delta(reasoning="m", content="x"), delta("stop"))
    assert (thinking_of(events), text_of(events)) == ("hm", "x")
    assert [type(event).__name__ for event in events] == ["Thinking", "Thinking", "Text", "Finished"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [("stop", "stop"), ("length", "length"), ("max_tokens", "length"), ("tool_calls", "stop"), ("odd", "stop")],
)
def test_the_end_has_a_reason_that_clients_know(said: str, reason: str):
    assert finished(read(delta(said, content="x"))).done.reason == reason


def test_pieces_of_calls_are_put_together_by_their_index():
    events = called(
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"x"'}},
        {"index": 0, "function": {"arguments": "{}"}},
        {"index": 1, "function": {"name": None, "arguments": ": [1]}"}},
    )
    assert calls_of(events) == [("f", {}), ("g", {"x": [1]})]
    assert [call.id for call in events[0].calls] == ["a", "b"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "pieces",
    [
        [{"id": "a", "function": {"name": "f", "arguments": {"n": 1}}}, {"id": "b", "function": {"name": "f"}}],
        [
            {"function": {"name": "f", "arguments": '{"n"'}},
            {"function": {"arguments": ":1}"}},
            {"function": {"name": "f"}},
        ],
        [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"n":1}'}},
            {"index": 0, "id": "b", "function": {"name": "f", "arguments": " "}},
        ],
        [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"n":'}},
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "1}"}},
            {"index": 1, "id": "b", "function": {"name": "f", "arguments": None}},
        ],
    ],
    ids=["whole, without an index", "without index and id", "one index for all", "the name each time"],
)
def test_calls_are_told_apart_however_a_server_marks_them(pieces: list[dict[str, Any]]):
    assert calls_of(called(*pieces)) == [("f", {"n": 1}), ("f", {})]


def test_arguments_that_are_no_object_are_an_error_that_names_the_tool():
    with pytest.raises(EngineError, match=r"'f'.*no JSON object.*num_predict"):
        called({"index": 0, "function": {"name": "f", "arguments": '{"a": '}}, finish="length")
    with pytest.raises(EngineError, match=r"'f'.*no JSON object: \[1\]"):
        called({"index": 0, "function": {"name": "f", "arguments": "[1]"}})


def test_counts_come_from_usage_from_timings_or_are_made_here():
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}}
    done = finished(read(delta("stop", content="a"), {"choices": [], "usage": usage})).done
    assert (done.prompt_tokens, done.output_tokens, done.cached_tokens) == (9, 4, 6)
    timings = {"cache_n": 5, "prompt_n": 2, "prompt_ms": 1.5, "predicted_n": 3, "predicted_ms": 2.25}
    done = finished(read({**delta("stop", content="a"), "timings": timings})).done
    assert (done.prompt_tokens, done.cached_tokens, done.output_tokens) == (7, 5, 3)
    assert (done.prompt_ns, done.output_ns) == (1_500_000, 2_250_000)
    end = finished(read(delta(content="a"), delta(content="b"), delta("stop")))
    assert (end.done.prompt_tokens, end.done.output_tokens) == (0, 2)
    assert end.total_ns >= end.done.prompt_ns + end.done.output_ns > 0


def test_a_limit_of_nothing_tells_nothing():
    (end,) = read(delta("length", content="x"), options={"num_predict": 0})
    assert finished([end]).done.output_tokens == 0


def test_log_probabilities_come_in_both_forms_and_no_more_than_asked_for():
    chat = {
        "content": [
            {
                "token": "é",
                "logprob": -1.0,
                "bytes": None,
                "top_logprobs": [
                    {"token": "b", "logprob": -2.0, "bytes": [255]},
                    {"token": "a", "logprob": -0.5},
                    {"token": "c", "logprob": -3.0},
                ],
            }
        ]
    }
    older = {
        "tokens": ["é", "x"],
        "token_logprobs": [-1.0, None],
        "top_logprobs": [{"\ufffd": -2.0, "a": -0.5, "c": -3.0}, None],
    }
    for form, second in ((chat, b"\xff"), (older, "\ufffd".encode())):
        choice = {"choices": [{"delta": {"content": "é"}, "logprobs": form, "finish_reason": "stop"}]}
        top = [TokenLogprob(b"a", -0.5), TokenLogprob(second, -2.0)]
        assert read(choice, logprobs=2)[0] == Text("é", [TokenLogprob("é".encode(), -1.0, top)])
        assert read(choice)[0] == Text("é")
    with pytest.raises(Broke, match="log probabilities"):
        read({"choices": [{"delta": {}, "logprobs": {"content": [{"token": 5}]}}]}, logprobs=0)


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b'{"choices": 5}', b"\xff", b'{"choices": [{"delta": {"tool_calls": 1}}]}']
)
def test_what_makes_no_sense_is_a_break(payload: bytes):
    with pytest.raises(Broke, match="makes no sense"):
        Reader(a_job(), "far", 0).take(payload)


def test_an_error_in_the_stream_refuses_before_the_first_piece_and_breaks_after_it():
    error = b'{"error": {"message": "out of memory", "code": 503}}'
    with pytest.raises(Refused) as refused:
        Reader(a_job(), "far", 0).take(error)
    assert (refused.value.status, refused.value.said) == (503, "out of memory")
    reader = Reader(a_job(), "far", 0)
    reader.take(json.dumps(delta(content="x")).encode())
    with pytest.raises(Fault, match="upstream 'far' broke off: out of memory") as broke:
        reader.take(error)
    assert isinstance(broke.value, Broke)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no such model", "type": "x"}}', "no such model"),
        (b'{"error": "plain"}', "plain"),
        (b'{"object": "error", "message": "older"}', "older"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": [{"loc": ["body", "n"], "msg": "too many", "type": "x"}]}', "body.n: too many"),
        (b"upstream connect error", "upstream connect error"),
        (b"<html>502</html>", ""),
        (b"", ""),
        (b"{}", ""),
        (b"null", ""),
        (COMPLAINT, "top_p: Input should be 1"),
        (b'{"error": {"message": "went wrong\\n\\n  File \\"/srv/app.py\\", line 3"}}', "went wrong"),
    ],
)
def test_the_sentence_of_an_error_is_found_in_any_form(body: bytes, said: str):
    assert sentence(body) == said
