"""`remuda config` as its user sees it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from remuda.config import VARIABLES, Config, load_config

from .conftest import Remuda


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and nothing in the environment."""
    for variable in (*VARIABLES, "REMUDA_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_prints_a_file_that_says_the_same(remuda: Remuda, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("remuda.toml").write_text('[server]\nport = 1\n[aliases]\n"gpt-4" = "llama3.2"\n')
    monkeypatch.setenv("OLLAMA_HOST", ":8080")
    result = remuda("config")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "port = 8080  # OLLAMA_HOST" in lines
    assert '"gpt-4" = "llama3.2"  # file remuda.toml' in lines
    assert "context = 4096  # default" in lines
    Path("shown.toml").write_text(result.stdout)
    assert load_config(Path("shown.toml"), {}) == load_config(Path("remuda.toml"))
    monkeypatch.delenv("OLLAMA_HOST")
    assert remuda("config", "--config", "shown.toml").stdout != result.stdout


def test_only_what_changed(remuda: Remuda) -> None:
    assert remuda("config", "--changed").stdout == "# every setting is at its default\n"
    Path("mine.toml").write_text("[limits]\nqueue = 5\n")
    assert remuda("config", "--changed", "--config", "mine.toml").stdout == "[limits]\nqueue = 5  # file mine.toml\n"


def test_json(remuda: Remuda) -> None:
    Path("remuda.toml").write_text("[backends.b]\nday = 1979-05-27\n")
    shown = json.loads(remuda("config", "--json").stdout)
    assert shown["server.port"] == {"value": 11434, "source": "default"}
    assert shown["go_template"] == {"value": None, "source": "default"}
    changed = json.loads(remuda("config", "--json", "--changed").stdout)
    assert changed == {"backends.b.day": {"value": "1979-05-27", "source": "file remuda.toml"}}
    assert shown.keys() > changed.keys()


def test_the_defaults_are_those_of_the_structs(remuda: Remuda) -> None:
    Path("shown.toml").write_text(remuda("config").stdout)
    assert tomllib.loads(Path("shown.toml").read_text())["limits"]["queue"] == 512
    assert load_config(Path("shown.toml"), {}) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the configuration file bad.toml: No such file or directory"),
        ("[server]\nprot = 1", "server.prot is not a setting: is server.port meant? (file bad.toml)"),
        ("[models.x]\npath = 'none.gguf'", "models.\"x\".path: there is no file 'none.gguf'"),
        ("[models.x]\npath = 'bad.toml'\nprojector = 'none'", "models.\"x\".projector: there is no file 'none'"),
        ("[models.x]\npath = 'bad.toml'\ndraft = 'none'", "models.\"x\".draft: there is no file 'none'"),
        (
            "[models.x]\npath = 'bad.toml'\noptions = { temprature = 1 }",
            "models.\"x\".options: unknown option 'temprature'",
        ),
        (
            "[models.x]\npath = 'bad.toml'\noptions = { temperature = 'hot' }",
            'models."x".options: option "temperature" must be of type float',
        ),
    ],
)
def test_check_finds_what_serve_would_refuse(remuda: Remuda, text: str | None, message: str) -> None:
    if text is not None:
        Path("bad.toml").write_text(text)
    for command in (("config", "--check"), ("serve", "--port", "0")):
        result = remuda(*command, "--config", "bad.toml")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines()[-1].startswith(f"Error: {message}")


def test_check_says_nothing_of_what_is_well(remuda: Remuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_SCHED_SPREAD", "1")
    Path("weights").touch()
    Path("remuda.toml").write_text("[models.x]\npath = 'weights'\noptions = { temperature = 1 }\n")
    result = remuda("config", "--check")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_variables_without_effect_are_told(remuda: Remuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_SCHED_SPREAD", "1")
    result = remuda("config", "--changed")
    assert result.stdout == "# every setting is at its default\n"
    assert result.stderr == "Warning: OLLAMA_SCHED_SPREAD has no effect on this server\n"


@pytest.mark.usefixtures("nobody")
def test_run_finds_the_same_file_for_its_own_server(remuda: Remuda) -> None:
    Path("remuda.toml").write_text("[server]\nprot = 1\n")
    result = remuda("run", "talker", "hello")
    assert result.exit_code == 1
    assert "server.prot is not a setting: is server.port meant? (file remuda.toml)" in result.stderr


def test_it_starts_quickly() -> None:
    program = "import sys\nfrom remuda.cli import main\nsys.argv = ['remuda', 'config']\n"
    program += "try:\n    main()\nexcept SystemExit:\n    print('MODULES', *sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.partition("MODULES ")[2].split())
    assert "remuda.cli.config" in modules
    assert not modules & {"quart", "hypercorn", "httpx", "llama_cpp", "numpy", "rich"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_through_the_shell(folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"OLLAMA_MAX_QUEUE=many {sys.executable} -m remuda config --check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: OLLAMA_MAX_QUEUE (limits.queue) must be a whole number, not 'many'\n"
