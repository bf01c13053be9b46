"""Walks a tutorial as its reader does: its blocks, in their order, in a folder and an environment that begin empty.

| mark after the language | what is done with the block |
|---|---|
| `step` | its commands are run, or its program, where the last step ended |
| `fails` | the same, and the last of them must fail |
| `prints` | each of its lines must be in what the step above wrote, in this order; `...` stands for any |
| `file=PATH` | it is written to that file |
| `edit=PATH` | what it defines takes the place of what has the same names in that file |
| `line=PATH` | its line takes the place of the one in that file which begins with the same three words |
| `serve` | its command is started, and goes on until the walk ends |

What a reader fetches is here already: wheels in a folder, and all that is installed round the tests, which the new
environment sees once Remuda is in it. No index is asked, and commands are run as they are written.
"""

from __future__ import annotations

import ast
import os
import re
import site
import subprocess
import sys
import threading
from pathlib import Path

from .conftest import Block

__all__ = ["ADDRESS", "Walk"]

ADDRESS = "127.0.0.1:11434"
"""Where the server of a tutorial listens; in a walk it is another port."""
_LISTENING = re.compile(r"^Listening on http://(\S+)", re.MULTILINE)
_STEP_SECONDS = 120

_TOOLS = {
    "python": """
        if [ "$1 $2" = "-m venv" ]; then set -- "$@" --without-pip; fi
        exec "{python}" "$@"
    """,
    "pip": """
        into=$(command -v python) way=$1; shift
        if [ "$into" = "{tools}/python" ]; then echo "there is no environment yet"; exit 1; fi
        exec "{python}" -m pip --python "$into" "$way" --quiet --disable-pip-version-check \\
            --no-index --find-links "{wheels}" --no-deps --no-build-isolation "$@"
    """,
    "pytest": """
        exec python -m pytest "$@"
    """,
}
"""Programs that stand behind those of the environment."""


class Walk:
    """`with Walk(folder, wheels) as walk: walk.take(block)`, in the order of the page."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self._here = self._folder = folder
        self._tools = folder / "tools"
        self._written = ""
        self._servers: list[subprocess.Popen[str]] = []
        self._address = ADDRESS
        self._tools.mkdir()
        for name, text in _TOOLS.items():
            program = text.format(python=sys.executable, tools=self._tools, wheels=wheels)
            (self._tools / name).write_text(f"#!/bin/sh\n{program}")
            (self._tools / name).chmod(0o755)

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.terminate()
            server.communicate(timeout=30)
            assert server.returncode == 0

    def take(self, block: Block) -> None:
        kind, _, path = block.mark.partition("=")
        match kind:
            case "step" if block.language == "python":
                self._run(["python", "-c", self._local(block.code)])
            case "fails":
                self._run(["bash", "-euo", "pipefail", "-c", block.code], fails=True)
            case "step":
                ended = self._folder / "here"
                code = f'{self._local(block.code)}\npwd >"{ended}"'
                self._run(["bash", "-euo", "pipefail", "-c", code])
                self._here = Path(ended.read_text().strip())
                self._equip()
            case "prints":
                self._expect(self._local(block.code).splitlines())
            case "file":
                (self._here / path).write_text(block.code)
            case "edit":
                file = self._here / path
                file.write_text(edited(file.read_text(), block.code))
            case "line":
                file, begin = self._here / path, block.code.split()[:3]
                [old] = [line for line in file.read_text().splitlines() if line.split()[:3] == begin]
                file.write_text(file.read_text().replace(f"{old}\n", block.code))
            case "serve":
                self._serve(block.code)
            case _:
                raise AssertionError(f"{block.page}: what is to be done with {block.mark!r}?")

    def origin(self, module: str) -> Path:
        """The file that the reader's Python imports a module from."""
        self._run(["python", "-c", f"import {module}; print({module}.__file__)"])
        return Path(self._written.strip())

    @property
    def _venv(self) -> Path:
        return next(iter(self._folder.rglob("pyvenv.cfg")), self._folder / "none").parent

    @property
    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        path = [str(self._venv / "bin"), str(self._tools), "/usr/local/bin", "/usr/bin", "/bin"]
        return {**kept, "PATH": os.pathsep.join(path), "OLLAMA_HOST": self._address}

    def _run(self, command: list[str], *, fails: bool = False) -> None:
        ran = subprocess.run(
            command,
            cwd=self._here,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_STEP_SECONDS,
            check=False,
        )
        assert (ran.returncode != 0) == fails, f"{command[-1]}\n{ran.stdout}"
        self._written = ran.stdout

    def _expect(self, lines: list[str]) -> None:
        rest = self._written
        for line in lines:
            for part in filter(None, (part.strip() for part in line.split("..."))):
                assert part in rest, f"{part!r} is not in\n{self._written}"
                rest = rest.partition(part)[2]

    def _serve(self, code: str) -> None:
        environ = {**self._environ, "OLLAMA_HOST": "127.0.0.1:0"}
        server = subprocess.Popen(code.split(), cwd=self._here, env=environ, stderr=subprocess.PIPE, text=True)
        self._servers.append(server)
        assert server.stderr is not None
        timer = threading.Timer(_STEP_SECONDS, server.kill)
        timer.daemon = True
        timer.start()
        self._written = ""
        while not (said := _LISTENING.search(self._written)) or "Try it" not in self._written:
            line = server.stderr.readline()
            assert line, self._written
            self._written += line
        timer.cancel()
        self._address = said[1]

    def _local(self, code: str) -> str:
        return code.replace(ADDRESS, self._address)

    def _equip(self) -> None:
        """What a reader's `pip` has fetched together with Remuda: of what is round the tests modules, and no more.

        What a `.pth` file there says is not read, so that the project's own tree is not seen.
        """
        for packages in self._venv.glob("lib/python*/site-packages"):
            if list(packages.glob("remuda-*.dist-info")):
                (packages / "around.pth").write_text("\n".join(site.getsitepackages()) + "\n")


def edited(text: str, code: str) -> str:
    """`text`, a program, with the definitions of `code` in the place of its own of the same names."""
    for new in ast.parse(code).body:
        [old] = [node for node in ast.parse(text).body if _name(node) == _name(new)]
        lines = text.splitlines()
        lines[_first(old) - 1 : old.end_lineno] = code.splitlines()[_first(new) - 1 : new.end_lineno]
        text = "\n".join(lines) + "\n"
    return text


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return node.name
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0])
    return ast.unparse(node.target) if isinstance(node, ast.AnnAssign) else None


def _first(node: ast.stmt) -> int:
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
