"""Two real servers behind a third, of which one is killed in mid-traffic and comes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from company_serving import Serving
from faults import await_true, scripted_models, serving_apart
from fronting import NDJSON, asking, behind, fronted, states
from msgspec import Struct

from remuda.config import LimitsConfig, RemoteConfig
from remuda.testing import Script

CLIENTS, EACH = 8, 6
TALE = Script(pieces=["tick ", "tock "], repeat=10, delay=0.01)


class Told(Struct):
    """What came of one request."""

    streamed: bool
    status: int
    upstream: str
    lines: list[dict[str, object]]

    @property
    def whole(self) -> bool:
        return self.status == 200 and self.lines[-1].get("done") is True


@contextmanager
def _serving(folder: Path, port: int = 0) -> Iterator[Serving]:
    folder.mkdir(exist_ok=True)
    with serving_apart(folder, "[limits]\nparallel = 8", scripted_models(folder, {"m": TALE}), port=port) as server:
        yield server


def _ask(http: httpx.Client, number: int) -> Told:
    """Odd ones ask for a stream."""
    body = {"model": "m", "prompt": f"{number} times", "stream": number % 2 == 1}
    reply = http.post("/api/generate", json=body)
    lines = [json.loads(line) for line in reply.content.splitlines()]
    streamed = reply.headers["content-type"] == NDJSON
    return Told(streamed, reply.status_code, reply.headers.get("x-remuda-upstream", ""), lines)


def test_one_is_killed_in_mid_traffic_and_comes_back(tmp_path: Path) -> None:
    """What had not begun is served by the other one, what had begun ends with an error line, and nothing is lost."""
    remote = RemoteConfig(failures=3, cooldown=0.2, probe_interval=0.5)
    with _serving(tmp_path / "attic") as attic, _serving(tmp_path / "cellar") as cellar:
        port = int(attic.url.rpartition(":")[2])
        upstreams = {"attic": behind(attic.url, first_byte_timeout=20), "cellar": behind(cellar.url)}
        with asking(fronted(upstreams, remote=remote, limits=LimitsConfig(queue=64))) as (_, http):
            killed = threading.Event()
            counted = threading.Semaphore(0)

            def client(number: int) -> list[tuple[bool, Told]]:
                found: list[tuple[bool, Told]] = []
                for turn in range(EACH):
                    after = killed.is_set()
                    found.append((after, _ask(http, number * EACH + turn)))
                    counted.release()
                return found

            with ThreadPoolExecutor(CLIENTS) as pool:
                clients = [pool.submit(client, number) for number in range(CLIENTS)]
                for _ in range(2 * CLIENTS):
                    assert counted.acquire(timeout=30)
                await_true(lambda: states(http)["attic"]["running"] > 1)
                attic.kill()
                killed.set()
                told = [each for future in clients for each in future.result(60)]
            assert len(told) == CLIENTS * EACH
            broken = [each for _, each in told if not each.whole]
            assert {each.upstream for _, each in told if each.whole} == {"attic", "cellar"}
            for each in broken:
                assert each.streamed, "a reply in one piece has not begun for its client"
                assert (each.status, each.upstream) == (200, "attic")
                assert "upstream 'attic' broke off in the middle of its answer" in str(each.lines[-1]["error"])
                assert all("response" in line for line in each.lines[:-1])
            assert len(broken) <= CLIENTS
            later = [each for after, each in told if after]
            assert later
            assert all(each.whole and each.upstream == "cellar" for each in later)
            assert _ask(http, 1).upstream == "cellar"
            with _serving(tmp_path / "attic", port) as again:
                assert again.url == attic.url
                await_true(lambda: states(http)["attic"]["state"] == "up")
                with ThreadPoolExecutor(CLIENTS) as pool:  # more than the other one has to do before this one loads
                    served = list(pool.map(lambda number: _ask(http, number), range(CLIENTS)))
                assert all(each.whole for each in served)
                assert {each.upstream for each in served} == {"attic", "cellar"}
