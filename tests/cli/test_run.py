from __future__ import annotations

import json
import signal
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from .conftest import DONE, PNG, Remuda, StandIn


def test_the_answer_goes_to_stdout(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.says("Because", " it is.")
    result = remuda("run", "m", "why", "so?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Because it is.\n", "")
    [asked] = stand_in.asked
    assert (asked["model"], asked["prompt"]) == ("m", "why so?")
    for name in ("system", "keep_alive", "options", "context", "think", "format", "images"):
        assert asked[name] is None, name
    assert stand_in.paths == ["/api/generate"]


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
    ("flags", "think"),
    [
        (["--think", "m", "p"], True),
        (["m", "p", "--think"], True),
        (["--think=true", "m", "p"], True),
        (["m", "p", "--think=false"], False),
        (["m", "p", "--think=max"], "max"),
        (["m", "p", "--", "--think"], None),
    ],
)
def test_think_takes_no_word_after_it(
    remuda: Remuda, stand_in: StandIn, flags: list[str], think: bool | str | None
) -> None:
    assert remuda("run", *flags).exit_code == 0
    [asked] = stand_in.asked
    assert (asked["model"], asked["think"]) == ("m", think)
    assert asked["prompt"] == ("p --think" if think is None else "p")


@pytest.mark.parametrize("value", ["", "yes", "True", 'a"b'])
def test_another_level_of_thinking_is_refused(remuda: Remuda, stand_in: StandIn, value: str) -> None:
    result = remuda("run", "m", "p", f"--think={value}")
    assert (result.exit_code, stand_in.asked) == (1, [])
    assert result.stderr == (
        f"Error: invalid value for --think: {json.dumps(value)} (must be true, false, high, medium, low, or max)\n"
    )


def test_loading_says_too_whether_to_think(remuda: Remuda, stand_in: StandIn) -> None:
    """So that a model which cannot is refused before a conversation begins."""
    remuda("run", "m", "--think")
    assert (stand_in.asked[0]["prompt"], stand_in.asked[0]["think"]) == ("", True)


THOUGHTS = [{"thinking": "Let "}, {"thinking": "me see.\n"}, {"response": "Yes"}, {"response": "."}, DONE]


def test_thinking_stands_before_the_answer(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.replies = [THOUGHTS]
    assert remuda("run", "m", "p").stdout == "Thinking...\nLet me see.\n...done thinking.\n\nYes.\n"


def test_thinking_can_be_hidden(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.replies = [THOUGHTS]
    assert remuda("run", "m", "p", "--hidethinking").stdout == "Yes.\n"
    assert stand_in.asked[0]["think"] is None


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ([{"thinking": "Hm"}, DONE], "Thinking...\nHm\n...done thinking.\n\n"),
        (
            [{"response": "a"}, {"thinking": "b"}, {**DONE, "response": "c"}],
            "a\nThinking...\nb\n...done thinking.\n\nc\n",
        ),
        ([{**DONE, "thinking": "a", "response": "b"}], "Thinking...\na\n...done thinking.\n\nb\n"),
    ],
    ids=["no answer", "between answers", "in one line"],
)
def test_thinking_is_always_ended(
    remuda: Remuda, stand_in: StandIn, lines: list[dict[str, Any] | bytes], shown: str
) -> None:
    stand_in.replies = [lines]
    assert remuda("run", "m", "p").stdout == shown


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("json", "json"),
        ("", None),
        ('{"type": "object", "required": ["b", "a"]}', {"type": "object", "required": ["b", "a"]}),
        ("@{file}", {"type": "string"}),
    ],
)
def test_a_format_reaches_the_server(remuda: Remuda, stand_in: StandIn, tmp_path: Path, text: str, value: Any) -> None:
    file = tmp_path / "schema.json"
    file.write_text('\n{"type": "string"}\n')
    assert remuda("run", "m", "p", "--format", text.replace("{file}", str(file))).exit_code == 0
    assert stand_in.asked[0]["format"] == value


