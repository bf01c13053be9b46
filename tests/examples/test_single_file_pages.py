"""The pages about examples/plugins: their settings are read by the plugins, their commands say something."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from remuda.config import Config, ModelConfig
from remuda.testing import LiveServer, Script, write_script

from ..docs.conftest import ROOT, Block, blocks
from .single_files import FILES, FOLDER, configured, load

ADDRESS = "127.0.0.1:11434"
EXAMPLES = blocks("example")


def title(block: Block) -> str:
    return f"{block.page}:{block.number}"


def output(*command: str, **environ: str) -> str:
    """What the command writes to stdout. Fails where it fails."""
    ran = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("pages")
    script = write_script(folder / "script.json", Script())
    models = {"llama3.2": ModelConfig(path=str(script), format="scripted")}
    config = configured("", folder)
    with LiveServer(Config(models=models, plugins=config.plugins), load(config)) as server:
        yield server


@pytest.mark.parametrize("block", [each for each in EXAMPLES if each.language == "toml"], ids=title)
def test_settings_shown_are_read(block: Block, tmp_path: Path) -> None:
    config = configured(block.code, tmp_path)
    assert config != configured("", tmp_path)
    faults = {plugin.name: plugin.fault for plugin in load(config).describe()}
    assert [faults[name] for name in FILES] == [""] * len(FILES)


@pytest.mark.parametrize("block", [each for each in EXAMPLES if each.language == "sh"], ids=title)
def test_commands_shown_say_something(block: Block, server: LiveServer) -> None:
    code = block.code.replace(ADDRESS, server.url.removeprefix("http://"))
    said = output("bash", "-euo", "pipefail", "-c", code)
    assert said.strip()
    assert '"error"' not in said


def test_every_file_is_shown_on_its_page_and_listed() -> None:
    pages = {page.name: page.read_text("utf-8") for page in (ROOT / "docs" / "how-to").glob("*.md")}
    listed = re.findall(r"^\| `(\w+)\.py` \|.*\]\((.+)\) \|$", pages["configure-plugins.md"], re.MULTILINE)
    assert sorted(name for name, _ in listed) == FILES
    for name, page in listed:
        assert f"<!-- generated: source examples/plugins/{name}.py -->" in pages[page]


def test_a_folder_of_plugins_is_served_and_adds_its_commands(tmp_path: Path) -> None:
    """From `remuda serve --plugins-dir` to a receipt that was written before the server ended."""
    receipts = tmp_path / "receipts.jsonl"
    (tmp_path / "remuda.toml").write_text(f'[plugins.settings.receipts]\npath = "{receipts}"\n')
    remuda = [sys.executable, "-m", "remuda"]
    command = [*remuda, "serve", "--port", "0", "--plugins-dir", str(FOLDER)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stderr is not None
        try:
            url = next(line.split()[2] for line in serving.stderr if line.startswith("Listening on "))
            body = {"model": "echo", "prompt": "Hello, joe@example.org!", "stream": False}
            reply = httpx.post(f"{url}/api/generate", json=body, timeout=20)
            serving.send_signal(signal.SIGTERM)
            left = serving.stderr.read()
            assert serving.wait(20) == 0, left
        finally:
            serving.kill()
    assert reply.json()["response"] == "user: Hello, [redacted]!"
    said = output(*remuda, "receipts", str(receipts), REMUDA_PLUGINS_DIR=str(FOLDER))
    assert said.splitlines()[1].split()[:3] == ["echo", "1", "0"]
