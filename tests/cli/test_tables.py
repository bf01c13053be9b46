from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from remuda.cli.tables import table

from .conftest import Remuda, StandIn

DIGEST = "0123456789abcdef" * 4


def test_columns_are_four_spaces_apart() -> None:
    assert table(("A", "LONG"), [("xyz", "1"), ("", "22222")]) == (
        "A      LONG     \nxyz    1        \n       22222    "
    )


def test_what_cannot_be_seen_is_escaped() -> None:
    assert table(("A", "B"), [("x\x1b[2J", "y\n")]) == "A           B      \nx\\x1b[2J    y\\n    "


def test_list(remuda: Remuda, stand_in: StandIn) -> None:
    then = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    stand_in.models = [
        {"name": "smollm2:135m", "digest": DIGEST, "size": 98_300_000, "modified_at": then},
        {"name": "far:cloud", "digest": DIGEST, "size": 384, "modified_at": then, "remote_host": "https://x"},
    ]
    result = remuda("list")
    assert result.exit_code == 0
    assert result.stdout == (
        "NAME            ID              SIZE     MODIFIED      \n"
        "smollm2:135m    0123456789ab    98 MB    3 days ago    \n"
        "far:cloud       0123456789ab    -        3 days ago    \n"
    )


@pytest.mark.parametrize(("prefix", "names"), [("", ["b:1", "Ba:2", "c:3"]), ("B", ["b:1", "Ba:2"]), ("ba:", ["Ba:2"])])
def test_list_takes_a_prefix_in_any_case(remuda: Remuda, stand_in: StandIn, prefix: str, names: list[str]) -> None:
    stand_in.models = [{"name": "b:1"}, {"name": "Ba:2"}, {"name": "c:3"}]
    stand_in.running = stand_in.models
    for command in ("list", "ls", "ps"):
        lines = remuda(command, *([prefix] if prefix else [])).stdout.splitlines()
        assert [line.split()[0] for line in lines[1:]] == names


def test_ps(remuda: Remuda, stand_in: StandIn) -> None:
    now = datetime.now(UTC)
    common = {"digest": DIGEST, "size": 200_000_000, "context_length": 4096}
    stand_in.running = [
        {"name": "a:1", **common, "size_vram": 0, "expires_at": (now + timedelta(minutes=4.5)).isoformat()},
        {"name": "b:1", **common, "size_vram": 50_000_000, "expires_at": "2318-01-01T00:00:00.5+02:00"},
        {"name": "c:1", **common, "size_vram": 0, "expires_at": (now - timedelta(seconds=1)).isoformat()},
    ]
    assert [line.rstrip() for line in remuda("ps").stdout.splitlines()] == [
        "NAME    ID              SIZE      PROCESSOR          CONTEXT    UNTIL",
        "a:1     0123456789ab    200 MB    100% CPU           4096       4 minutes from now",
        "b:1     0123456789ab    200 MB    75%/25% CPU/GPU    4096       Forever",
        "c:1     0123456789ab    200 MB    100% CPU           4096       Stopping...",
    ]


def test_ps_says_what_a_model_is_about_to_do(remuda: Remuda, stand_in: StandIn) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1.1)).isoformat()
    common = {"digest": DIGEST, "size": 200_000_000, "context_length": 4096, "expires_at": later}
    stand_in.running = [
        {"name": "a:1", **common, "state": "loading"},
        {"name": "b:1", **common, "state": "ready"},
        {"name": "c:1", **common, "state": "draining"},
    ]
    assert [line.rstrip()[34:] for line in remuda("ps").stdout.splitlines()] == [
        "PROCESSOR    CONTEXT    UNTIL",
        "Unknown      4096       Loading...",
        "100% CPU     4096       About an hour from now",
        "100% CPU     4096       Stopping...",
    ]


def test_ps_says_who_waits(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.queue = [
        {"model": "b:1", "position": 1, "seconds": 12.5},
        {"model": "a:1", "position": 1, "seconds": 0.2},
        {"model": "b:1", "position": 2, "seconds": 3.0},
        {"model": "b:1", "position": 3, "seconds": 1.0},
    ]
    header = "NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL    \n"
    of_a = "1 request waits for a:1, for less than a second\n"
    of_b = "3 requests wait for b:1, the longest for 12 seconds\n"
    assert remuda("ps").stdout == f"{header}\n{of_b}{of_a}"
    assert remuda("ps", "A").stdout == f"{header}\n{of_a}"
    stand_in.queue = []
    assert remuda("ps").stdout == header


def test_list_says_where_models_are_if_some_are_elsewhere(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.models = [{"name": "a:1"}, {"name": "b:1", "upstreams": ["gpu-1", "gpu-2"]}, {"name": "c:1"}]
    last = [line.rstrip().rpartition("  ")[2] for line in remuda("list").stdout.splitlines()]
    assert last == ["UPSTREAMS", "here", "gpu-1, gpu-2", "here"]
    assert "UPSTREAMS" not in remuda("list", "a").stdout


def test_ps_says_where_models_are_if_some_are_elsewhere(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.running = [{"name": "a:1", "upstream": "gpu-1"}, {"name": "a:1"}, {"name": "a:1", "upstream": "gpu-2"}]
    assert [line.split()[-1] for line in remuda("ps").stdout.splitlines()] == ["UPSTREAM", "gpu-1", "here", "gpu-2"]


def test_upstreams(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.upstreams = [
        {"name": "gpu-1", "kind": "ollama", "state": "up", "running": 12, "models": ["a:1", "b:1"], "loaded": ["a:1"]},
        {"name": "gpu-2", "kind": "ollama", "state": "down", "waiting": 3, "error": "upstream 'gpu-2' broke\x1b[31m"},
        {"name": "cloud", "kind": "openai", "state": "trying", "error": "upstream 'cloud' answered 500", "new": 1},
        {"name": "later", "kind": "openai", "state": "unknown"},
    ]
    result = remuda("upstreams")
    assert result.exit_code == 0
    assert [line.rstrip() for line in result.stdout.splitlines()] == [
        "NAME     KIND      STATE      RUNNING    WAITING    MODELS    LOADED",
        "gpu-1    ollama    up         12         0          2         1",
        "gpu-2    ollama    down       0          3          0         0",
        "cloud    openai    trying     0          0          0         0",
        "later    openai    unknown    0          0          0         0",
        "",
        "gpu-2: broke[31m",
        "cloud: answered 500",
    ]


def test_upstreams_that_are_well_have_nothing_underneath(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.upstreams = [{"name": "a", "kind": "ollama", "state": "up", "error": "upstream 'a' answered 500"}]
    assert len(remuda("upstreams").stdout.splitlines()) == 2
    stand_in.upstreams = []
    assert remuda("upstreams").stdout.split() == "NAME KIND STATE RUNNING WAITING MODELS LOADED".split()


def test_upstreams_of_a_server_that_has_no_such_thing(remuda: Remuda, stand_in: StandIn) -> None:
    result = remuda("upstreams")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: this server knows nothing of upstreams\n"


@pytest.mark.parametrize("command", ["list", "ps", "upstreams"])
def test_no_server(remuda: Remuda, nobody: str, command: str) -> None:
    result = remuda(command)
    text = f"Error: could not connect to a remuda server at {nobody}, run 'remuda serve' to start it\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", text)
