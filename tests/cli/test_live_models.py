"""The commands that make and manage models, each a process of its own, against a real server, store and engine."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from registry import Registry
from tiny_embedders import BERT_WIDTH, write_tiny_bert
from tiny_models import write_tiny_llama

from remuda.config import Config, RegistryConfig, StoreConfig
from remuda.plugins import load_plugins
from remuda.testing.server import LiveServer

from .terminal import Terminal

pytestmark = pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="needs the extra llamacpp")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    config = Config(
        store=StoreConfig(path=str(tmp_path / "store")),
        registry=RegistryConfig(allow=("127.0.0.1:*",), key=str(tmp_path / "keys/id_ed25519")),
    )
    with LiveServer(config, load_plugins()) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


@pytest.fixture
def command(server: LiveServer, folder: Path) -> Command:
    """`command("show", "mine")`, run where the weights are."""

    def run(*args: str, text: str = "") -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "remuda", *args]
        return subprocess.run(line, input=text, capture_output=True, text=True, check=False, cwd=folder)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With `tiny.gguf` and a Modelfile for it."""
    folder = tmp_path / "work"
    folder.mkdir()
    write_tiny_llama(folder / "tiny.gguf")
    lines = [
        "FROM tiny.gguf",
        'TEMPLATE """{{ .System }}:\n{{ .Prompt }}"""',
        "PARAMETER num_predict 4",
        "PARAMETER temperature 0",
        "PARAMETER stop a b",
        "SYSTEM Be brief.",
        "LICENSE MIT",
        "MESSAGE user hi",
        'MESSAGE assistant """Hello "you"."""',
    ]
    (folder / "Modelfile").write_text("\n".join(lines))
    return folder


def test_a_model_from_its_making_to_its_end(command: Command) -> None:
    made = command("create", "Mine")
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    assert made.stderr.splitlines()[-2:] == ["writing manifest", "success"]
    assert any(line.startswith("copying file sha256:") for line in made.stderr.splitlines())

    again = command("create", "mine")
    assert again.returncode == 0
    assert not any(line.startswith("copying file") for line in again.stderr.splitlines())

    shown = command("show", "mine").stdout
    for line in ("    architecture        llama", "    num_predict    4", "    Be brief.", "    MIT", "    completion"):
        assert line in shown
    assert command("show", "mine", "--system").stdout == "Be brief.\n"
    assert command("show", "mine", "--template").stdout == "{{ .System }}:\n{{ .Prompt }}\n"
    assert command("show", "mine", "-v").stdout.count("blk.0.attn_q.weight") == 1

    assert command("cp", "mine", "me/second").stdout == "copied 'mine' to 'me/second'\n"
    names = [line.split()[0] for line in command("list").stdout.splitlines()]
    assert {name.lower() for name in names} >= {"mine:latest", "me/second:latest"}

    said = command("run", "mine", "hello")
    assert (said.returncode, said.stderr) == (0, "")
    assert command("ps").stdout.splitlines()[1].lower().startswith("mine:latest")
    assert command("stop", "mine").returncode == 0
    assert command("ps").stdout.splitlines()[1:] == []

    gone = command("rm", "mine", "me/second")
    assert (gone.stdout, gone.stderr) == ("deleted 'mine'\ndeleted 'me/second'\n", "")
    assert "mine" not in command("list").stdout.lower()
    for args, message in (
        (("show", "mine"), "Error: model 'mine:latest' not found\n"),
        (("stop", "mine"), 'Error: couldn\'t find model "mine" to stop\n'),
    ):
        result = command(*args)
        assert (result.returncode, result.stderr.lower()) == (1, message.lower())
    assert "not found" in command("rm", "mine").stderr


def test_what_show_writes_makes_the_same_model(command: Command, folder: Path) -> None:
    assert command("create", "first").returncode == 0
    (folder / "copy").write_text(command("show", "first", "--modelfile").stdout)
    made = command("create", "second", "-f", "copy")
    assert made.returncode == 0, made.stderr
    for part in ("--template", "--system", "--license", "--parameters"):
        assert command("show", "first", part).stdout == command("show", "second", part).stdout != ""
    assert command("run", "first", "hello").stdout == command("run", "second", "hello").stdout


