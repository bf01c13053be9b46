from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from remuda.cli.client import Client, target_from
from remuda.cli.conversation import Conversation

from .conftest import DONE, StandIn
from .test_repl import converse

SHOWN: dict[str, Any] = {
    "license": "MIT\x1b",
    "modelfile": "FROM m\n",
    "parameters": 'stop                           "x"',
    "template": "{{ .Prompt }}",
    "system": "Be kind.",
    "model_info": {"general.architecture": "llama"},
    "capabilities": ["completion"],
}


@pytest.fixture
def talk(stand_in: StandIn) -> Iterator[Conversation]:
    client = Client(target_from())
    stand_in.shown = SHOWN
    yield Conversation(client=client, model="m", options={})
    client.close()


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("info", "  Model\n    architecture    llama    \n\n  Capabilities\n    completion    \n"),
        ("license", "MIT\x1b\n"),
        ("modelfile", "FROM m\n"),
        ("parameters", 'Model defined parameters:\n  stop                           "x"\n'),
        ("system", "Be kind.\n"),
        ("template", "{{ .Prompt }}\n"),
    ],
)
def test_show(talk: Conversation, capsys: pytest.CaptureFixture[str], what: str, text: str) -> None:
    converse(talk, f"/show {what}")
    assert capsys.readouterr().out.startswith(text)


def test_show_tells_what_is_set_here(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    converse(talk, "/set system Be brief.", "/set parameter top_k 5", "/show system", "/show parameters")
    shown = capsys.readouterr().out
    assert "\nBe brief.\n" in shown
    assert "User defined parameters:\n  top_k                          5\n" in shown
    assert [(asked["system"], asked["options"]) for asked in stand_in.shows] == [("Be brief.", {"top_k": 5})] * 2


def test_show_of_what_a_model_lacks(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in.shown = {}
    converse(talk, *(f"/show {what}" for what in ("license", "system", "parameters", "info")))
    words = [line for line in capsys.readouterr().out.splitlines() if line]
    assert words == [f"This model has no {what}." for what in ("license", "system", "parameters", "info")]


def test_save(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in.scripts = {"/api/create": [{"status": "writing manifest"}, {"status": "success"}]}
    stand_in.replies = [[{**DONE, "response": "one"}]]
    converse(talk, "/set system Be brief.", "/set parameter stop a b", "hello", "/save mine")
    assert capsys.readouterr().out.endswith("Created new model 'mine'\n\n")
    asked = {key: value for key, value in stand_in.asked[-1].items() if value is not None}
    assert stand_in.paths[-1] == "/api/create"
    assert asked == {
        "model": "mine",
        "from": "m",
        "system": "Be brief.",
        "parameters": {"stop": ["a", "b"]},
        "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "one"}],
    }


def test_save_with_nothing_said(talk: Conversation, stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/create": [{"status": "success"}]}
    converse(talk, "/save mine")
    assert {key: value for key, value in stand_in.asked[-1].items() if value is not None} == {
        "model": "mine",
        "from": "m",
    }


def test_save_that_fails(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in.scripts = {"/api/create": [{"error": "invalid model name"}]}
    converse(talk, "/save a b")
    shown = capsys.readouterr()
    assert shown.err == "Error: invalid model name\n"
    assert "Created" not in shown.out


def test_load(talk: Conversation, stand_in: StandIn) -> None:
    stand_in.replies = [[{**DONE, "response": "one"}]]
    converse(talk, "hello", "/load other", "again")
    assert [asked["model"] for asked in stand_in.asked] == ["m", "other", "other"]
    assert stand_in.asked[1]["prompt"] == ""
    assert [message["content"] for message in stand_in.asked[2]["messages"]] == ["again"]


def test_load_of_what_is_not_there(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in.status, stand_in.replies = 404, [[{"error": "model 'nope' not found"}]]
    converse(talk, "/load nope")
    assert capsys.readouterr().out == "Couldn't find model 'nope'\n\n"
    assert talk.model == "m"


def test_load_that_fails_otherwise(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in.status, stand_in.replies = 500, [[{"error": "no memory"}]]
    converse(talk, "/load huge")
    assert capsys.readouterr().err == "Error: no memory\n"
    assert talk.model == "m"


def test_list(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in.models = [{"name": "b:1"}, {"name": "c:2"}]
    converse(talk, "/list", "/list B")
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert lines == ["NAME", "b:1", "c:2", "NAME", "b:1"]


@pytest.mark.parametrize("line", ["/show", "/save", "/load"])
def test_what_is_missing_is_explained(
    talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    converse(talk, line)
    assert f"\n  {line} " in capsys.readouterr().out
    assert stand_in.asked == []


def test_show_of_something_else(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    converse(talk, "/show colour")
    assert capsys.readouterr().out.startswith("Unknown command '/show colour'. Type /? for help\n")
