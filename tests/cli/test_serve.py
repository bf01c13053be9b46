"""`remuda serve` as its user sees it: what it prints, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pushing import make_model

from remuda.cli.serve import announce
from remuda.model.store import Store

from ..conftest import DEMO, needs_demo
from .conftest import Remuda


class Process:
    """A server in a process of its own, read up to the line that says where it listens."""

    def __init__(self, *args: str, **environ: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "remuda", "serve", *args],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._limit = threading.Timer(60, self.popen.kill)
        self._limit.start()
        self.before = ""
        """What stood on stderr before the line."""
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            if line.startswith("Listening on "):
                self.url = line.split()[2]
                return
            self.before += line
        raise AssertionError(f"the server did not start: {self.before}")

    def lines(self, count: int) -> list[str]:
        assert self.popen.stderr is not None
        return [self.popen.stderr.readline().rstrip() for _ in range(count)]

    def until(self, text: str) -> str:
        """The next line with `text` in it."""
        assert self.popen.stderr is not None
        return next(line.rstrip() for line in self.popen.stderr if text in line)

    def end(self) -> tuple[int, str]:
        """Ask it to stop; returns its status and what it wrote to stdout."""
        self.popen.send_signal(signal.SIGTERM)
        stdout, _ = self.popen.communicate(timeout=60)
        self._limit.cancel()
        return self.popen.returncode, stdout

    def kill(self) -> None:
        self._limit.cancel()
        self.popen.kill()
        self.popen.communicate()


Serving = Callable[..., Process]


@pytest.fixture
def serving() -> Iterator[Serving]:
    started: list[Process] = []

    def start(*args: str, **environ: str) -> Process:
        started.append(Process(*args, **environ))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def ask(url: str, *args: str) -> str:
    command = [sys.executable, "-m", "remuda", *args]
    environ = {**os.environ, "OLLAMA_HOST": url}
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout


def test_it_serves_until_it_is_told_to_stop(serving: Serving) -> None:
    server = serving("--port", "0")
    assert ask(server.url, "list").startswith("NAME")
    assert server.end() == (0, "")


@needs_demo
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_line_to_try_works_as_printed(serving: Serving) -> None:
    server = serving("--port", "0")
    models, _, line = server.lines(3)
    assert models == f"Models: {DEMO}"
    assert line.startswith(f"  curl {server.url}/api/generate -d ")
    short = line.replace("}'", ', "options": {"num_predict": 8}}\'')
    done = subprocess.run(["bash", "-c", short], capture_output=True, text=True, check=True)
    assert '"done":true' in done.stdout.splitlines()[-1]
    assert server.end() == (0, "")


@needs_demo
def test_run_without_a_server_answers_from_the_demo_model(nobody: str) -> None:
    assert ask(nobody, "run", DEMO, "--option", "num_predict=8", "Hello!").strip()


def test_a_broken_plugin_is_named_and_the_server_starts(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('boiler burst')\n")
    info = tmp_path / "remuda_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: remuda-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[remuda]\nbroken = broken\n")
    path = os.pathsep.join((str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])))
    server = serving("--port", "0", PYTHONPATH=path)
    assert "plugin 'broken'" in server.before
    assert "RuntimeError: boiler burst" in server.before
    assert "Fix: repair or uninstall 'remuda-broken'" in server.before
    assert ask(server.url, "list").startswith("NAME")
    server.end()


def test_the_options_win_over_the_file_and_the_environment(serving: Serving, tmp_path: Path) -> None:
    config = tmp_path / "remuda.toml"
    config.write_text('[server]\nhost = "localhost"\nport = 1\n')
    server = serving("--host", "127.0.0.1", "--port", "0", REMUDA_CONFIG=str(config), OLLAMA_HOST="127.0.0.1:2")
    host, _, port = server.url.removeprefix("http://").partition(":")
    assert host == "127.0.0.1"
    assert port not in {"1", "2"}
    server.end()


def test_the_log_says_which_file_was_read(serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "remuda"
    folder.mkdir()
    (folder / "remuda.toml").write_text("[server]\nport = 0\n")
    monkeypatch.chdir(tmp_path)
    server = serving(XDG_CONFIG_HOME=str(tmp_path), OLLAMA_SCHED_SPREAD="1", OLLAMA_MAX_QUEU="1")
    assert f"INFO - remuda.server: configuration file: {folder}/remuda.toml\n" in server.before
    assert "WARNING - remuda.server: OLLAMA_SCHED_SPREAD has no effect on this server\n" in server.before
    assert "is OLLAMA_MAX_QUEUE meant?" in server.before
    server.end()
    other = serving("--port", "0", XDG_CONFIG_HOME="")
    assert "configuration file: none\n" in other.before
    other.end()


def test_the_log_holds_what_its_level_lets_through(serving: Serving, tmp_path: Path) -> None:
    config = tmp_path / "remuda.toml"
    config.write_text('[server]\nport = 0\nlog_level = "error"\n')
    quiet = serving("--config", str(config), OLLAMA_SCHED_SPREAD="1")
    assert quiet.before == ""
    quiet.end()
    loud = serving("--config", str(config), OLLAMA_DEBUG="1", OLLAMA_SCHED_SPREAD="1")
    assert "OLLAMA_SCHED_SPREAD" in loud.before
    assert " DEBUG - asyncio" not in loud.before
    loud.end()


def test_a_changed_file_acts_after_sighup(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text('{"pieces": ["a"]}')
    config = tmp_path / "remuda.toml"
    models = f'[models.mine]\npath = "{tmp_path}/weights"\nformat = "scripted"\nsystem = "Be kind."\n'
    config.write_text(models)
    server = serving("--port", "0", "--config", str(config))
    for alias in ("gpt-4", "gpt-5"):
        config.write_text(f'{models}[aliases]\n"{alias}" = "mine"\n')
        server.popen.send_signal(signal.SIGHUP)
        assert server.until("configuration file").endswith(f": {config}")
        assert server.until("reloaded").endswith("changed: aliases")
        assert ask(server.url, "show", alias, "--system").strip() == "Be kind."
    config.write_text("[server]\nprot = 1\n")
    server.popen.send_signal(signal.SIGHUP)
    assert "server.prot is not a setting" in server.until("reloaded")
    assert ask(server.url, "show", "gpt-5", "--system").strip() == "Be kind."
    assert server.end()[0] == 0


def test_a_taken_port(remuda: Remuda) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = remuda("serve", "--port", port)
    assert result.exit_code == 1
    assert f"Error: cannot listen on 127.0.0.1:{port}: another program uses this port" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the configuration file"),
        ("[server]\nprot = 1", "server.prot is not a setting: is server.port meant?"),
        ("[limits]\nparallel = 0", "limits.parallel is 0"),
        ('[models.x]\npath = "/no/such/file"', 'models."x".path: there is no file'),
    ],
)
def test_a_bad_configuration(remuda: Remuda, tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "remuda.toml"
    if text is not None:
        path.write_text(text)
    result = remuda("serve", "--port", "0", "--config", str(path))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr


def test_the_announcement_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    announce("http://127.0.0.1:1", ["haiku:tiny", "story:latest"])
    shown = capsys.readouterr()
    assert shown.out == ""
    first, *rest = shown.err.splitlines()
    assert first.startswith("Listening on http://127.0.0.1:1 (version ")
    assert rest == [
        "Models: haiku:tiny, story:latest",
        "Try it:",
        '  curl http://127.0.0.1:1/api/generate -d \'{"model": "haiku:tiny", "prompt": "Why is the sky blue?"}\'',
    ]


def test_the_announcement_does_not_name_hundreds(capsys: pytest.CaptureFixture[str]) -> None:
    announce("http://127.0.0.1:1", [f"m{number:03}:latest" for number in range(100)])
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Models: ")]
    assert line.endswith("m019:latest, and 80 more")


def test_the_announcement_without_models_says_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    announce("http://127.0.0.1:1", [])
    shown = capsys.readouterr().err
    assert "  remuda pull smollm2:135m\n" in shown
    assert "  pip install 'remuda[llamacpp,demo]'\n" in shown


def test_models_of_the_configuration_and_of_the_store_are_announced(serving: Serving, tmp_path: Path) -> None:
    make_model(Store(tmp_path / "store"), "me/stored:latest", {})
    make_model(Store(tmp_path / "store"), "Talker:latest", {})
    (tmp_path / "weights").touch()
    config = tmp_path / "remuda.toml"
    config.write_text(f'[models.talker]\npath = "{tmp_path}/weights"\n')
    server = serving("--port", "0", "--config", str(config), OLLAMA_MODELS=str(tmp_path / "store"))
    [line] = server.lines(1)
    assert line.startswith("Models: ")
    assert line.endswith("talker:latest, me/stored:latest")
    server.end()
