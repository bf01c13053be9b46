from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from .conftest import DONE, Remuda, StandIn


def test_the_answer_goes_to_stdout(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.says("Because", " it is.")
    result = remuda("run", "m", "why", "so?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Because it is.\n", "")
    [asked] = stand_in.asked
    assert (asked["model"], asked["prompt"]) == ("m", "why so?")
    assert asked["system"] is asked["keep_alive"] is asked["options"] is asked["context"] is None


def test_an_answer_that_ends_its_line_gets_no_second_one(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.says("line\n")
    assert remuda("run", "m", "p").stdout == "line\n"


def test_what_is_piped_in_comes_first(remuda: Remuda, stand_in: StandIn) -> None:
    remuda("run", "m", "sum", "up", input="a long text\n")
    remuda("run", "m", input="alone")
    assert [asked["prompt"] for asked in stand_in.asked] == ["a long text\n sum up", "alone"]


def test_what_is_piped_in_need_not_be_text(remuda: Remuda, stand_in: StandIn) -> None:
    assert remuda("run", "m", input=b"\xff!").exit_code == 0
    assert stand_in.asked[0]["prompt"] == "\ufffd!"


def test_nothing_to_ask_only_loads(remuda: Remuda, stand_in: StandIn) -> None:
    result = remuda("run", "m")
    assert (result.exit_code, result.stdout) == (0, "")
    assert stand_in.asked[0]["prompt"] == ""


def test_flags_reach_the_server(remuda: Remuda, stand_in: StandIn) -> None:
    options = ("temperature=0", "stop=END", "stop=\n", "max_tokens=5", "use_mmap=false", "num_ctx=2048")
    flags = [word for option in options for word in ("--option", option)]
    remuda("run", "m", "p", "--system", "Be brief.", "--keepalive", "10m", *flags)
    [asked] = stand_in.asked
    assert (asked["system"], asked["keep_alive"]) == ("Be brief.", "10m")
    assert asked["options"] == {
        "temperature": 0,
        "stop": ["END", "\n"],
        "num_predict": 5,
        "use_mmap": False,
        "num_ctx": 2048,
    }


@pytest.mark.parametrize(
    ("option", "status", "message"),
    [
        ("temprature=0", 1, "unknown option 'temprature'; there are: draft_num_predict,"),
        ("temperature=hot", 1, 'option "temperature" must be of type float32'),
        ("temperature=-1", 1, "out of range: it must be from 0 to 100"),
        ("temperature=null", 1, "temperature needs a value"),
        ("temperature", 2, "'temperature' is not KEY=VALUE"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_asked(
    remuda: Remuda, stand_in: StandIn, option: str, status: int, message: str
) -> None:
    result = remuda("run", "m", "p", "--option", option)
    assert result.exit_code == status
    assert message in result.stderr
    assert stand_in.asked == []


def test_verbose_writes_the_metrics_to_stderr(remuda: Remuda, stand_in: StandIn) -> None:
    numbers = {"total_duration": 2_500_000_000, "load_duration": 1_000_000, "prompt_eval_count": 20}
    numbers |= {"prompt_eval_duration": 500_000_000, "eval_count": 50, "eval_duration": 2_000_000_000}
    stand_in.says("yes", **numbers)
    result = remuda("run", "m", "p", "--verbose")
    assert result.stdout == "yes\n"
    assert result.stderr == (
        "total duration:       2.5s\n"
        "load duration:        1ms\n"
        "prompt eval count:    20 token(s)\n"
        "prompt eval duration: 500ms\n"
        "prompt eval rate:     40.00 tokens/s\n"
        "eval count:           50 token(s)\n"
        "eval duration:        2s\n"
        "eval rate:            25.00 tokens/s\n"
    )


def test_verbose_leaves_out_what_the_server_does_not_say(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.says("yes", total_duration=1_000_000_000)
    assert remuda("run", "m", "p", "--verbose").stderr == "total duration:       1s\n"


def test_an_unknown_model_is_told_which_there_are(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.status, stand_in.replies = 404, [[{"error": "model 'nope' not found"}]]
    stand_in.models = [{"name": "a:1"}, {"name": "b:2"}]
    result = remuda("run", "nope", "p")
    assert (result.exit_code, result.stderr) == (1, "Error: model 'nope' not found; there are: a:1, b:2\n")


def test_an_unknown_model_where_there_is_none_is_told_how_to_get_one(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.status, stand_in.replies = 404, [[{"error": "model 'nope' not found"}]]
    assert "pip install 'remuda[llamacpp,demo]'" in remuda("run", "nope", "p").stderr


def test_an_error_in_the_middle_is_an_error(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.replies = [[{**DONE, "response": "Hal", "done": False}, {"error": "the runner died"}]]
    result = remuda("run", "m", "p")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "Hal", "Error: the runner died\n")


def test_a_stream_that_just_ends_is_an_error(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.replies = [[{**DONE, "response": "Hal", "done": False}]]
    result = remuda("run", "m", "p")
    assert (result.exit_code, result.stderr) == (1, "Error: the stream ended before the answer did\n")


def test_another_machine_is_not_stood_in_for(remuda: Remuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://models.invalid:1")
    result = remuda("run", "m", "p")
    assert result.exit_code == 1
    assert "could not connect to a remuda server at http://models.invalid:1" in result.stderr


def begun(*args: str, **more: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "remuda", "run", "m", "p", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, **more)


def test_a_reader_that_leaves_ends_the_answer(stand_in: StandIn) -> None:
    line = {**DONE, "response": "line\n", "done": False}
    stand_in.replies = [[line, b"GATE", line, line, b"WAIT"]]
    with begun(stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        stand_in.gate.set()
        assert stand_in.gone.wait(60)
        assert process.wait(60) == 1
        assert "Traceback" not in process.stderr.read()


def test_ctrl_c_ends_the_answer(stand_in: StandIn) -> None:
    stand_in.replies = [[{**DONE, "response": "line\n", "done": False}, b"WAIT"]]
    with begun(stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "line\n"
        process.send_signal(signal.SIGINT)
        assert stand_in.gone.wait(60)
        assert process.communicate(timeout=60) == ("\n", "")
        assert process.returncode == 130


def test_a_closed_stdin_is_an_empty_one(stand_in: StandIn) -> None:
    command = f"exec {sys.executable} -m remuda run m p <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, stand_in.asked[0]["prompt"]) == ("", "p")
