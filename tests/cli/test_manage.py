from __future__ import annotations

import pytest

from .conftest import DONE, Remuda, StandIn


def test_cp(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/copy": []}
    result = remuda("cp", "a", "me/b")
    assert (result.exit_code, result.stdout) == (0, "copied 'a' to 'me/b'\n")
    assert (stand_in.paths, stand_in.asked) == (["/api/copy"], [{"source": "a", "destination": "me/b"}])


def test_stop(remuda: Remuda, stand_in: StandIn) -> None:
    result = remuda("stop", "m")
    assert (result.exit_code, result.stdout) == (0, "")
    [asked] = stand_in.asked
    assert (stand_in.paths, asked["model"], asked["prompt"], asked["keep_alive"]) == (["/api/generate"], "m", "", 0)


def test_stop_of_what_is_not_there(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.status, stand_in.replies = 404, [[{"error": "model 'm' not found"}]]
    result = remuda("stop", "m")
    assert (result.exit_code, result.stderr) == (1, 'Error: couldn\'t find model "m" to stop\n')


def test_stop_that_fails(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.replies = [[{"error": "the runner died"}]]
    assert remuda("stop", "m").stderr == "Error: the runner died\n"


def test_rm_stops_first(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/delete": []}
    result = remuda("rm", "a", "b")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "deleted 'a'\ndeleted 'b'\n", "")
    assert stand_in.paths == ["/api/generate", "/api/delete"] * 2
    assert [asked["model"] for asked in stand_in.asked] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("command", ["pull a", "push a", "cp a b", "rm a", "create a -f -"])
def test_upstreams_are_named_to_the_server(remuda: Remuda, stand_in: StandIn, command: str) -> None:
    name, *rest = command.split()
    stand_in.replies = [[{"status": "success"}]]
    for given, sent in (("gpu-1", "gpu-1"), (" a , b.c_d", "a,b.c_d"), ("*", "*"), ("here", "here")):
        stand_in.named.clear()
        result = remuda(name, "--upstream", given, *rest, input="FROM b")
        assert (result.exit_code, set(stand_in.named)) == (0, {sent}), result.stderr
    stand_in.named.clear()
    assert remuda(name, *rest, input="FROM b").exit_code == 0
    assert set(stand_in.named) == {""}


@pytest.mark.parametrize("given", ["", "a,", ",", "a b", "a\nb", "é", "-a", "**", "a" + "\udcff"])
def test_what_no_upstream_is_called_is_a_matter_of_usage(remuda: Remuda, stand_in: StandIn, given: str) -> None:
    result = remuda("rm", "--upstream", given, "m")
    assert (result.exit_code, stand_in.named) == (2, [])
    assert "give it names of upstreams, separated by commas" in " ".join(result.stderr.split())


def test_rm_at_upstreams_leaves_the_stopping_to_them(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.scripts = {"/api/delete": []}
    assert remuda("rm", "--upstream", "a,b", "m").exit_code == 0
    assert stand_in.paths == ["/api/delete"]


def test_rm_goes_on_when_a_model_cannot_be_stopped(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.scripts, stand_in.replies = {"/api/delete": []}, [[{"error": "the runner died"}]]
    result = remuda("rm", "a")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "deleted 'a'\n",
        "Warning: unable to stop model 'a'\n",
    )


def test_rm_of_what_is_not_there(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.status, stand_in.replies = 404, [[{"error": "model 'a' not found"}]]
    result = remuda("rm", "a", "b")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: model 'a' not found\n")


@pytest.mark.parametrize("command", [["cp", "a"], ["rm"], ["stop"], ["pull"], ["push"], ["show"], ["create"]])
def test_what_is_missing_is_a_matter_of_usage(remuda: Remuda, stand_in: StandIn, command: list[str]) -> None:
    result = remuda(*command)
    assert result.exit_code == 2
    assert "Missing argument" in result.stderr
    assert stand_in.asked == []


@pytest.mark.parametrize("command", [["cp", "a", "b"], ["rm", "a"], ["stop", "a"], ["pull", "a"], ["push", "a"]])
def test_nobody_there(remuda: Remuda, nobody: str, command: list[str]) -> None:
    result = remuda(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert nobody in result.stderr


def test_a_name_of_broken_bytes(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.replies = [[DONE]]
    result = remuda("stop", "a\udcff")
    assert (result.exit_code, result.stderr) == (1, "Error: a name or a text that was given is not valid Unicode\n")
