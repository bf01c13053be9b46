"""The commands against the real server, with an engine that follows a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from remuda.config import Config, ModelConfig, RegistryConfig
from remuda.plugins import Plugins, load_plugins
from remuda.testing.scripted import Script, ScriptedPlugin, write_script
from remuda.testing.server import LiveServer

from .conftest import PNG, Remuda
from .terminal import Terminal

NOT_THERE = (
    "Error: model 'walker' not found, and it cannot be pulled: the registry registry.ollama.ai is not among those that "
    "registry.allow lists; there are: talker:latest\n"
)


@pytest.fixture
def plugins() -> Plugins:
    return load_plugins((), [("scripted", ScriptedPlugin())])


def test_run_list_and_ps(
    remuda: Remuda, plugins: Plugins, scripted: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scripted(talker=Script(pieces=["Well", ", ", "well."]))
    config = structs.replace(config, registry=RegistryConfig(allow=()))
    with LiveServer(config, plugins) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert remuda("ps").stdout.splitlines()[1:] == []
        said = remuda("run", "talker", "hello", "--keepalive", "-1", "--verbose")
        assert (said.exit_code, said.stdout) == (0, "Well, well.\n")
        assert "eval count:           3 token(s)\n" in said.stderr
        assert remuda("list").stdout.splitlines()[1].startswith("talker:latest    ")
        [loaded] = remuda("ps", "TALK").stdout.splitlines()[1:]
        assert loaded.split()[0] == "talker:latest"
        assert loaded.rstrip().endswith("100% CPU     4096       Forever")
        unknown = remuda("run", "walker", "hello")
        assert (unknown.exit_code, unknown.stdout) == (1, "")
        assert unknown.stderr == NOT_THERE


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], None]:
    """Makes REMUDA_CONFIG name a file with one model, `talker`."""

    def write(script: Script) -> None:
        path = write_script(tmp_path / "talker.json", script)
        config = tmp_path / "remuda.toml"
        config.write_text(f'registry.allow = []\n[models.talker]\npath = "{path}"\nformat = "scripted"\n')
        monkeypatch.setenv("REMUDA_CONFIG", str(config))

    return write


@pytest.mark.usefixtures("nobody")
def test_without_a_server_run_brings_its_own(remuda: Remuda, configured: Callable[[Script], None]) -> None:
    configured(Script(pieces=["Here ", "I am."]))
    before = set(threading.enumerate())
    result = remuda("run", "talker", "hello")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Here I am.\n", "")
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive(), thread
    assert remuda("list").exit_code == 1


@pytest.mark.usefixtures("nobody")
def test_its_own_server_fails_as_any_other(remuda: Remuda, configured: Callable[[Script], None]) -> None:
    configured(Script(pieces=["Here ", "I ", "am."], fault="kill", fault_at=2))
    result = remuda("run", "talker", "hello")
    assert (result.exit_code, result.stdout) == (1, "Here I ")
    assert "Error: model runner has unexpectedly stopped" in result.stderr
    result = remuda("run", "walker", "hello")
    assert result.stderr == NOT_THERE


@pytest.mark.usefixtures("nobody")
def test_a_bad_configuration_is_an_error_of_run(
    remuda: Remuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "remuda.toml"
    path.write_text("[server]\nprot = 1\n")
    monkeypatch.setenv("REMUDA_CONFIG", str(path))
    result = remuda("run", "talker", "hello")
    assert result.exit_code == 1
    assert "prot" in result.stderr


TEMPLATE = """\
{{- range .Messages }}[{{ .Role }}]{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end -}}
[assistant]"""


@pytest.fixture
def thinker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """A server with `thinker`, which thinks and whose tokens are characters, and `talker`, which only talks."""
    thinks = Script(pieces=["<think>", "Let me", " see.", "</think>", "\n\n", "Yes", "."])
    models = {
        "thinker": ModelConfig(
            path=str(write_script(tmp_path / "thinker.json", thinks)), format="scripted", template=TEMPLATE
        ),
        "talker": ModelConfig(path=str(write_script(tmp_path / "talker.json", Script())), format="scripted"),
    }
    plugins = load_plugins(extra=[("scripted", ScriptedPlugin())])
    with LiveServer(Config(models=models), plugins) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


@pytest.mark.usefixtures("thinker")
def test_a_model_thinks_unless_it_is_told_not_to(remuda: Remuda) -> None:
    shown = "Thinking...\nLet me see.\n...done thinking.\n\nYes.\n"
    assert remuda("run", "thinker", "sure?").stdout == shown
    assert remuda("run", "--think=high", "thinker", "sure?").stdout == shown
    assert remuda("run", "thinker", "sure?", "--hidethinking").stdout == "Yes.\n"
    assert remuda("run", "thinker", "sure?", "--think=false").stdout == "<think>Let me see.</think>\n\nYes.\n"


@pytest.mark.usefixtures("thinker")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--think"], '"talker" does not support thinking'),
        (["--format", "xml"], 'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object'),
        (["{folder}/a.png"], "does not support vision"),
    ],
)
def test_what_a_model_cannot_do_the_server_says(remuda: Remuda, tmp_path: Path, flags: list[str], message: str) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    result = remuda("run", "talker", "hello", *(flag.replace("{folder}", str(tmp_path)) for flag in flags))
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr.splitlines()[-1]


@pytest.mark.usefixtures("thinker")
def test_a_conversation_remembers_what_was_said_and_thought() -> None:
    def count(text: str) -> str:
        return f"prompt eval count:    {len(text)} token(s)"

    before = "[user]first[assistant]<think>Let me see.</think>Yes."
    with Terminal("run", "thinker", "--verbose") as terminal:
        terminal.expect(">>> ")
        terminal.type("first")
        terminal.expect(count("[user]first[assistant]"))
        terminal.expect(">>> ")
        terminal.type("second")
        assert "Let me see." in terminal.expect(count(f"{before}[user]second[assistant]"))
        terminal.expect(">>> ")
        terminal.type("/clear")
        terminal.expect(">>> ")
        terminal.type("/set system Be brief.")
        terminal.expect(">>> ")
        terminal.type("third")
        terminal.expect(count("[system]Be brief.[user]third[assistant]"))
        terminal.expect(">>> ")
        terminal.type("/bye")
        assert terminal.ended() == 0
