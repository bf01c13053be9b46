"""A process that hangs is ended; one that works, waits or is only watched by a late server is not."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from children import children

from remuda.backend import EmbedJob, LoadWish
from remuda.errors import LoadFailed, RunnerDied
from remuda.model import ModelEntry, parse_name
from remuda.runner import on_load_progress, watchdog
from remuda.runner.watchdog import Watchdog
from remuda.testing.scripted import Script, ScriptedBackend, write_script

from .conftest import Loader, job, read

pytestmark = pytest.mark.anyio

STALLED = "it gave no sign of life for 0.4 seconds and was ended"


def gone(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("fault", ["hang", "stop"])
async def test_a_process_that_hangs_in_a_step_fails_its_requests_and_is_gone(load: Loader, fault: Any) -> None:
    model = await load(Script(fault=fault, fault_at=2), stall_timeout=0.4)
    results = await asyncio.gather(*(read(model.generate(job())) for _ in range(2)), return_exceptions=True)
    assert [str(result) for result in results] == [str(RunnerDied(STALLED))] * 2
    assert not model.alive
    assert await model.ended() == STALLED
    assert gone(model.pid)


async def test_a_process_that_hangs_over_embeddings_is_ended(load: Loader) -> None:
    model = await load(Script(embeds=4, fault="hang"), stall_timeout=0.4)
    with pytest.raises(RunnerDied, match=STALLED):
        await model.embed(EmbedJob(inputs=["a"], limit=100))


async def test_a_process_that_all_clients_have_left_is_ended_too(load: Loader) -> None:
    model = await load(Script(fault="hang"), stall_timeout=0.4)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(read(model.generate(job())), 0.05)
    assert await asyncio.wait_for(model.ended(), 20) == STALLED


@pytest.mark.parametrize("fault", ["hang", "stop"])
async def test_a_load_that_hangs_is_given_up_and_leaves_no_process(load: Loader, fault: Any) -> None:
    before = children()
    with pytest.raises(LoadFailed) as caught:
        await load(Script(fault=fault, fault_at=-1), load_timeout=0.5)
    assert str(caught.value) == "timed out waiting for the model to load: no progress for 0.5 seconds"
    assert children() <= before


async def test_a_slow_load_that_gets_further_is_let_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_NAP", 0.05)
    backend = ScriptedBackend()
    backend.load_timeout = math.inf  # until Python is up, which takes how long it takes
    on_load_progress.set(lambda _: setattr(backend, "load_timeout", 0.5))
    weights = write_script(tmp_path / "script.json", Script(load_delay=1.5, load_steps=15))
    entry = ModelEntry(name=parse_name("slow"), weights=weights, format="scripted")
    model = await backend.load(entry, LoadWish(context=64))
    assert backend.load_timeout == 0.5
    await model.close()


async def test_a_long_prompt_is_no_silence(load: Loader) -> None:
    model = await load(Script(pieces=["x"], delay=0.05, prompt_chunk=1), stall_timeout=0.4)
    assert (await read(model.generate(job("p" * 20))))[0] == "x"


async def test_a_long_embedding_is_no_silence(load: Loader) -> None:
    model = await load(Script(embeds=4, embed_pieces=12, delay=0.05), stall_timeout=0.4)
    assert len((await model.embed(EmbedJob(inputs=["a"], limit=100))).vectors) == 1


async def test_many_texts_that_are_slowly_tokenized_are_no_silence(load: Loader) -> None:
    model = await load(Script(embeds=4, tokenize_delay=50), stall_timeout=0.4)
    assert len((await model.embed(EmbedJob(inputs=["t"] * 16, limit=100))).vectors) == 16


async def test_an_idle_process_may_be_silent_for_as_long_as_it_likes(load: Loader) -> None:
    model = await load(Script(), stall_timeout=0.2)
    assert (await read(model.generate(job())))[0] == "one two three"
    assert model.pid is not None
    os.kill(model.pid, signal.SIGSTOP)
    await asyncio.sleep(0.6)  # nothing tells of what does not happen
    os.kill(model.pid, signal.SIGCONT)
    assert (await read(model.generate(job())))[0] == "one two three"


async def test_an_answer_that_nobody_has_read_is_owed_by_nobody(load: Loader) -> None:
    model = await load(Script(pieces=["x"], repeat=20), stall_timeout=0.2)
    async with contextlib.aclosing(model.generate(job())) as stream:
        await anext(stream)
        while (await model.stats()).running:
            pass
        await asyncio.sleep(0.5)
        assert (await read(stream))[0] == "x" * 19


def hold_up(seconds: float) -> None:
    """The event loop, and with it the whole machine, as it were."""
    time.sleep(seconds)


class _Bowl:
    """What the watchdog of these tests looks at."""

    def __init__(self) -> None:
        self.owes, self.patience = True, 0.2
        self.bitten = asyncio.Event()
        self.seconds = 0.0
        self.dog = Watchdog(lambda: self.owes, lambda: self.patience, self.bite)

    def bite(self, seconds: float) -> None:
        self.seconds = seconds
        self.bitten.set()


async def test_it_bites_after_its_patience_and_a_moment_more() -> None:
    bowl = _Bowl()
    began = time.monotonic()
    bowl.dog.begin()
    await bowl.bitten.wait()
    assert time.monotonic() - began >= 0.25
    assert bowl.seconds == 0.2


async def test_a_changed_bound_counts_from_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_NAP", 0.05)
    bowl = _Bowl()
    bowl.patience = float("inf")
    bowl.dog.begin()
    await asyncio.sleep(0.1)
    bowl.patience = 0.1
    await asyncio.wait_for(bowl.bitten.wait(), 5)
    assert bowl.seconds == 0.1


async def test_a_server_that_was_held_up_listens_before_it_judges() -> None:
    bowl = _Bowl()
    bowl.patience = 0.4
    ours, theirs = os.pipe()
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def heard() -> None:
        os.read(ours, 1)
        bowl.dog.heard = loop.time()
        bowl.owes = False
        done.set()

    loop.add_reader(ours, heard)
    bowl.dog.begin()
    await asyncio.sleep(0)
    hold_up(0.8)
    loop.call_later(0.05, os.write, theirs, b"x")
    await done.wait()
    bowl.dog.stop()
    loop.remove_reader(ours)
    os.close(ours)
    os.close(theirs)
    assert not bowl.bitten.is_set()


async def test_one_that_is_held_up_again_and_again_gives_each_time_a_moment() -> None:
    bowl = _Bowl()
    bowl.dog.begin()
    for _ in range(3):
        await asyncio.sleep(0)
        hold_up(0.35)
    assert not bowl.bitten.is_set()
    await asyncio.wait_for(bowl.bitten.wait(), 5)
