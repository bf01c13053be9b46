"""How long a model stays, with the real engine: what `/api/ps` says, and when the process is really gone."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from faults import Front, await_true, serving
from herding import Watch
from tiny_models import write_tiny_llama

from remuda.config import LimitsConfig, ModelConfig, ResidencyConfig, ResidencyRule

FOREVER = 292 * 365.25 * 86400
FEW = {"num_predict": 2}


@contextmanager
def _tiny(folder: Path, *names: str, **config: Any) -> Iterator[Front]:
    """A client of a server with real models of these names."""
    models = {
        name: ModelConfig(path=str(write_tiny_llama(folder / f"{name}.gguf", name=name, seed=seed)))
        for seed, name in enumerate(names or ("tiny",))
    }
    with serving(models, **config) as (_, front):
        yield front


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with _tiny(tmp_path_factory.mktemp("tiny")) as front:
        yield front


@pytest.fixture
def fresh(tiny: Front) -> Front:
    tiny.unload("tiny")
    assert tiny.ps() == {}
    return tiny


def _left(front: Front, model: str = "tiny") -> float:
    """Seconds until it leaves, as `/api/ps` has it."""
    return datetime.fromisoformat(front.ps()[model]["expires_at"]).timestamp() - time.time()


@pytest.mark.parametrize(
    ("keep_alive", "seconds"),
    [("5m", 300), ("1h", 3600), (3600, 3600), (-1, math.inf), ("-1", math.inf), ("-1m", math.inf), (None, 300)],
    ids=repr,
)
def test_it_stays_for_as_long_as_it_was_asked_to(fresh: Front, keep_alive: float | str | None, seconds: float) -> None:
    wish = {} if keep_alive is None else {"keep_alive": keep_alive}
    with Watch() as watch:
        assert fresh.told("tiny", options=FEW, **wish)
        left = _left(fresh)
        assert left > FOREVER if math.isinf(seconds) else left == pytest.approx(seconds, abs=5)
        assert fresh.ps()["tiny"]["state"] == "ready"
        assert fresh.told("tiny", options=FEW)  # who says nothing leaves it as it is
        assert (_left(fresh) > FOREVER) if math.isinf(seconds) else _left(fresh) == pytest.approx(seconds, abs=5)
        assert len(watch.pids) == 1
        assert watch.alive == watch.pids


@pytest.mark.parametrize("keep_alive", [0, "0", "0s", 0.0], ids=repr)
def test_nothing_means_gone_after_the_answer(fresh: Front, keep_alive: float | str) -> None:
    with Watch() as watch:
        reply = fresh.ask("tiny", options=FEW, keep_alive=keep_alive)
        assert reply.json()["eval_count"] == 2
        await_true(lambda: not fresh.ps())
        await_true(lambda: not watch.alive)
        assert len(watch.pids) == 1


@pytest.mark.parametrize("keep_alive", [0, "0"], ids=repr)
def test_nothing_without_a_prompt_unloads(fresh: Front, keep_alive: float | str) -> None:
    with Watch() as watch:
        assert fresh.told("tiny", options=FEW, keep_alive=-1)
        reply = fresh.ask("tiny", "", keep_alive=keep_alive)
        assert (reply.json()["done"], reply.json()["done_reason"]) == (True, "unload")
        assert fresh.ps() == {}
        await_true(lambda: not watch.alive)
        assert fresh.told("tiny", options=FEW)  # and that is forgotten
        assert _left(fresh) == pytest.approx(300, abs=5)


def test_it_leaves_when_its_time_is_over(fresh: Front) -> None:
    with Watch() as watch:
        assert fresh.told("tiny", options=FEW, keep_alive="700ms")
        ended = time.monotonic()
        assert set(fresh.ps()) == {"tiny"}
        await_true(lambda: not fresh.ps())
        assert time.monotonic() - ended > 0.4
        await_true(lambda: not watch.alive)


def test_the_last_one_who_says_something_decides(fresh: Front) -> None:
    for wish, seconds in (("1h", 3600), (None, 3600), ("10m", 600), (None, 600)):
        assert fresh.told("tiny", options=FEW, **({"keep_alive": wish} if wish else {}))
        assert _left(fresh) == pytest.approx(seconds, abs=5)


def test_while_it_is_used_the_time_does_not_run(fresh: Front) -> None:
    with fresh.stream("tiny", options={"num_predict": -1}, keep_alive="1s") as lines:
        for line in lines:
            assert set(line) != {"error"}
            if _left(fresh) == pytest.approx(1.0, abs=0.5):
                break
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            next(lines)
        assert fresh.ps()["tiny"]["running"] == 1
    await_true(lambda: not fresh.ps())


def test_the_rules_of_the_configuration(tmp_path: Path) -> None:
    rules = (
        ResidencyRule(model="pin*", keep_alive=-1),
        ResidencyRule(model="*:latest", keep_alive="20m", policy="adaptive"),
        ResidencyRule(model="other*", keep_alive="1s"),
    )
    residency, limits = ResidencyConfig(models=rules), LimitsConfig(keep_alive="10m")
    with _tiny(tmp_path, "pinned", "other", "third:1b", residency=residency, limits=limits) as front:
        for model in ("pinned", "other", "third:1b"):
            assert front.told(model, options=FEW)
        assert _left(front, "pinned") > FOREVER
        assert _left(front, "other") == pytest.approx(1200, abs=5)
        assert _left(front, "third:1b") == pytest.approx(600, abs=5)
        assert front.told("pinned", options=FEW, keep_alive="2m")
        assert _left(front, "pinned") == pytest.approx(120, abs=5)


def test_the_adaptive_policy_learns(tmp_path: Path) -> None:
    with _tiny(tmp_path, residency=ResidencyConfig(policy="adaptive")) as front:
        assert front.told("tiny", options=FEW)
        assert _left(front) == pytest.approx(300, abs=5)
        for _ in range(3):
            assert front.told("tiny", options=FEW)
        assert 0 < _left(front) <= 60
        assert front.told("tiny", options=FEW, keep_alive="1h")
        assert _left(front) == pytest.approx(3600, abs=5)


def test_a_model_may_bring_its_own(tmp_path: Path) -> None:
    with _tiny(tmp_path) as front:
        body = {"model": "mine", "from": "tiny", "parameters": {"keep_alive": "1h"}, "stream": False}
        assert httpx.post(f"{front.url}/api/create", json=body, timeout=60).json() == {"status": "success"}
        assert front.told("mine", options=FEW)
        assert _left(front, "mine") == pytest.approx(3600, abs=5)
        assert front.told("mine", options=FEW, keep_alive=30)
        assert _left(front, "mine") == pytest.approx(30, abs=5)
