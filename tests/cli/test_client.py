from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from remuda.cli.client import Client, ServerError, Target, Unreachable, target_from
from remuda.cli.replies import Piece
from remuda.wire import ChatMessage, ChatRequest, GenerateRequest

from .conftest import DONE, StandIn


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (None, Target("http://127.0.0.1:11434", True)),
        ("0.0.0.0", Target("http://127.0.0.1:11434", True)),
        (":8080", Target("http://127.0.0.1:8080", True)),
        ("[::]:8080", Target("http://[::1]:8080", True)),
        ("::1", Target("http://[::1]:11434", True)),
        ("localhost:99", Target("http://localhost:99", True)),
        ("https://models.example/base/", Target("https://models.example:443/base", False)),
        ("10.1.2.3", Target("http://10.1.2.3:11434", False)),
        ("ollama.local", Target("http://ollama.local:11434", False)),
    ],
)
def test_ollama_host_as_a_target(text: str | None, target: Target) -> None:
    assert target_from({} if text is None else {"OLLAMA_HOST": text}) == target


@pytest.fixture
def client(stand_in: StandIn) -> Iterator[Client]:
    client = Client(target_from())
    yield client
    client.close()


ASK = GenerateRequest(model="m", prompt="p")


def test_an_answer_comes_line_by_line(client: Client, stand_in: StandIn) -> None:
    stand_in.says("Hel", "lo", eval_count=2)
    pieces = list(client.generate(ASK))
    assert [piece.text for piece in pieces] == ["Hel", "lo", ""]
    assert pieces[-1] == Piece(response="", done=True, eval_count=2)


def test_a_chat_comes_line_by_line(client: Client, stand_in: StandIn) -> None:
    stand_in.replies = [[{"thinking": "Hm", "response": ""}, {"response": "Hello"}, {**DONE, "eval_count": 2}]]
    request = ChatRequest(model="m", messages=[ChatMessage(role="user", content="p")])
    pieces = list(client.chat(request))
    assert [(piece.thought, piece.text) for piece in pieces] == [("Hm", ""), ("", "Hello"), ("", "")]
    assert (pieces[-1].done, pieces[-1].eval_count, stand_in.paths) == (True, 2, ["/api/chat"])
    assert stand_in.asked[0]["messages"][0]["content"] == "p"


def test_line_separators_inside_a_string_do_not_split_it(client: Client, stand_in: StandIn) -> None:
    text = "a\u2028b\u2029c\x85d"
    stand_in.replies = [[b'{"response":"' + text.encode() + b'"}\n{"done":true}\n']]
    assert [piece.text for piece in client.generate(ASK)] == [text, ""]


def test_a_last_line_needs_no_newline(client: Client, stand_in: StandIn) -> None:
    stand_in.replies = [[b'{"response":"a"}\n{"done":true}']]
    assert [piece.done for piece in client.generate(ASK)] == [False, True]


def test_a_line_may_be_long_and_come_in_pieces(client: Client, stand_in: StandIn) -> None:
    text = "x" * 20_000_000
    stand_in.replies = [[b'{"response":"', text.encode(), b'"}\n\n{"done"', b":true}"]]
    assert [len(piece.text) for piece in client.generate(ASK)] == [len(text), 0]


def test_an_error_line_is_raised_after_what_came_before(client: Client, stand_in: StandIn) -> None:
    stand_in.replies = [[{**DONE, "response": "a", "done": False}, {"error": "the runner died"}]]
    pieces = client.generate(ASK)
    assert next(pieces).text == "a"
    with pytest.raises(ServerError, match=r"^the runner died$"):
        next(pieces)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"model \'m\' not found"}', "model 'm' not found"),
        (b"<html>", "the server answered with status 404"),
        (b"{}", "the server answered with status 404"),
    ],
)
def test_a_refusal_carries_message_and_status(client: Client, stand_in: StandIn, body: bytes, message: str) -> None:
    stand_in.status, stand_in.replies = 404, [[body]]
    with pytest.raises(ServerError) as caught:
        next(client.generate(ASK))
    assert (caught.value.message, caught.value.status) == (message, 404)


def test_something_else_than_the_protocol_is_an_error(client: Client, stand_in: StandIn) -> None:
    stand_in.replies = [[b"hello\n"]]
    with pytest.raises(ServerError, match="something else than"):
        next(client.generate(ASK))


def test_leaving_an_answer_closes_the_connection(client: Client, stand_in: StandIn) -> None:
    stand_in.replies = [[{**DONE, "response": "a", "done": False}, b"WAIT"]]
    pieces = client.generate(ASK)
    next(pieces)
    pieces.close()
    assert stand_in.gone.wait(10)


def test_nobody_there(nobody: str) -> None:
    client = Client(target_from())
    assert not client.reachable()
    with pytest.raises(Unreachable, match=nobody):
        client.models()
    client.close()


def test_a_proxy_is_not_asked_for_this_machine(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client = Client(target_from())
    assert client.reachable()
    client.close()


def test_replies_may_lack_what_other_servers_leave_out(client: Client, stand_in: StandIn) -> None:
    stand_in.models = [{"name": "m:latest"}]
    stand_in.running = [{"name": "m:latest", "something": "new"}]
    assert [model.name for model in client.models()] == ["m:latest"]
    assert [model.size for model in client.in_memory().models] == [0]


@pytest.mark.parametrize(
    ("line", "thought", "text"),
    [
        ({"done": True}, "", ""),
        ({"response": "a", "thinking": None, "context": "new"}, "", "a"),
        ({"message": {"content": None, "tool_calls": [{}]}}, "", ""),
        ({"message": {"role": "assistant", "thinking": "b"}}, "b", ""),
    ],
)
def test_lines_may_lack_what_other_servers_leave_out(
    client: Client, stand_in: StandIn, line: dict[str, Any], thought: str, text: str
) -> None:
    stand_in.replies = [[json.dumps(line).encode()]]
    [piece] = client.generate(ASK)
    assert (piece.thought, piece.text) == (thought, text)