def test_what_goes_to_a_file_is_what_the_model_said(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.says("a\x1b[31mb\r\n")
    assert remuda("run", "m", "p").stdout_bytes == b"a\x1b[31mb\r\n"


def test_images_of_the_prompt_go_along(remuda: Remuda, stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    result = remuda("run", "m", f"what is {tmp_path}/a.png", "?", input=f"piped {tmp_path}/a.png")
    assert (result.exit_code, result.stderr) == (0, f"Added image '{tmp_path}/a.png'\n")
    [asked] = stand_in.asked
    assert asked["prompt"] == f"piped {tmp_path}/a.png what is ?"
    assert asked["images"] == [b64encode(PNG).decode()]


def test_an_image_alone_is_a_question(remuda: Remuda, stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    remuda("run", "m", f"{tmp_path}/a.png")
    [asked] = stand_in.asked
    assert (asked["prompt"], len(asked["images"])) == (" ", 1)


def test_a_bad_image_is_refused_before_anything_is_asked(remuda: Remuda, stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    result = remuda("run", "m", f"what is {tmp_path}/a.png")
    assert (result.exit_code, stand_in.asked) == (1, [])
    assert result.stderr == f"Error: the file '{tmp_path}/a.png' is neither a JPEG nor a PNG nor a WebP image\n"


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


NOT_THERE = [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]


def test_an_unknown_model_is_told_which_there_are(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.shown, stand_in.scripts = None, {"/api/pull": NOT_THERE}
    stand_in.models = [{"name": "a:1"}, {"name": "b:2"}]
    result = remuda("run", "nope", "p")
    assert (result.exit_code, result.stdout, stand_in.paths) == (1, "", ["/api/pull"])
    assert result.stderr == (
        "pulling manifest\nError: model 'nope' not found, and it cannot be pulled: "
        "pull model manifest: file does not exist; there are: a:1, b:2\n"
    )


def test_an_unknown_model_where_there_is_none_is_told_how_to_get_one(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.shown, stand_in.scripts = None, {"/api/pull": NOT_THERE}
    assert "pip install 'remuda[llamacpp,demo]'" in remuda("run", "nope", "p").stderr


def test_a_model_that_went_away_is_told_which_there_are(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.status, stand_in.replies = 404, [[{"error": "model 'm' not found"}]]
    stand_in.models = [{"name": "a:1"}]
    assert remuda("run", "m", "p").stderr == "Error: model 'm' not found; there are: a:1\n"


def test_a_missing_model_is_pulled_first(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.says("Here.")
    stand_in.shown, stand_in.scripts = None, {"/api/pull": [{"status": "pulling manifest"}, {"status": "success"}]}
    result = remuda("run", "m", "p", "--insecure")
    assert (result.stdout, result.stderr) == ("Here.\n", "pulling manifest\nsuccess\n")
    assert stand_in.paths == ["/api/pull", "/api/generate"]
    assert (stand_in.asked[0]["model"], stand_in.asked[0]["insecure"]) == ("m", True)


@pytest.mark.parametrize(
    ("status", "body"), [(404, b"404 page not found"), (404, b'{"error":"not found"}'), (405, b""), (501, b"{}")]
)
def test_a_server_that_shows_nothing_is_only_asked(remuda: Remuda, stand_in: StandIn, status: int, body: bytes) -> None:
    stand_in.says("Here.")
    stand_in.no_show = (status, body)
    result = remuda("run", "m", "p")
    assert (result.exit_code, result.stdout, stand_in.paths) == (0, "Here.\n", ["/api/generate"])


VECTOR = {"/api/embed": [b'{"model":"m","embeddings":[[0.6,-0.80000001,1e-9]],"total_duration":1}']}


def test_a_model_of_vectors_writes_one(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.shown, stand_in.scripts = {"capabilities": ["embedding"]}, VECTOR
    result = remuda("run", "m", "some", "text", "--dimensions", "3", "--truncate=false", "--keepalive", "1m")
    assert (result.exit_code, result.stdout) == (0, "[0.6,-0.80000001,1e-9]\n")
    [asked] = stand_in.asked
    assert {key: asked[key] for key in ("model", "input", "dimensions", "truncate", "keep_alive")} == {
        "model": "m",
        "input": "some text",
        "dimensions": 3,
        "truncate": False,
        "keep_alive": "1m",
    }


@pytest.mark.parametrize(
    ("flags", "truncate"), [(["m", "p"], None), (["--truncate", "m", "p"], True), (["--truncate=0", "m", "p"], False)]
)
def test_truncate_takes_no_word_after_it(
    remuda: Remuda, stand_in: StandIn, flags: list[str], truncate: bool | None
) -> None:
    stand_in.shown, stand_in.scripts = {"capabilities": ["embedding"]}, VECTOR
    remuda("run", *flags)
    [asked] = stand_in.asked
    assert (asked["model"], asked["input"], asked["truncate"]) == ("m", "p", truncate)


def test_a_model_of_vectors_needs_a_text(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.shown = {"capabilities": ["embedding"]}
    result = remuda("run", "m")
    assert (result.exit_code, stand_in.asked) == (1, [])
    assert result.stderr == 'Error: m makes vectors of texts and cannot talk; try: remuda run m "a text"\n'


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
