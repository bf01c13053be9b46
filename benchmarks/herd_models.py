"""The models that `benchmarks.herd` asks for, and the configuration of the server that has them."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from remuda.testing import Script, write_script

__all__ = ["real_models", "scripted_models"]

_PLUGIN = """from remuda.testing import ScriptedPlugin

plugin = ScriptedPlugin()
"""


def scripted_models(folder: Path, count: int, room: int, seed: int) -> tuple[Path, dict[str, str]]:
    """Models that take 0.2 to 1 s to load and then about a quarter of a second to answer.

    The configuration's path, and the text that each model says. `folder` is to be on the server's PYTHONPATH.
    """
    chance = random.Random(seed)
    texts: dict[str, str] = {}
    table: list[str] = []
    for number in range(count):
        name = f"m{number}"
        words = [f"{name} ", *(f"{chance.randrange(1000)} " for _ in range(11))]
        script = Script(pieces=words, delay=0.02, load_delay=chance.uniform(0.2, 1.0))
        path = write_script(folder / f"{name}.json", script)
        table.append(f'[models.{name}]\npath = "{path}"\nformat = "scripted"\n')
        texts[name] = "".join(words)
    info = folder / "herd_scripted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: herd-scripted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[remuda]\nherd = herd_scripted:plugin\n")
    (folder / "herd_scripted.py").write_text(_PLUGIN)
    return _configured(folder, room, table), texts


def real_models(folder: Path, count: int, room: int, seed: int) -> tuple[Path, dict[str, str]]:
    """As `scripted_models`: models of random weights for llama.cpp. What they say is not known beforehand."""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
    from tiny_models import write_tiny_llama

    table: list[str] = []
    for number in range(count):
        path = write_tiny_llama(folder / f"m{number}.gguf", name=f"m{number}", seed=seed * 100 + number)
        table.append(f'[models.m{number}]\npath = "{path}"\n')
    return _configured(folder, room, table), {f"m{number}": "" for number in range(count)}


def _configured(folder: Path, room: int, table: list[str]) -> Path:
    path = folder / "herd.toml"
    path.write_text("\n".join([f"[residency]\nmax_loaded = {room}\n", '[limits]\nkeep_alive = "1h"\n', *table]))
    return path