def test_what_is_no_model_is_refused(command: Command, folder: Path) -> None:
    (folder / "tiny.gguf").write_bytes(b"GGUF but not really")
    result = command("create", "mine")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert str(folder) not in result.stderr
    assert command("list").stdout.count("mine") == 0


def test_a_vector(command: Command, folder: Path) -> None:
    write_tiny_bert(folder / "bert.gguf")
    assert command("create", "vectors", "-f", "-", text="FROM bert.gguf").returncode == 0
    whole = command("run", "vectors", "the cat sat")
    assert (whole.returncode, whole.stderr) == (0, "")
    numbers = json.loads(whole.stdout)
    assert len(numbers) == BERT_WIDTH
    assert math.hypot(*numbers) == pytest.approx(1, abs=1e-5)
    fewer = json.loads(command("run", "vectors", "--dimensions", "8", text="the cat sat").stdout)
    assert fewer == pytest.approx([number / math.hypot(*numbers[:8]) for number in numbers[:8]], abs=1e-5)
    assert json.loads(command("run", "vectors", "dog " * 500).stdout) != numbers
    long = command("run", "vectors", "--truncate=false", "dog " * 500)
    assert (long.returncode, long.stdout) == (1, "")
    assert "exceeds" in long.stderr
    assert command("run", "vectors").stderr.startswith("Error: vectors makes vectors of texts")


def test_through_a_registry_and_back(command: Command) -> None:
    assert command("create", "mine").returncode == 0
    said = command("run", "mine", "hello").stdout
    with Registry() as registry:
        name = registry.name("me/mine:latest")
        assert command("cp", "mine", str(name)).returncode == 0
        assert "Error: " in command("push", str(name)).stderr
        pushed = command("push", str(name), "--insecure")
        assert (pushed.returncode, pushed.stdout) == (0, f"\nYou can find your model at:\n\n\t{name}\n\n"), (
            pushed.stderr
        )
        assert pushed.stderr.splitlines()[0] == "retrieving manifest"
        assert pushed.stderr.splitlines()[-2:] == ["pushing manifest", "success"]

        assert command("rm", "mine", str(name)).returncode == 0
        pulled = command("pull", str(name), "--insecure")
        assert pulled.returncode == 0
        assert pulled.stderr.splitlines()[0] == "pulling manifest"
        assert pulled.stderr.splitlines()[-1] == "success"

        assert command("rm", str(name)).returncode == 0
        again = command("run", "--insecure", str(name), "hello")
        assert (again.returncode, again.stdout) == (0, said)
        assert again.stderr.splitlines()[-1] == "success"

        missing = command("run", "--insecure", str(registry.name("me/none:latest")), "hello")
        assert missing.returncode == 1
        assert "cannot be pulled: pull model manifest: file does not exist; there are: " in missing.stderr


def test_a_conversation_that_is_saved(command: Command) -> None:
    assert command("create", "mine").returncode == 0
    with Terminal("run", "mine") as terminal:
        terminal.expect(">>> ")
        terminal.type("/show system")
        terminal.expect("Be brief.")
        terminal.expect(">>> ")
        terminal.type("/set system Be long.")
        terminal.expect(">>> ")
        terminal.type("/set parameter top_k 7")
        terminal.expect(">>> ")
        terminal.type("/save other")
        terminal.expect("Created new model 'other'")
        terminal.expect(">>> ")
        terminal.type("/load nope")
        terminal.expect("Couldn't find model 'nope'")
        terminal.expect(">>> ")
        terminal.type("/load other")
        terminal.expect(">>> ")
        terminal.type("/list oth")
        terminal.expect("other:latest")
        terminal.expect(">>> ")
        terminal.type("/bye")
        assert terminal.ended() == 0
    assert command("show", "other", "--system").stdout == "Be long.\n"
    assert "top_k                          7\n" in command("show", "other", "--parameters").stdout


def test_progress_on_a_terminal(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with Terminal("create", "mine", term="xterm", columns=140) as terminal:
        terminal.expect("reading tiny.gguf")
        terminal.expect("copying file sha256:")
        terminal.expect("100%")
        terminal.expect("writing manifest\n")
        terminal.expect("success\n")
        assert terminal.ended() == 0
    assert "mine:latest" in command("list").stdout
