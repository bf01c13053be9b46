"""The package of docs/how-to/ship-a-model.md, built and installed as the page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .conftest import blocks


def test_the_package_shown_gives_a_model(tmp_path: Path) -> None:
    project, site = tmp_path / "project", tmp_path / "site"
    for block in blocks("file=", "docs/how-to/ship-a-model.md"):
        path = project / block.mark.removeprefix("file=")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code)
    (project / "src" / "remuda_haiku" / "haiku.gguf").write_bytes(b"GGUF")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(project)], check=True, cwd=tmp_path)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), *filter(None, [os.environ.get("PYTHONPATH")])))}
    done = subprocess.run(
        [sys.executable, "-m", "remuda", "plugins", "haiku"], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[:4] == [
        "name:      haiku",
        "from:      remuda-haiku 1.0",
        "hooks:     remuda_register_models",
        "provides:  model haiku:tiny",
    ]
