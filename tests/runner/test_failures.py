"""How a load fails and a process ends, told apart; and what is heard of a load before it is done."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from children import children

from remuda.backend import LoadWish
from remuda.errors import EngineMissing, LoadFailed, OutOfMemory, RunnerDied
from remuda.model import ModelEntry, parse_name
from remuda.runner import EngineBackend, on_load_progress
from remuda.runner.confine import be_nice
from remuda.runner.frames import failure
from remuda.testing.scripted import Script, ScriptedBackend, write_script

from .conftest import Loader, job, read

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (Script(fault="oom", fault_at=-1), "scripted.* could not be loaded: there is not enough memory"),
        (Script(oom_above=100), "no room for 4096 tokens"),
        (Script(fault="kill", fault_at=-1), "the system ended it, probably for want of memory"),
    ],
    ids=["MemoryError", "the engine says so", "killed"],
)
async def test_a_load_for_which_there_is_no_memory(load: Loader, script: Script, words: str) -> None:
    before = children()
    with pytest.raises(OutOfMemory, match=words):
        await load(script)
    assert children() <= before


@pytest.mark.parametrize("memory", [40, 60])
async def test_a_bound_that_is_too_low_to_load_anything_is_a_want_of_memory(load: Loader, memory: int) -> None:
    with pytest.raises(OutOfMemory):
        await load(Script(), runner_memory=memory * 2**20)


async def test_niceness_that_is_not_allowed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "nice", forbidden)
    with pytest.raises(LoadFailed, match=r"residency\.runner_nice is -5, .* not allow .* CAP_SYS_NICE"):
        be_nice(-5)


@pytest.mark.parametrize(("own", "allowed", "then"), [(0, True, -10), (0, False, 0), (5, True, 5), (-3, True, -3)])
def test_niceness_that_nobody_chose(monkeypatch: pytest.MonkeyPatch, own: int, allowed: bool, then: int) -> None:
    niceness = own

    def nice(more: int) -> int:
        nonlocal niceness
        if more < 0 and not allowed:
            raise PermissionError(1, "Operation not permitted")
        niceness += more
        return niceness

    monkeypatch.setattr(os, "nice", nice)
    be_nice(None)
    assert niceness == then


@pytest.mark.parametrize("fault", ["abort", "raise"])
async def test_other_failures_are_not_for_want_of_memory(load: Loader, fault: Any) -> None:
    with pytest.raises(LoadFailed) as caught:
        await load(Script(fault=fault, fault_at=-1))
    assert type(caught.value) is LoadFailed


async def test_a_shorter_context_may_fit(load: Loader) -> None:
    assert (await load(Script(oom_above=100), context=100)).context == 100


async def test_an_engine_that_is_not_installed_is_no_failure_of_the_model(tmp_path: Path) -> None:
    class Backend(EngineBackend):
        engine = "remuda_there_is_no_such_package:Engine"
        hint = "pip install it"

    entry = ModelEntry(name=parse_name("m"), weights=tmp_path, format="none")
    with pytest.raises(EngineMissing, match=r"not installed here.*no_such_package.*install it with: pip install it"):
        await Backend().load(entry, LoadWish(context=64))


async def test_an_engine_whose_parts_do_not_fit_is_told_of_without_their_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backend(EngineBackend):
        engine = "remuda_engine_with_a_hole:Engine"

    (tmp_path / "remuda_engine_with_a_hole.py").write_text("from email import no_such_thing\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    entry = ModelEntry(name=parse_name("m"), weights=tmp_path, format="none")
    with pytest.raises(EngineMissing, match="no_such_thing") as caught:
        await Backend().load(entry, LoadWish(context=64))
    assert "/" not in str(caught.value)


async def test_what_an_engine_raises_for_a_request_is_told_without_paths() -> None:
    told = failure(1, FileNotFoundError(2, "No such file", "/models/secret folder/x.gguf"))
    assert (told.id, told.status) == (1, 500)
    assert told.message == "the engine refused the request: [Errno 2] No such file: the file"


async def test_memory_that_runs_out_in_a_step_ends_the_process(load: Loader) -> None:
    model = await load(Script(fault="oom", fault_at=1))
    with pytest.raises(RunnerDied, match=r": out of memory$"):
        await read(model.generate(job()))
    assert await model.ended() == "out of memory"


async def test_a_death_is_told_without_being_asked_for(load: Loader) -> None:
    model = await load(Script())
    ended = asyncio.create_task(model.ended())
    await asyncio.sleep(0)
    assert not ended.done()
    assert model.pid is not None
    os.kill(model.pid, signal.SIGKILL)
    assert await asyncio.wait_for(ended, 10) == "killed by SIGKILL"
    assert not model.alive


async def test_a_model_that_is_unloaded_has_not_ended_by_itself(load: Loader) -> None:
    model = await load(Script())
    ended = asyncio.create_task(model.ended())
    await model.close()
    assert not ended.done()
    ended.cancel()
    await asyncio.wait([ended])


async def test_a_model_tells_how_many_sequences_it_takes(load: Loader) -> None:
    assert (await load(Script(), parallel=3)).parallel == 3
    assert (await load(Script(parallel=1), parallel=3)).parallel == 1


async def test_progress_of_a_load_is_told_to_who_asked_and_to_nobody_else(load: Loader) -> None:
    told: list[float] = []
    began = time.monotonic()
    token = on_load_progress.set(told.append)
    loading = asyncio.create_task(load(Script(load_delay=0.6, load_steps=60)))
    on_load_progress.reset(token)
    await load(Script(load_steps=2))
    await loading
    assert told == sorted(told)
    assert 2 <= len(told) <= 10 * (time.monotonic() - began) + 1, "of sixty, not more than ten a second"
    assert told[0] == pytest.approx(1 / 60)


async def test_a_script_may_fail_for_some_time_only(load: Loader, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.write_text("2")
    script = Script(fault="exit", fault_at=-1, faults_left=str(left))
    for _ in range(2):
        with pytest.raises(LoadFailed):
            await load(script)
    assert (await read((await load(script)).generate(job())))[0] == "one two three"


async def test_a_script_says_what_it_needs(tmp_path: Path) -> None:
    weights = write_script(tmp_path / "script.json", Script(needs=1000, needs_per_token=10))
    entry = ModelEntry(name=parse_name("m"), weights=weights, format="scripted")
    estimate = await ScriptedBackend().estimate(entry, LoadWish(context=50, parallel=2))
    assert estimate.memory == 2000
