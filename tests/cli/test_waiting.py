"""What `remuda run` shows on a terminal before the answer begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from remuda.config import Config
from remuda.plugins import Plugins, load_plugins
from remuda.testing.scripted import Script, ScriptedPlugin
from remuda.testing.server import LiveServer

from .conftest import DONE, Remuda, StandIn
from .terminal import Terminal

HIDDEN = "\x1b[?25l"
"""The cursor, while something moves."""
GONE = "\x1b[?25h\r\x1b[1A\x1b[2K"
"""The cursor is back, and the line is empty."""

WAITING = {"status": "waiting", "position": 1}
ANSWER = {**DONE, "response": "Hello."}


def test_without_a_terminal_nobody_is_told(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.replies = [[WAITING, ANSWER]]
    result = remuda("run", "m", "p")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello.\n", "")
    assert stand_in.asked[0]["progress"] is None


def test_a_terminal_on_which_nothing_moves_is_told_nothing(stand_in: StandIn) -> None:
    stand_in.replies = [[WAITING, ANSWER]]
    with Terminal("run", "m", "p", term="dumb") as terminal:
        assert terminal.expect("Hello.\n") == "Hello.\n"
        assert terminal.ended() == 0
    assert stand_in.asked[0]["progress"] is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"status": "waiting", "position": 2}, "waiting, 1 request before this one"),
        ({"status": "waiting", "position": 3}, "waiting, 2 requests before this one"),
        ({"status": "loading model", "position": 1, "total": 1000}, "loading model\r"),
        ({"status": "loading model", "position": 1, "total": 1000, "completed": 425}, "loading model 42%\r"),
        ({"status": "pulling \x1b]0;it\x07[bold]x", "total": 10, "completed": 20}, "pulling ]0;it[bold]x 100%\r"),
    ],
)
def test_a_spinner_says_what_is_waited_for(stand_in: StandIn, tmp_path: Path, line: dict[str, Any], words: str) -> None:
    stand_in.replies = [[line, b"GATE", ANSWER]]
    with (tmp_path / "answer").open("wb") as file, Terminal("run", "m", "p", term="xterm", stdout=file) as terminal:
        assert HIDDEN in terminal.expect(words)
        stand_in.gate.set()
        terminal.expect(GONE)
        assert terminal.ended() == 0
    assert (tmp_path / "answer").read_text() == "Hello.\n"
    assert stand_in.asked[0]["progress"] is True


def test_the_spinner_is_gone_when_the_answer_begins(stand_in: StandIn) -> None:
    stand_in.replies = [[WAITING, b"GATE", {**ANSWER, "done": False}, b"WAIT"]]
    with Terminal("run", "m", "p", term="xterm") as terminal:
        terminal.expect("waiting for its turn")
        stand_in.gate.set()
        assert terminal.expect("Hello.").endswith(f"{GONE}Hello.")


def test_an_error_ends_the_spinner(stand_in: StandIn) -> None:
    stand_in.replies = [[WAITING, b"GATE", {"error": "no room"}]]
    with Terminal("run", "m", "p", term="xterm") as terminal:
        terminal.expect("waiting for its turn")
        stand_in.gate.set()
        assert terminal.expect("Error: no room\n").endswith(f"{GONE}Error: no room\n")
        assert terminal.ended() == 1


@pytest.mark.parametrize("prompt", [["p"], []], ids=["question", "load"])
def test_ctrl_c_while_waiting_leaves_at_once(stand_in: StandIn, prompt: list[str]) -> None:
    stand_in.replies = [[WAITING, b"WAIT"]]
    with Terminal("run", "m", *prompt, term="xterm") as terminal:
        terminal.expect("waiting for its turn")
        terminal.interrupt()
        assert stand_in.gone.wait(60)
        terminal.expect(GONE)
        assert terminal.ended() == 130


def test_ctrl_c_while_waiting_returns_to_the_conversation(stand_in: StandIn) -> None:
    stand_in.replies = [[DONE], [WAITING, b"WAIT"], [WAITING, ANSWER]]
    with Terminal("run", "m", term="xterm") as terminal:
        terminal.expect(">>> ")
        terminal.type("hello")
        terminal.expect("waiting for its turn")
        terminal.interrupt()
        terminal.expect(">>> ")
        terminal.type("again")
        terminal.expect("Hello.")
        terminal.expect(">>> ")
        terminal.type("/bye")
        assert terminal.ended() == 0
    assert [asked["progress"] for asked in stand_in.asked] == [True, True, True]


@pytest.fixture
def plugins() -> Plugins:
    return load_plugins((), [("scripted", ScriptedPlugin())])


@pytest.fixture
def live(plugins: Plugins, scripted: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """A server with `slow`, which takes two seconds to load, and `busy`, which serves one request at a time."""
    config = scripted(
        slow=Script(pieces=["Here", " I am."], load_delay=2.0, load_steps=4, needs=1000),
        busy=Script(pieces=["on ", "and "], repeat=100_000, delay=0.01, parallel=1),
    )
    with LiveServer(config, plugins) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


@pytest.mark.usefixtures("live")
def test_a_model_that_loads_slowly(remuda: Remuda) -> None:
    with Terminal("run", "slow", "hello", term="xterm") as terminal:
        terminal.expect("loading model 25%")
        _, loading, _, waits = remuda("ps").stdout.splitlines()
        assert loading.split()[0] == "slow:latest"
        assert loading.rstrip().endswith("Unknown      4096       Loading...")
        assert waits.startswith("1 request waits for slow:latest, for ")
        assert terminal.expect("I am.").endswith(f"{GONE}Here I am.")
        assert terminal.ended() == 0
    with Terminal("run", "slow", "hello", term="xterm") as terminal:
        assert "loading" not in terminal.expect("Here I am.")


@pytest.mark.usefixtures("live")
def test_a_conversation_waits_for_its_model() -> None:
    with Terminal("run", "slow", term="xterm") as terminal:
        terminal.expect("loading model 25%")
        terminal.expect(">>> ")
        terminal.type("/bye")
        assert terminal.ended() == 0


def test_a_model_that_is_busy(live: LiveServer, remuda: Remuda) -> None:
    asked = {"model": "busy", "prompt": "hello"}
    with httpx.stream("POST", f"{live.url}/api/generate", json=asked, timeout=20) as held:
        lines = held.iter_lines()  # which closes the connection when nobody has it any more
        assert json.loads(next(lines))["response"] == "on "
        with Terminal("run", "busy", "hello", term="xterm") as second:
            second.expect("waiting for its turn")
            with Terminal("run", "busy", "--option", "num_predict=3", "hello", term="xterm") as third:
                third.expect("waiting, 1 request before this one")
                [line] = remuda("ps").stdout.splitlines()[3:]
                assert line.startswith("2 requests wait for busy:latest, the longest for ")
                second.interrupt()
                assert second.ended() == 130
                third.expect("waiting for its turn")
                held.close()
                third.expect("on and on")
                assert third.ended() == 0
    assert len(remuda("ps").stdout.splitlines()) == 2
