"""Lines of the Ollama API as events, line by line."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from remuda.backend import Done
from remuda.errors import BadRequest, EngineError
from remuda.job import Event, Finished, Loaded, Rendered, ToolCalls, Waiting
from remuda.output import Text, Thinking, TokenLogprob, ToolCall
from remuda.pipeline.replies import waiting_line
from remuda.wire import encode
from remuda_remote.client import Reply
from remuda_remote.faults import Broke, Fault, Refused
from remuda_remote.ollama.events import Answer

from .ollama_jobs import job_of

pytestmark = pytest.mark.anyio

ASK = {"prompt": "hi"}
DONE = {"done": True, "done_reason": "stop"}
END = Finished(Done(reason="stop"), 0, 0)


class Given(Reply):
    """A reply whose blocks of lines are known; `lines` counts on being closed."""

    def __init__(self, *blocks: bytes) -> None:
        self.upstream, self.status, self.headers = "box", 200, {}
        self.blocks, self.open = blocks, True

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        for block in self.blocks:
            yield block

    def lines(self) -> AsyncGenerator[bytes, None]:
        return self._lines()

    async def aclose(self) -> None:
        self.open = False


def block(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def told(*blocks: bytes, path: str = "/api/generate", **fields: Any) -> list[Event]:
    reply = Given(*blocks)
    answer = Answer(reply, job_of(path, {"model": "m", **(fields or ASK)}), "m")
    try:
        await answer.begin()
        return [event async for event in answer]
    finally:
        await answer.aclose()
        assert not reply.open


async def lines(*each: dict[str, Any], **fields: Any) -> list[Event]:
    """The same whether the lines come one by one or all at once."""
    alone, together = await told(*map(block, each), **fields), await told(block(*each), **fields)
    assert alone == together
    return alone


@pytest.mark.parametrize("wrap", [lambda text: {"response": text}, lambda text: {"message": {"content": text}}])
async def test_a_line_is_a_piece(wrap: Any) -> None:
    facts = {
        "total_duration": 9,
        "load_duration": 8,
        "prompt_eval_count": 7,
        "prompt_eval_duration": 6,
        "eval_count": 5,
        "eval_duration": 4,
        "context": [1, 2],
        "truncated": True,
        "dropped_tokens": 3,
        "cached_tokens": 2,
    }
    last = {**wrap(""), "done": True, "done_reason": "length", **facts}
    assert await lines({**wrap("é"), "done": False}, {**wrap(" \n"), "done": False}, last) == [
        Text("é"),
        Text(" \n"),
        Finished(
            Done(
                reason="length",
                prompt_tokens=7,
                cached_tokens=2,
                prompt_ns=6,
                output_tokens=5,
                output_ns=4,
                context=[1, 2],
                dropped_tokens=3,
            ),
            9,
            8,
        ),
    ]


@pytest.mark.parametrize(
    ("line", "events"),
    [
        ({"response": ""}, [Text("")]),
        ({"response": None, "thinking": None}, [Text("")]),
        ({"response": "a", "thinking": "b"}, [Thinking("b"), Text("a")]),
        ({"message": {"role": "assistant", "content": "", "thinking": "b"}}, [Thinking("b")]),
        ({"message": {}}, [Text("")]),
        (
            {"message": {"content": "a", "tool_calls": [{"function": {"name": "f", "arguments": {"b": 1, "a": 2.0}}}]}},
            [Text("a"), ToolCalls([ToolCall(name="f", arguments={"b": 1, "a": 2.0})])],
        ),
        (
            {"message": {"content": "", "tool_calls": [{"id": "x", "function": {"index": 4, "arguments": None}}]}},
            [ToolCalls([ToolCall(name="", arguments={}, id="x")])],
        ),
    ],
)
async def test_what_a_line_says(line: dict[str, Any], events: list[Event]) -> None:
    assert await lines({**line, "done": False}, DONE) == [*events, END]
    said = [event for event in events if event != Text("")]
    assert await lines({**line, **DONE}) == [*said, END], "in the last line too, where others put it"


async def test_log_probabilities_go_with_what_they_are_of_and_are_never_lost() -> None:
    top = [{"token": "b", "logprob": -2, "bytes": [98]}, {"token": "\ufffd", "logprob": -3.5, "bytes": [0xE2]}]
    wire = {"token": "é", "logprob": -0.5, "bytes": [0xC3, 0xA9], "top_logprobs": top}
    token = TokenLogprob("é".encode(), -0.5, [TokenLogprob(b"b", -2.0), TokenLogprob(b"\xe2", -3.5)])
    assert await lines({"response": "é", "logprobs": [wire]}, DONE) == [Text("é", [token]), END]
    assert await lines({"response": "", "logprobs": [wire, wire]}, DONE) == [Text("", [token, token]), END]
    assert await lines({"response": "", "thinking": "t", "logprobs": [wire]}, DONE) == [Thinking("t", [token]), END]
    assert await lines({"response": "", "logprobs": [wire], **DONE}) == [Text("", [token]), END]
    call = {"content": "", "tool_calls": [{"function": {"name": "f"}}]}
    calls = ToolCalls([ToolCall(name="f", arguments={})])
    assert await lines({"message": call, "logprobs": [wire]}, DONE) == [Text("", [token]), calls, END]


@pytest.mark.parametrize(
    ("wire", "token"),
    [
        ({"token": "é", "logprob": -1}, TokenLogprob("é".encode(), -1.0)),
        ({"token": "a", "logprob": None, "bytes": None, "top_logprobs": None}, TokenLogprob(b"a", -math.inf)),
        ({"token": "a", "bytes": [300, -1], "logprob": 0}, TokenLogprob(b"a", 0.0)),
        ({}, TokenLogprob(b"", -math.inf)),
    ],
)
async def test_log_probabilities_of_other_servers(wire: dict[str, Any], token: TokenLogprob) -> None:
    assert await lines({"response": "x", "logprobs": [wire]}, DONE) == [Text("x", [token]), END]


async def test_jobs_without_an_answer() -> None:
    for reason in ("load", "unload"):
        assert await lines({"response": "", "done": True, "done_reason": reason}, keep_alive=0) == [Loaded()]
    debug = {"rendered_template": "P", "image_count": 2}
    asked = {**ASK, "_debug_render_only": True}
    assert await lines({"response": "", "done": False, "_debug_info": debug}, **asked) == [Rendered("P", 2)]
    with pytest.raises(BadRequest, match=r"^upstream 'box' cannot do _debug_render_only"):
        await lines({"response": "x", "done": False}, **asked)


@pytest.mark.parametrize(
    "line",
    [
        {"status": "waiting", "position": 3},
        {"status": "loading model", "position": 1, "total": 1000, "completed": 425},
        {"status": "loading model", "position": 1, "total": 7, "completed": 7},
        {"status": "loading model", "position": 1},
        *({"status": "loading model", "total": 49 + at, "completed": 7 * at + 1, "position": 1} for at in range(1, 9)),
    ],
)
async def test_waiting_is_told_again_in_the_same_words_to_who_wants_to_know(line: dict[str, Any]) -> None:
    asked = {**ASK, "progress": True}
    waiting, text, end = await lines(line, {"response": "x"}, DONE, **asked)
    assert isinstance(waiting, Waiting)
    assert json.loads(encode(waiting_line(waiting))) == line
    assert [text, end] == [Text("x"), END]
    assert await lines(line, {"response": "x"}, DONE) == [Text("x"), END]
    assert await lines(line, DONE, progress=True) == [waiting, Loaded()]


async def test_a_pull_before_the_answer_is_a_wait() -> None:
    pulls = [{"status": "pulling manifest"}, {"status": "pulling 0123", "digest": "x", "total": 9, "completed": 3}]
    assert await lines(*pulls, DONE, **ASK, progress=True) == [Waiting(0), Waiting(0), END]
    assert await lines(*pulls, DONE) == [END]


@pytest.mark.parametrize(
    "facts",
    [
        {"eval_count": None, "total_duration": "soon", "prompt_eval_count": -5, "load_duration": True},
        {"done_reason": None, "context": None, "message": None, "logprobs": None, "unknown": {"a": []}},
        {"done_reason": "stop"},
    ],
)
async def test_numbers_that_make_no_sense_are_none(facts: dict[str, Any]) -> None:
    assert await lines({**DONE, **facts}) == [END]
    counts = {"eval_count": 5.0, "prompt_eval_count": 10**30}
    [finished] = await lines({**DONE, **counts})
    assert isinstance(finished, Finished)
    assert (finished.done.output_tokens, finished.done.prompt_tokens) == (5, 2**63 - 1)


async def test_what_comes_after_the_end_is_not_read() -> None:
    assert await lines({"response": "x", **DONE}, {"response": "y"}, {"error": "late"}) == [Text("x"), END]
    assert await told(b"\n\r\n", block({"response": "x"}) + b"\n" + block(DONE)) == [Text("x"), END]


@pytest.mark.parametrize(
    ("error", "said"),
    [("the model died", "the model died"), ({"message": "no"}, "no"), ({"code": 5}, ""), ("x" * 9000, "x" * 2000)],
)
async def test_an_error_line(error: Any, said: str) -> None:
    with pytest.raises(Refused) as first:
        await lines({"error": error})
    assert (first.value.status, first.value.said) == (500, said)
    answer = Answer(
        Given(block({"response": "a"}, {"response": "b"}, {"error": error})),
        job_of("/api/chat", {"model": "m", "messages": [{"role": "user"}]}),
        "m",
    )
    await answer.begin()
    assert [await anext(answer), await anext(answer)] == [Text("a"), Text("b")]
    with pytest.raises(Refused) as later:
        await anext(answer)
    assert isinstance(later.value.error(), EngineError)
    assert str(later.value.error()) == (said or "upstream 'box' answered 500")
    await answer.aclose()


@pytest.mark.parametrize(
    "last",
    [
        *(b"", b"<html>\n", b'{"response":5}\n', b"[]\n", b'{"response":"\xff"}\n', b"[" * 5000 + b"\n"),
        b'{"message":{"tool_calls":[{"function":{"arguments":"{}"}}]}}\n',
    ],
)
async def test_an_end_that_is_none(last: bytes) -> None:
    blocks = [last] if last else []
    for before, count in (((), 0), ((block({"response": "a"}),), 1)):
        answer, events, fault = (
            Answer(Given(*before, *blocks), job_of("/api/generate", {"model": "m", **ASK}), "m"),
            [],
            None,
        )
        try:
            await answer.begin()
            events = [await anext(answer) for _ in range(count)]
            await anext(answer)
        except Fault as error:
            fault = error
        await answer.aclose()
        assert events == [Text("a")] * count
        assert isinstance(fault, Broke)
        assert str(fault).startswith("upstream 'box' ")
