from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Remuda, StandIn
from .terminal import Terminal

DONE = [{"status": "parsing GGUF"}, {"status": "writing manifest"}, {"status": "success"}]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_another_model(remuda: Remuda, stand_in: StandIn, folder: Path) -> None:
    stand_in.scripts = {"/api/create": DONE}
    (folder / "Modelfile").write_text("FROM m\nPARAMETER top_k 5\nPARAMETER mirostat 1\nSYSTEM Be brief.")
    result = remuda("create", "mine", "-q", "q4_K_M")
    assert (result.exit_code, result.stdout) == (0, "warning: parameter mirostat is deprecated\n")
    assert result.stderr == "parsing GGUF\nwriting manifest\nsuccess\n"
    [asked] = stand_in.asked
    assert {key: value for key, value in asked.items() if value is not None} == {
        "model": "mine",
        "from": "m",
        "system": "Be brief.",
        "parameters": {"top_k": 5},
        "quantize": "q4_K_M",
    }
    assert stand_in.heads == []


def test_files_are_sent_before_unless_the_server_has_them(remuda: Remuda, stand_in: StandIn, folder: Path) -> None:
    stand_in.scripts = {"/api/create": DONE}
    model, adapter = b"G" * 3_000_000, b"A"
    (folder / "sub").mkdir()
    (folder / "sub/m.gguf").write_bytes(model)
    (folder / "sub/a.gguf").write_bytes(adapter)
    (folder / "sub/recipe").write_text("FROM m.gguf\nADAPTER a.gguf")
    stand_in.blobs[digest(adapter)] = adapter
    result = remuda("create", "mine", "-f", "sub/recipe")
    assert (result.exit_code, result.stdout) == (0, "")
    [asked] = stand_in.asked
    assert (asked["files"], asked["adapters"]) == ({"m.gguf": digest(model)}, {"a.gguf": digest(adapter)})
    assert asked["from"] is None
    assert stand_in.heads == [(f"/api/blobs/{digest(model)}", str(len(model)))]
    assert stand_in.blobs[digest(model)] == model
    lines = result.stderr.splitlines()
    assert lines[0] == "reading m.gguf: 34% of 3 MB"
    assert f"copying file {digest(model)[:19]}: 100% of 3 MB" in lines
    assert lines[-3:] == ["parsing GGUF", "writing manifest", "success"]


def test_an_empty_file_is_sent(remuda: Remuda, stand_in: StandIn, folder: Path) -> None:
    stand_in.scripts = {"/api/create": DONE}
    (folder / "m.gguf").touch()
    assert remuda("create", "mine", "-f", "-", input="FROM m.gguf").exit_code == 0
    assert stand_in.heads == [(f"/api/blobs/{digest(b'')}", "0")]


def test_without_a_modelfile_the_folder_is_taken(remuda: Remuda, stand_in: StandIn, folder: Path) -> None:
    stand_in.scripts = {"/api/create": DONE}
    (folder / "m.gguf").write_bytes(b"G")
    assert remuda("create", "mine").exit_code == 0
    assert stand_in.asked[0]["files"] == {"m.gguf": digest(b"G")}


def test_a_modelfile_from_the_standard_input(remuda: Remuda, stand_in: StandIn, folder: Path) -> None:
    stand_in.scripts = {"/api/create": DONE}
    assert remuda("create", "mine", "-f", "-", input=b"\xef\xbb\xbfFROM m\r\nSYSTEM \xff").exit_code == 0
    assert (stand_in.asked[0]["from"], stand_in.asked[0]["system"]) == ("m", "\ufffd")


@pytest.mark.parametrize(
    ("args", "text", "message"),
    [
        (["mine", "-f", "none"], "", "the Modelfile 'none' cannot be read: No such file or directory"),
        (["mine", "-f", "."], "", "the Modelfile '.' cannot be read: Is a directory"),
        (["mine"], "", "no Modelfile or safetensors files found"),
        (["mine", "-f", "-"], "FRO m", "(line 1): command must be one of"),
        (["mine", "-f", "-"], "SYSTEM x", "no FROM line"),
        (["mine", "-f", "-"], "FROM m\nPARAMETER top_k x", "invalid int value [x]"),
        (["a b", "-f", "-"], "FROM m", "invalid model name: a b"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    remuda: Remuda, stand_in: StandIn, folder: Path, args: list[str], text: str, message: str
) -> None:
    result = remuda("create", *args, input=text)
    assert (result.exit_code, stand_in.asked, stand_in.heads) == (1, [], [])
    assert result.stderr.startswith(f"Error: {message}")
    assert "Traceback" not in result.stderr


def test_what_is_no_file_is_no_weights(remuda: Remuda, stand_in: StandIn, folder: Path) -> None:
    """A folder inside a folder of weights, named like one, is left out; a link to nowhere is none."""
    (folder / "x.gguf").mkdir()
    (folder / "y.gguf").symlink_to(folder / "z.gguf")
    result = remuda("create", "mine")
    assert result.stderr == "Error: no Modelfile or safetensors files found\n"


def test_no_file_is_read_when_nobody_listens(remuda: Remuda, nobody: str, folder: Path) -> None:
    (folder / "m.gguf").write_bytes(b"G")
    result = remuda("create", "mine")
    assert result.stderr == f"Error: could not connect to a remuda server at {nobody}, run 'remuda serve' to start it\n"


def test_an_error_of_the_server_is_the_last_line(remuda: Remuda, stand_in: StandIn, folder: Path) -> None:
    stand_in.scripts = {"/api/create": [{"status": "parsing GGUF"}, {"error": "unknown type"}]}
    result = remuda("create", "mine", "-f", "-", input="FROM m")
    assert (result.exit_code, result.stderr) == (1, "parsing GGUF\nError: unknown type\n")


def test_ctrl_c_leaves(stand_in: StandIn, folder: Path) -> None:
    stand_in.scripts = {"/api/create": [{"status": "parsing GGUF"}, b"WAIT"]}
    (folder / "Modelfile").write_text("FROM m")
    command = [sys.executable, "-m", "remuda", "create", "mine"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "parsing GGUF\n"
        process.send_signal(signal.SIGINT)
        assert stand_in.gone.wait(60)
        assert process.wait(60) == 130
        assert process.stderr.read() == "\n"


def test_on_a_terminal(stand_in: StandIn, folder: Path) -> None:
    stand_in.scripts = {"/api/create": [*DONE[:2], b"GATE", DONE[2]]}
    data = b"G" * 2_000_000
    (folder / "m.gguf").write_bytes(data)
    (folder / "Modelfile").write_text("FROM m.gguf")
    with Terminal("create", "mine", term="xterm", columns=140) as terminal:
        terminal.expect("reading m.gguf")
        terminal.expect(f"copying file {digest(data)[:19]}")
        terminal.expect("100%")
        terminal.expect("parsing GGUF\n")
        terminal.expect("writing manifest")
        stand_in.gate.set()
        assert "writing manifest\n" in terminal.expect("success\n")
        assert terminal.ended() == 0
