"""Policies and priorities through a server, on a real socket."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from msgspec import structs

from remuda import Receipt, hookimpl
from remuda.config import Config, LimitsConfig, ResidencyConfig
from remuda.hookspecs import Asking, Usage
from remuda.plugins import Plugins
from remuda.testing import LiveServer, Script

MakeConfig = Callable[..., Config]


def _ask(server: LiveServer, **fields: Any) -> None:
    reply = httpx.post(f"{server.url}/api/generate", json={"prompt": "hi", "stream": False, **fields}, timeout=20)
    assert reply.status_code == 200, reply.text


def _left(server: LiveServer, model: str = "m:latest") -> float:
    """Seconds after which it leaves."""
    [entry] = [each for each in httpx.get(f"{server.url}/api/ps").json()["models"] if each["name"] == model]
    return datetime.fromisoformat(entry["expires_at"]).timestamp() - time.time()


def _until(said: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


class _Mine:
    """A policy and a priority."""

    def __init__(self) -> None:
        self.usages: list[Usage] = []
        self.askings: list[Asking] = []
        self.receipts: list[Receipt] = []

    @hookimpl
    def remuda_keep_alive(self, usage: Usage) -> float | None:
        self.usages.append(usage)
        return 1234.0 if usage.policy == "mine" else None

    @hookimpl
    def remuda_priority(self, asking: Asking) -> int | None:
        self.askings.append(asking)
        return 5 if asking.key == _fingerprint("urgent") else None

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)


def _fingerprint(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


@pytest.fixture
def mine(plugins: Plugins) -> _Mine:
    made = _Mine()
    assert plugins.add(made, "mine").fault == ""
    return made


def _with(config: Config, policy: str) -> Config:
    return structs.replace(config, residency=ResidencyConfig(policy=policy))


def test_a_policy_of_a_plugin_decides(scripted: MakeConfig, plugins: Plugins, mine: _Mine) -> None:
    with LiveServer(_with(scripted(m=Script()), "mine"), plugins) as server:
        _ask(server, model="m", keep_alive="10m")
        assert _left(server) == pytest.approx(1234.0, abs=5)
    usage = mine.usages[-1]
    assert (usage.model, usage.asked, usage.default, usage.gaps) == ("m:latest", 600.0, 300.0, ())
    assert usage.load_seconds > 0
    assert usage.size > 0


def test_fixed_is_what_was_asked_or_the_default(scripted: MakeConfig, plugins: Plugins, mine: _Mine) -> None:
    with LiveServer(scripted(m=Script()), plugins) as server:
        _ask(server, model="m")
        assert _left(server) == pytest.approx(300.0, abs=5)
        _ask(server, model="m", keep_alive="10m")
        assert _left(server) == pytest.approx(600.0, abs=5)
        _ask(server, model="m")
        assert _left(server) == pytest.approx(600.0, abs=5)


def test_adaptive_learns_from_the_requests(scripted: MakeConfig, plugins: Plugins, mine: _Mine) -> None:
    with LiveServer(_with(scripted(m=Script()), "adaptive"), plugins) as server:
        _ask(server, model="m")
        assert _left(server) == pytest.approx(300.0, abs=5)
        for _ in range(3):
            _ask(server, model="m")
        assert _left(server) == pytest.approx(30.0, abs=5)
        _ask(server, model="m", keep_alive="10m")
        assert _left(server) == pytest.approx(600.0, abs=5)
    assert len(mine.usages[-1].gaps) == 4


def test_a_policy_that_nobody_knows_is_fixed(
    scripted: MakeConfig, plugins: Plugins, mine: _Mine, caplog: pytest.LogCaptureFixture
) -> None:
    with LiveServer(_with(scripted(m=Script()), "nobodys"), plugins) as server:
        for wish, seconds in (({}, 300.0), ({"keep_alive": 60}, 60.0)):
            _ask(server, model="m", **wish)
            assert _left(server) == pytest.approx(seconds, abs=5)
    assert len([record for record in caplog.records if "'nobodys'" in record.getMessage()]) == 1


def test_a_created_model_has_a_keep_alive_of_its_own(scripted: MakeConfig, plugins: Plugins, mine: _Mine) -> None:
    with LiveServer(scripted(m=Script()), plugins) as server:
        body = {"model": "long", "from": "m", "parameters": {"keep_alive": "1h", "top_k": 5}, "stream": False}
        assert httpx.post(f"{server.url}/api/create", json=body).json() == {"status": "success"}
        shown = httpx.post(f"{server.url}/api/show", json={"model": "long"}).json()
        assert shown["parameters"] == 'keep_alive                     "1h"\ntop_k                          5'
        assert "PARAMETER keep_alive 1h\n" in shown["modelfile"]
        _ask(server, model="long")
        assert _left(server, "long:latest") == pytest.approx(3600.0, abs=5)
        _ask(server, model="long", keep_alive="10m")
        assert _left(server, "long:latest") == pytest.approx(600.0, abs=5)
        bad = httpx.post(f"{server.url}/api/create", json={**body, "parameters": {"keep_alive": "soon"}})
        assert bad.status_code == 400
        assert 'parameter "keep_alive"' in bad.json()["error"]
    assert {receipt.ignored_options for receipt in mine.receipts} == {()}


def test_an_urgent_request_goes_before_one_that_came_earlier(
    scripted: MakeConfig, plugins: Plugins, mine: _Mine
) -> None:
    script = Script(pieces=["a", " b"], repeat=100_000, delay=0.01)
    config = scripted(LimitsConfig(parallel=1, repeat=0), m=script)
    with LiveServer(config, plugins) as server:
        url, body = f"{server.url}/api/generate", {"model": "m", "prompt": "hi", "options": {"num_predict": -1}}
        threads: list[threading.Thread] = []
        with httpx.stream("POST", url, json=body, timeout=20) as running:
            lines = running.iter_lines()
            next(lines)
            for number, key in enumerate(("patient", "urgent"), 1):
                wait = {"headers": {"Authorization": f"Bearer {key}", "X-Request-Id": key}, "timeout": 20}
                short = {**body, "options": {"num_predict": 2}, "stream": False}
                threads.append(threading.Thread(target=httpx.post, args=(url,), kwargs={"json": short, **wait}))
                threads[-1].start()
                _until(lambda number=number: len(httpx.get(f"{server.url}/api/ps").json().get("queue", ())) == number)
        for thread in threads:
            thread.join()
    assert [receipt.request_id for receipt in mine.receipts][1:] == ["urgent", "patient"]
    first, *rest = mine.askings
    assert (first.address, first.key) == ("127.0.0.1", "")
    assert [(asking.address, asking.key, asking.model, asking.endpoint) for asking in rest] == [
        ("127.0.0.1", _fingerprint(key), "m", "/api/generate") for key in ("patient", "urgent")
    ]
