"""A virtual environment of its own for what somebody else would install: from wheels, with nothing downloaded.

It sees the packages that are installed round the tests, Remuda among them.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

__all__ = ["built", "made", "ran"]


def ran(*command: str | Path, cwd: Path | None = None, timeout: float = 120.0) -> str:
    """What it writes to stdout. Fails, with all that it wrote, where it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "OLLAMA_HOST"}}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(project: Path, folder: Path) -> Path:
    """The wheel of a project, which the installed hatchling writes to `folder`."""
    before = set(folder.glob("*.whl"))
    ran(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=project)
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


def made(folder: Path, wheels: Iterable[Path]) -> Path:
    """The Python of a new environment with these wheels in it."""
    venv.create(folder, with_pip=False)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    around = "".join(f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages())
    (packages / "around.pth").write_text(around)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check")
    ran(*pip, "--no-deps", "--no-index", "--no-compile", *wheels)
    return python
