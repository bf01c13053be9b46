from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from remuda.cli.client import Client, target_from
from remuda.cli.conversation import Conversation
from remuda.cli.repl import Repl

from .conftest import DONE, PNG, StandIn
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


def said(stand_in: StandIn) -> list[list[tuple[str, str]]]:
    """Role and content of the messages of each question."""
    return [[(message["role"], message["content"]) for message in asked["messages"]] for asked in stand_in.asked]


def questions(stand_in: StandIn) -> list[str]:
    return [messages[-1][1] for messages in said(stand_in)]


def test_questions_and_answers_come_before_the_next_question(
    talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.replies = [[{**DONE, "response": "one"}], [{**DONE, "response": "two"}]]
    converse(talk, "hello", "and?", "/clear", "again")
    assert set(stand_in.paths) == {"/api/chat"}
    assert said(stand_in) == [
        [("user", "hello")],
        [("user", "hello"), ("assistant", "one"), ("user", "and?")],
        [("user", "again")],
    ]
    assert capsys.readouterr().out.startswith("one\n")


def test_what_was_thought_stays_with_the_answer(
    talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.replies = [[{"thinking": "Let me "}, {"thinking": "see."}, {"response": "Yes."}, DONE]]
    converse(talk, "a", "b")
    assert capsys.readouterr().out.startswith("Thinking...\nLet me see.\n...done thinking.\n\nYes.\n")
    assert [message["thinking"] for message in stand_in.asked[1]["messages"]] == [None, "Let me see.", None]


def test_several_lines_between_triple_quotes(talk: Conversation, stand_in: StandIn) -> None:
    prompts = converse(talk, '"""one', "two", 'three"""', '"""in one line"""', '"""/bye"""', 'say """hi"""')
    assert questions(stand_in) == ["one\ntwo\nthree", "in one line", "/bye", 'say """hi"""']
    assert prompts == [">>> ", "... ", "... ", ">>> ", ">>> ", ">>> ", ">>> "]


def test_empty_lines_ask_nothing(talk: Conversation, stand_in: StandIn) -> None:
    converse(talk, "", "   ")
    assert stand_in.asked == []


def test_the_system_message_stands_first(
    talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.says("x")
    converse(talk, "a", '/set system "Be brief."', "b", '/set system """Be', 'long."""', "c", "/clear", "d")
    assert [messages[0] for messages in said(stand_in)] == [
        ("user", "a"),
        ("system", "Be brief."),
        ("system", "Be\nlong."),
        ("system", "Be\nlong."),
    ]
    assert [len(messages) for messages in said(stand_in)] == [1, 4, 6, 2]
    assert capsys.readouterr().out.count("Set system message.\n") == 2


def test_thinking_is_switched(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    converse(talk, "a", "/set think", "b", "/set think high", "c", "/set nothink", "d", "/set think hard", "e")
    assert [asked["think"] for asked in stand_in.asked] == [None, True, "high", False, False]
    shown = capsys.readouterr()
    for line in ("Set 'think' mode.\n", "Set 'think' mode to 'high'.\n", "Set 'nothink' mode.\n"):
        assert line in shown.out
    assert shown.err == (
        'Error: invalid value for /set think: "hard" (must be true, false, high, medium, low, or max)\n'
    )


def test_the_format_is_switched(talk: Conversation, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    converse(talk, "/set format json", "a", '/set format {"type": "integer"}', "b", "/set noformat", "c")
    converse(talk, "/set format {")
    assert [asked["format"] for asked in stand_in.asked] == ["json", {"type": "integer"}, None]
    shown = capsys.readouterr()
    assert "Set format to 'json'.\n" in shown.out
    assert "Disabled format.\n" in shown.out
    assert shown.err.startswith("Error: invalid value for /set format: the text is not a JSON object: ")


def test_an_image_at_the_beginning_is_no_command(
    talk: Conversation, stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.png").write_bytes(b"text")
    converse(talk, f"{tmp_path}/a.png", f"{tmp_path}/b.png", f"{tmp_path}/c.png", "and?")
    shown = capsys.readouterr()
    assert shown.err == (
        f"Added image '{tmp_path}/a.png'\n"
        f"Error: the file '{tmp_path}/b.png' is neither a JPEG nor a PNG nor a WebP image\n"
    )
    assert f"Unknown command '{tmp_path}/c.png'" in shown.out
    assert questions(stand_in) == ["", "and?"]
    assert [message["images"] for message in stand_in.asked[-1]["messages"]] == [
        [b64encode(PNG).decode()],
        None,
        None,
    ]


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
        ("/set format", "Available Commands:\n"),
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
        [{**DONE, "response": "Hello \x1b[31mthere.", "done": False}, DONE],
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
    assert stand_in.paths == ["/api/generate", *["/api/chat"] * 3]
    loading, *stand_in.asked = stand_in.asked
    assert loading["prompt"] == ""
    before = [("user", "hi"), ("assistant", "Hello \x1b[31mthere.")]
    assert said(stand_in) == [
        [("user", "hi")],
        [*before, ("user", "go on")],
        [*before, ("user", "and now")],
    ]


def test_thinking_is_dim_on_a_terminal(stand_in: StandIn) -> None:
    stand_in.replies = [[{"thinking": "Hm \x1b[1m"}, {"response": "Yes."}, DONE], [{"thinking": "Hm"}, b"WAIT"]]
    with Terminal("run", "m", "sure?") as terminal:
        assert terminal.expect("Yes.\n\n") == ("\x1b[2mThinking...\nHm [1m\n...done thinking.\x1b[0m\n\nYes.\n\n")
        assert terminal.ended() == 0
    with Terminal("run", "m", "sure?") as terminal:
        terminal.expect("Hm")
        terminal.interrupt()
        terminal.expect("\x1b[0m")
        assert terminal.ended() == 130


def test_a_prompt_on_a_terminal_is_answered_wrapped(stand_in: StandIn) -> None:
    stand_in.says(*(f"{word} " for word in ("word",) * 30))
    with Terminal("run", "m", "talk") as terminal:
        shown = terminal.expect("\n\n")
        assert terminal.ended() == 0
    assert shown.count("\n") > 3
    stand_in.asked.clear()
    with Terminal("run", "m", "talk", "--nowordwrap") as terminal:
        assert terminal.expect("\n\n").rstrip() == " ".join(("word",) * 30)
