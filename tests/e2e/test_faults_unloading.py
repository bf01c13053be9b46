"""Scenario S23: models that are unloaded while others ask for them."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults import Front, both_engines, endless, runners, serving

CLIENTS = 4
SECONDS = 4.0


@both_engines
def test_s23_unloaded_and_asked_for_in_turn(engine: str, tmp_path: Path) -> None:
    """S23: every request is served, and there is never more than one process for the model."""
    others = runners(os.getpid())
    over = threading.Event()
    most: Counter[int] = Counter()

    def watch() -> None:
        while not over.wait(0.002):
            most[len(runners(os.getpid()) - others)] += 1

    def live(front: Front) -> int:
        served, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            assert front.told("m", options={"num_predict": 2})
            front.unload("m")
            assert front.told("m", options={"num_predict": 2}, keep_alive=0)
            served += 3
        return served

    with serving({"m": endless(engine, tmp_path)}) as (_, front), ThreadPoolExecutor(CLIENTS) as pool:
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            served = list(pool.map(live, [front] * CLIENTS))
        finally:
            over.set()
            watching.join()
        assert min(served) >= 3
        assert max(most) == 1
