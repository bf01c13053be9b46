"""What hangs until its test is over, and plugins as strangers install them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from remuda.plugins import Gauge


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What something hangs in; open at the end, so that no thread stays."""
    made = threading.Event()
    yield made
    made.set()


class Clock:
    """For all breakers of a test: moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("remuda.plugins.manager.Gauge", partial(Gauge, clock=made))
    return made


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: threading.Event) -> Iterator[Callable[..., object]]:
    """`install(name, code)`: a module with that code, and the entry point that leads to it. It may `import` as `gate`
    what it hangs in: `from strangers_gate import gate`."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setitem(sys.modules, "strangers_gate", type(sys)("strangers_gate"))
    sys.modules["strangers_gate"].gate = gate  # type: ignore[attr-defined]
    made: list[str] = []

    def install(name: str, code: str) -> EntryPoint:
        made.append(f"strangers_{name}")
        (folder / f"strangers_{name}.py").write_text(code)
        return EntryPoint(name=name, value=f"strangers_{name}", group="remuda")

    yield install
    for module in made:
        sys.modules.pop(module, None)
