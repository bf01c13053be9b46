"""Cores with nothing to do, from counters in the form of Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda_llamacpp.threads.idle import IdleCores

HALF = 500_000_000


class Counters:
    """Ticks of three cores, of which the process has the first two."""

    def __init__(self, path: Path) -> None:
        self.path, self.busy, self.idle = path, [1000] * 3, [5000] * 3
        self.run(0, 0, 0)

    def run(self, *idle: int, ticks: int = 50) -> None:
        self.idle = [before + now for before, now in zip(self.idle, idle, strict=True)]
        self.busy = [before + ticks - now for before, now in zip(self.busy, idle, strict=True)]
        lines = [
            f"cpu{core} {busy} 0 0 {idle} 0 0 0 0 9999 0"
            for core, (busy, idle) in enumerate(zip(self.busy, self.idle, strict=True))
        ]
        self.path.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *lines, "intr 12345", "ctxt 99"]))


@pytest.fixture
def counters(tmp_path: Path) -> Counters:
    return Counters(tmp_path / "stat")


@pytest.fixture
def idle(counters: Counters) -> IdleCores:
    return IdleCores(counters.path, cores=[0, 1])


def test_the_average_since_the_last_look(counters, idle):
    assert idle(0) == 0  # not known yet
    counters.run(50, 25, 50)
    assert idle(HALF) == 1.5
    counters.run(0, 25, 50)
    assert idle(2 * HALF) == 0.5


def test_it_looks_twice_a_second(counters, idle):
    idle(0)
    counters.run(50, 0, 0)
    assert idle(HALF) == 1
    counters.path.unlink()
    assert [idle(HALF + age) for age in (1, HALF // 2, HALF - 1)] == [1, 1, 1]
    assert idle(2 * HALF) is None


def test_what_was_long_ago_says_nothing(counters, idle):
    idle(0)
    counters.run(50, 50, 50)
    assert idle(10 * HALF) == 0
    counters.run(50, 50, 50)
    assert idle(11 * HALF) == 2


@pytest.mark.parametrize("content", [None, "", "cpu0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0", "cpu0 what is this"])
def test_where_it_cannot_be_known(tmp_path, content):
    path = tmp_path / "stat"
    if content is not None:
        path.write_text(content)
    idle = IdleCores(path, cores=[0, 1])
    assert [idle(HALF * turn) for turn in range(3)] == [None] * 3


def test_this_system_or_none():
    idle = IdleCores()
    idle(0)
    cores = idle(HALF)
    assert cores is None or cores >= 0
