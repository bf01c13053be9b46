"""docs/how-to/front-remote-ollama.md, step by step: `remuda serve` before three servers with the demo model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from herding import Serve
from msgspec import structs

from remuda.config import Config, ModelConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

from ..conftest import DEMO, needs_demo
from .conftest import ROOT

pytestmark = needs_demo

PAGE = ROOT / "docs" / "how-to" / "front-remote-ollama.md"
FRONT = "127.0.0.1:11434"
NAMES = {"attic": "http://10.0.0.1:11434", "cellar": "http://10.0.0.2:11434", "barn": "https://10.0.0.3:11434"}
HERE_TOO = '\n[[routes]]\nmodel = "*"\nbackend = "remote"\n'
"""Where the tests run there is the demo model as well, which would go first."""
_STEP = re.compile(
    r"^```(toml config front|sh front)\n(.*?)^```$|^<!-- front: ([a-z ]+) -->$", re.MULTILINE | re.DOTALL
)


class Houses:
    """The servers behind, which can be stopped and started at the same address, and the one before them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behind: dict[str, LiveServer] = {}
        self.urls: dict[str, str] = {}
        self.front: Serve | None = None
        for name in NAMES:
            self.start(name)

    def start(self, name: str) -> None:
        plugins = load_plugins()
        [demo] = [entry for entry in plugins.models.values() if str(entry.name) == DEMO]
        model = ModelConfig(path=str(demo.weights), options={"num_predict": 4, "num_thread": 1})  # not all cores each
        server = LiveServer(Config(models={DEMO: model}), plugins)
        port = int(self.urls.get(name, ":0").rpartition(":")[2])
        server.config = structs.replace(server.config, server=structs.replace(server.config.server, port=port))
        self.behind[name] = server.start()
        self.urls[name] = server.url

    def stop(self, name: str) -> None:
        self.behind.pop(name).stop()

    def configure(self, text: str) -> None:
        for name, address in NAMES.items():
            text = text.replace(address, self.urls[name])
        assert "10.0.0." not in text
        file = self.folder / "remuda.toml"
        file.write_text(text + HERE_TOO)
        if self.front is None:
            self.front = Serve("--config", str(file))

    def reload(self) -> None:
        assert self.front is not None
        assert any("the configuration was reloaded" in line for line in self.front.reload())

    def run(self, code: str) -> str:
        """What the commands print."""
        assert self.front is not None
        url = self.front.url
        environ = {**os.environ, "OLLAMA_HOST": url, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code.replace(FRONT, url.removeprefix("http://"))],
            check=False,
            env=environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        assert '"error"' not in done.stdout
        return done.stdout

    def close(self) -> None:
        if self.front is not None:
            self.front.kill()
        for server in self.behind.values():
            server.stop()


@pytest.fixture
def houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Houses]:
    monkeypatch.setenv("BARN_KEY", "sk-barn-4711")
    with ExitStack() as stack:
        houses = Houses(tmp_path)
        stack.callback(houses.close)
        yield houses


def steps() -> Iterator[tuple[str, str]]:
    """What the page has its reader do: `config` and `sh` with a text, `reload`, `stop` and `start` with a name."""
    for mark, code, action in _STEP.findall(PAGE.read_text("utf-8")):
        kind, _, name = action.partition(" ")
        yield (kind, name) if kind else ("config" if mark.startswith("toml") else "sh", code)


def upstreams(said: str) -> dict[str, str]:
    """States by names, as `remuda upstreams` prints them."""
    rows = [line.split() for line in said.splitlines()]
    return {row[0]: row[2] for row in rows if row[1:2] in (["ollama"], ["openai"])}


def first(said: str, _: Path) -> None:
    assert upstreams(said) == {"attic": "up"}
    assert re.search(r"^smollm2:135m\b", said, re.MULTILINE)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [line["done"] for line in lines] == [False] * 4 + [True]


def second(said: str, folder: Path) -> None:
    assert set(upstreams(said)) == {"attic", "cellar"}
    assert re.search(r"^x-remuda-upstream: (attic|cellar)\s*$", said, re.MULTILINE | re.IGNORECASE)
    assert json.loads((folder / "answer.json").read_text())["message"]["content"]


def failed(said: str, folder: Path) -> None:
    assert upstreams(said)["cellar"] == "up"
    text = (folder / "answers.json").read_text()
    assert text.count('"done":true') == 6
    assert '"error"' not in text


def back(said: str, _: Path) -> None:
    assert said.strip()


def third(said: str, _: Path) -> None:
    assert set(upstreams(said)) == {"attic", "cellar", "barn"}
    assert re.search(r"^house-model:latest\b", said, re.MULTILINE)
    assert "sk-barn" not in said
    assert said.splitlines()[-1].strip()


SAYS: list[Callable[[str, Path], None]] = [first, second, failed, back, third]


def test_the_page_takes_its_reader_from_one_upstream_to_three(houses: Houses, tmp_path: Path) -> None:
    checks = iter(SAYS)
    for kind, text in steps():
        match kind:
            case "config":
                houses.configure(text)
            case "sh":
                next(checks)(houses.run(text), tmp_path)
            case "reload":
                houses.reload()
            case "stop":
                houses.stop(text)
            case "start":
                houses.start(text)
            case _:
                raise AssertionError(f"the page says {kind!r}, which is no step")
    assert next(checks, None) is None, "the page has fewer blocks than there are checks"
