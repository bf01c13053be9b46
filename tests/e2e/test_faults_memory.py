"""Scenarios S19 and S20: models that are too large, for the machine or for what one process may have."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from faults import ENDLESS, Front, runner_pid, runners, scripted_models, serving
from hoarding import HoardingPlugin
from msgspec import structs

from remuda.config import LimitsConfig, ModelConfig, ResidencyConfig
from remuda.pipeline import loading
from remuda.testing import LiveServer, Script

MEGABYTE, GIGABYTE = 2**20, 2**30
TOO_LARGE = (
    r"^model requires more system memory \([\d.]+ \w+\) than is available \([\d.]+ \w+\); lower num_ctx, or take"
)
FEW = {"options": {"num_predict": 2}}


@contextmanager
def hoarding(
    folder: Path, scripts: dict[str, Script], residency: ResidencyConfig, **others: ModelConfig
) -> Iterator[tuple[LiveServer, Front]]:
    """A server of models that really take what they need, one sequence each, beside `others`."""
    made = scripted_models(folder, scripts).items()
    models = {name: structs.replace(model, format="hoarding") for name, model in made}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
        plugins = (("hoarding", HoardingPlugin()),)
        limits = LimitsConfig(parallel=1, context=4096)
        with serving({**models, **others}, limits=limits, residency=residency, plugins=plugins) as (live, front):
            yield live, front


def test_s19_larger_than_the_machine(tmp_path: Path) -> None:
    """S19: refused with both numbers before anything is begun, and nobody makes room in vain."""
    scripts = {"idle": Script(), "huge": Script(needs=2**60)}
    with serving(scripted_models(tmp_path, scripts)) as (live, front):
        assert front.told("idle")
        pid, before = runner_pid(live, "idle"), runners(os.getpid())
        for _ in range(4):  # it is no fault of the model's, and so no reason for a quarantine
            reply = front.ask("huge")
            assert reply.status_code == 500
            assert re.search(TOO_LARGE, reply.json()["error"])
            assert "(1048576.0 TiB)" in reply.json()["error"]
        assert runners(os.getpid()) <= before
        assert list(front.ps()) == ["idle"]
        assert front.told("idle")
        assert runner_pid(live, "idle") == pid


class SmallMachine:
    """One with so much memory that only this server's models take: what other programs do here is out of control."""

    def __init__(self, size: int) -> None:
        self._size, self._others = size, runners(os.getpid())

    def available(self) -> int:
        return self._size - sum(map(_resident, runners(os.getpid()) - self._others))


def _resident(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def test_s19_room_is_made_by_idle_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S19: where little memory is free, an idle model leaves for another; one that never fits evicts nobody."""
    machine = SmallMachine(GIGABYTE)
    monkeypatch.setattr(loading, "available_memory", machine.available)
    needs = {"first": 600, "second": 600, "third": 900}
    scripts = {name: Script(needs=size * MEGABYTE) for name, size in needs.items()}
    with hoarding(tmp_path, scripts, ResidencyConfig(memory_reserve=200 * MEGABYTE)) as (_, front):
        assert front.told("first")
        assert machine.available() < 500 * MEGABYTE
        assert front.told("second")
        assert list(front.ps()) == ["second"]
        reply = front.ask("third")
        assert reply.status_code == 500
        assert re.search(TOO_LARGE, reply.json()["error"])
        assert "(900.0 MiB)" in reply.json()["error"]
        assert list(front.ps()) == ["second"]
        with front.stream("second") as lines:
            assert not next(lines)["done"]


def test_s20_no_memory_while_it_loads(tmp_path: Path) -> None:
    """S20: a process at the bound of its memory; a shorter context is tried if nobody asked for one, others go on."""
    scripts = {
        "long": Script(needs_per_token=GIGABYTE // 4096),
        "large": Script(needs=GIGABYTE),
    }
    residency = ResidencyConfig(runner_memory=3 * GIGABYTE // 4)
    other = scripted_models(tmp_path, {"other": Script(**ENDLESS)})
    with hoarding(tmp_path, scripts, residency, **other) as (live, front), front.stream("other") as lines:
        next(lines)
        pid = runner_pid(live, "other")
        assert front.told("long")
        assert front.ps()["long"]["context_length"] == 1024
        for model, options in (("large", {}), ("long", {"num_ctx": 4096})):
            reply = front.ask(model, options=options)
            assert reply.status_code == 500
            assert "there is not enough memory" in reply.json()["error"]
            assert model not in front.ps()
        assert front.told("long")
        assert "response" in next(lines)
        assert runner_pid(live, "other") == pid


def test_s20_ended_by_the_system_while_it_loads(tmp_path: Path) -> None:
    """S20: as the kernel does it; the shorter context is the next try's, not the next request's."""
    left = tmp_path / "left"
    left.write_text("1")
    script = Script(fault="kill", fault_at=-1, faults_left=str(left))
    with serving(scripted_models(tmp_path, {"m": script})) as (_, front):
        assert front.told("m")
        assert front.ps()["m"]["context_length"] == 1024
        left.write_text("2")
        front.unload("m")
        reply = front.ask("m")
        assert reply.status_code == 500
        assert "the system ended it, probably for want of memory" in reply.json()["error"]
        assert front.told("m")
