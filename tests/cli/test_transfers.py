from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from .conftest import Remuda, StandIn
from .terminal import Terminal

DIGEST = "sha256:" + "0123456789abcdef" * 4


def layer(status: str, completed: int, digest: str = DIGEST, total: int = 98_000_000) -> dict[str, Any]:
    return {"status": status, "digest": digest, "total": total, **({"completed": completed} if completed else {})}


PULL = [
    {"status": "pulling manifest"},
    *(layer("pulling 0123456789ab", part) for part in range(0, 98_000_001, 980_000)),
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
]


def test_pull_in_plain_lines(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/pull": PULL}
    result = remuda("pull", "smollm2:135m")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == (
        "pulling manifest\n"
        "pulling 0123456789ab: 0% of 98 MB\n"
        "pulling 0123456789ab: 100% of 98 MB\n"
        "verifying sha256 digest\n"
        "writing manifest\n"
        "success\n"
    )
    [asked] = stand_in.asked
    assert (asked["model"], asked["insecure"], stand_in.paths) == ("smollm2:135m", False, ["/api/pull"])


@pytest.mark.parametrize("command", ["pull", "push"])
def test_insecure_reaches_the_server(remuda: Remuda, stand_in: StandIn, command: str) -> None:
    stand_in.scripts = {f"/api/{command}": [{"status": "success"}]}
    assert remuda(command, "localhost:5000/a/m", "--insecure").exit_code == 0
    assert stand_in.asked[0]["insecure"] is True


def test_each_upstream_has_lines_of_its_own(remuda: Remuda, stand_in: StandIn) -> None:
    lines = [{**line, "upstream": name} for line in PULL for name in ("gpu-1", "gpu-2")]
    stand_in.scripts = {"/api/pull": lines}
    result = remuda("pull", "--upstream", "gpu-1, gpu-2", "m")
    assert (result.exit_code, result.stdout, stand_in.named) == (0, "", ["gpu-1,gpu-2"])
    statuses = (
        *("pulling manifest", "pulling 0123456789ab: 0% of 98 MB", "pulling 0123456789ab: 100% of 98 MB"),
        *("verifying sha256 digest", "writing manifest", "success"),
    )
    shown = result.stderr.splitlines()
    for name in ("gpu-1", "gpu-2"):
        assert [line for line in shown if line.startswith(name)] == [f"{name}: {status}" for status in statuses]
    assert len(shown) == 2 * len(statuses)


def test_a_pull_that_fails_is_an_error(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/pull": [PULL[0], {"error": "pull model manifest: file does not exist"}]}
    result = remuda("pull", "nope")
    assert (result.exit_code, result.stderr) == (
        1,
        "pulling manifest\nError: pull model manifest: file does not exist\n",
    )


def test_a_stream_that_just_ends_is_an_error(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/pull": PULL[:-1]}
    result = remuda("pull", "m")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, "Error: the stream ended before the work did")


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("me/mine", "https://ollama.com/me/mine"),
        ("me/mine:latest", "https://ollama.com/me/mine"),
        ("me/mine:q4", "https://ollama.com/me/mine:q4"),
        ("localhost:5000/me/mine", "localhost:5000/me/mine:latest"),
    ],
)
def test_push_says_where_the_model_is(remuda: Remuda, stand_in: StandIn, model: str, place: str) -> None:
    lines = [{"status": "retrieving manifest"}, layer("pushing 0123456789ab", 98_000_000), {"status": "success"}]
    stand_in.scripts = {"/api/push": lines}
    result = remuda("push", model)
    assert (result.exit_code, result.stdout) == (0, f"\nYou can find your model at:\n\n\t{place}\n\n")
    assert result.stderr == "retrieving manifest\npushing 0123456789ab: 100% of 98 MB\nsuccess\n"


def test_a_push_that_fails_says_no_place(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/push": [{"error": "unauthorized: access denied"}]}
    result = remuda("push", "me/mine")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: unauthorized: access denied\n")


def test_ctrl_c_ends_a_pull(stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/pull": [PULL[0], b"WAIT"]}
    command = [sys.executable, "-m", "remuda", "pull", "m"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "pulling manifest\n"
        process.send_signal(signal.SIGINT)
        assert stand_in.gone.wait(60)
        assert (process.wait(60), process.stderr.read()) == (130, "\n")


def test_bars_on_a_terminal(stand_in: StandIn) -> None:
    """What a server says is shown as it is, but for control characters."""
    other = "sha256:" + "f" * 64
    lines = [
        {"status": "pulling manifest"},
        layer("pulling 0123456789ab", 49_000_000),
        layer("pulling [red]\x1b[31m", 5, other, 10),
        b"GATE",
        layer("pulling 0123456789ab", 98_000_000),
        layer("pulling [red]\x1b[31m", 10, other, 10),
        {"status": "writing manifest"},
        {"status": "success"},
    ]
    stand_in.scripts = {"/api/pull": lines}
    with Terminal("pull", "m", term="xterm", columns=120) as terminal:
        terminal.expect("pulling manifest\n")
        terminal.expect("pulling 0123456789ab")
        assert " 50% " in terminal.expect("49.0/98.0 MB")
        terminal.expect("pulling [red][31m")
        stand_in.gate.set()
        assert "100%" in terminal.expect("98.0/98.0 MB")
        assert "writing manifest\n" in terminal.expect("success\n")
        assert terminal.ended() == 0


def test_bars_of_one_upstream_outlive_the_words_of_another(stand_in: StandIn) -> None:
    def at(name: str, line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "upstream": name}

    lines = [
        at("a", layer("pulling 0123456789ab", 49_000_000)),
        at("b", layer("pulling 0123456789ab", 24_500_000)),
        b"GATE",
        at("b", {"status": "verifying"}),
        at("b", {"status": "success"}),
        at("a", layer("pulling 0123456789ab", 98_000_000)),
        at("a", {"status": "success"}),
    ]
    stand_in.scripts = {"/api/pull": lines}
    with Terminal("pull", "m", term="xterm", columns=120) as terminal:
        terminal.expect("a: pulling 0123456789ab")
        assert " 50% " in terminal.expect("49.0/98.0 MB")
        terminal.expect("b: pulling 0123456789ab")
        stand_in.gate.set()
        terminal.expect("b: verifying\n")
        assert "a: pulling 0123456789ab" in terminal.expect("98.0/98.0 MB")
        terminal.expect("a: success\n")
        assert terminal.ended() == 0


def test_ctrl_c_gives_the_terminal_back(stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/pull": [layer("pulling 0123456789ab", 49_000_000), b"WAIT"]}
    with Terminal("pull", "m", term="xterm", columns=120) as terminal:
        terminal.expect("\x1b[?25l")
        terminal.expect("pulling 0123456789ab")
        terminal.interrupt()
        terminal.expect("\x1b[?25h")
        assert stand_in.gone.wait(60)
        assert terminal.ended() == 130
