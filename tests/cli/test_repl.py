from __future__ import annotations

from collections.abc import Iterator

import pytest

from remuda.cli.client import Client, target_from
from remuda.cli.conversation import Conversation
from remuda.cli.repl import Repl

from .conftest import DONE, StandIn
from .terminal import Terminal


@pytest.fixture
def talk(stand_in: StandIn) -> Iterator[Conversation]:
    client = Client(target_from())
    yield Conversation(client=client, model="m", options={})
    client.close()


def converse(talk: Conversation, *lines: str | type[BaseException]) -> list[str]:
    """Type `lines` and then Ctrl-D; returns the prompts that were shown."""
    typed, prompts = iter([*lines, EOFError]), []

    def read(prompt: str) -> str:
        prompts.append(prompt)
        line = next(typed)
        if isinstance(line, str):
            return line
        raise line

    Repl(talk, read).run()
    return prompts


def test_a_reply_is_the_context_of_the_next_question(
    talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.replies = [[{**DONE, "response": "one", "context": [1, 2]}], [{**DONE, "context": [1, 2, 3]}], [DONE]]
    converse(talk, "hello", "and?", "/clear", "again")
    assert [(asked["prompt"], asked["context"]) for asked in stand_in.asked] == [
        ("hello", None),
        ("and?", [1, 2]),
        ("again", None),
    ]
    assert capsys.readouterr().out.startswith("one\n")


def test_several_lines_between_triple_quotes(talk: Conversation, stand_in: StandIn) -> None:
    prompts = converse(talk, '"""one', "two", 'three"""', '"""in one line"""', '"""/bye"""', 'say """hi"""')
    assert [asked["prompt"] for asked in stand_in.asked] == ["one\ntwo\nthree", "in one line", "/bye", 'say """hi"""']
    assert prompts == [">>> ", "... ", "... ", ">>> ", ">>> ", ">>> ", ">>> "]


def test_empty_lines_ask_nothing(talk: Conversation, stand_in: StandIn) -> None:
    converse(talk, "", "   ")
    assert stand_in.asked == []


def test_the_system_message_is_sent_when_it_is_new(
    talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.says("x", context=[1])
    converse(talk, '/set system "Be brief."', "a", "b", '/set system """Be', 'long."""', "c", "/clear", "d")
    assert [asked["system"] for asked in stand_in.asked] == ["Be brief.", None, "Be\nlong.", "Be\nlong."]
    assert capsys.readouterr().out.count("Set system message.\n") == 2


def test_parameters(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    converse(
        talk,
        "/set parameter temperature 0",
        "/set parameter stop END ###",
        "/set parameter top_p 7",
        "/set parameter nonsense 1",
        "hi",
    )
    assert stand_in.asked[0]["options"] == {"temperature": 0, "stop": ["END", "###"]}
    shown = capsys.readouterr()
    assert "Set parameter 'temperature' to '0'\nSet parameter 'stop' to 'END, ###'\n" in shown.out
    assert 'option "top_p" is 7, out of range' in shown.err
    assert "unknown option 'nonsense'" in shown.err


def test_modes(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in.says("x", eval_count=7)
    converse(talk, "/set verbose", "a", "/set quiet", "b", "/set nowordwrap")
    shown = capsys.readouterr()
    assert shown.err == "eval count:           7 token(s)\n"
    assert "Set 'verbose' mode.\n" in shown.out
    assert "Set 'quiet' mode.\n" in shown.out
    assert talk.wrap is False


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("/what", "Unknown command '/what'. Type /? for help\n"),
        ("/what now", "Unknown command '/what'. Type /? for help\n"),
        ("/set color red", "Unknown command '/set color'. Type /? for help\n"),
        ("/?", "Available Commands:\n"),
        ("/help", "Available Commands:\n"),
        ("/set", "Available Commands:\n"),
        ("/set system", "Available Commands:\n"),
        ("/set parameter temperature", "Available Commands:\n"),
        ("/clear", "Cleared session context\n"),
    ],
)
def test_commands_are_answered_here(
    talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str], line: str, text: str
) -> None:
    converse(talk, line)
    assert capsys.readouterr().out.startswith(text)
    assert stand_in.asked == []


def test_bye_leaves(talk: Conversation, stand_in: StandIn) -> None:
    assert converse(talk, "/bye", "never asked") == [">>> "]
    assert stand_in.asked == []


def test_an_error_does_not_end_the_conversation(
    talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.replies = [[{"error": "the runner died"}], [{**DONE, "response": "back"}]]
    converse(talk, "a", "b")
    shown = capsys.readouterr()
    assert (shown.out.strip(), shown.err) == ("back", "Error: the runner died\n")


def test_interrupting_the_prompt_says_how_to_leave(talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    assert converse(talk, KeyboardInterrupt, '"""begun', KeyboardInterrupt) == [">>> ", ">>> ", "... ", ">>> "]
    assert capsys.readouterr().out.count("Use Ctrl + d or /bye to exit.") == 2


def test_on_a_terminal(stand_in: StandIn) -> None:
    """The whole of it: loading, an answer, one that is stopped, another, the end."""
    stand_in.replies = [
        [{**DONE, "done_reason": "load"}],
        [{**DONE, "response": "Hello \x1b[31mthere.", "done": False}, {**DONE, "context": [7]}],
        [{**DONE, "response": "For ever", "done": False}, b"WAIT"],
        [{**DONE, "response": "Done."}],
    ]
    with Terminal("run", "m") as terminal:
        terminal.expect(">>> ")
        terminal.type("hi")
        assert "Hello [31mthere.\n\n>>> " in terminal.expect(">>> ")
        terminal.type("go on")
        terminal.expect("For ever")
        terminal.interrupt()
        assert stand_in.gone.wait(30)
        terminal.expect(">>> ")
        terminal.type("and now")
        terminal.expect("Done.")
        terminal.expect(">>> ")
        terminal.hang_up()
        assert terminal.ended() == 0
    assert [(asked["prompt"], asked["context"]) for asked in stand_in.asked] == [
        ("", None),
        ("hi", None),
        ("go on", [7]),
        ("and now", [7]),
    ]


def test_a_prompt_on_a_terminal_is_answered_wrapped(stand_in: StandIn) -> None:
    stand_in.says(*(f"{word} " for word in ("word",) * 30))
    with Terminal("run", "m", "talk") as terminal:
        shown = terminal.expect("\n\n")
        assert terminal.ended() == 0
    assert shown.count("\n") > 3
    stand_in.asked.clear()
    with Terminal("run", "m", "talk", "--nowordwrap") as terminal:
        assert terminal.expect("\n\n").rstrip() == " ".join(("word",) * 30)
