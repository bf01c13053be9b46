"""What is told of a request when it ends: to plugins, and to the tally that `/metrics` shows."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from msgspec import structs

from remuda import Receipt, hookimpl
from remuda.backend import Done
from remuda.errors import EngineError
from remuda.model import parse_name
from remuda.pipeline.account import Accounts
from remuda.pipeline.tally import OTHER, Kind, Tally
from remuda.plugins import Plugins

RECEIPT = Receipt(request_id="r", endpoint="/api/chat", model="m", backend="b", total_ns=20_000_000, output_tokens=2)
KIND = Kind("/api/chat", "m:latest", "b")


class _Observer:
    def __init__(self) -> None:
        self.receipts: list[Receipt] = []

    @hookimpl
    def remuda_request_finished(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)


@pytest.mark.anyio
async def test_at_the_end_those_who_are_behind_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    class Sleeper:
        @hookimpl
        def remuda_request_finished(self) -> None:
            gate.wait()

    monkeypatch.setattr("remuda.pipeline.account._FAREWELL", 0.05)
    plugins = Plugins()
    plugins.add(Sleeper(), "sleeper")
    plugins.add(_Observer(), "observer")
    plugins.request_finished(RECEIPT)
    await Accounts(plugins).close()
    gate.set()
    [message] = caplog.messages
    assert message.startswith("plugins that did not take all receipts within 0.05 s: sleeper. Fix: ")


def test_an_account_ends_in_a_receipt_and_in_the_tally() -> None:
    plugins, observer = Plugins(), _Observer()
    plugins.add(observer, "observer")
    accounts, name = Accounts(plugins), parse_name("m")
    with accounts.opened("r", "/api/chat", "M", name) as account:
        account.backend = "b"
        account.done = Done(reason="stop", prompt_tokens=5, cached_tokens=3, output_tokens=2, prompt_ns=7, output_ns=9)
    with suppress(EngineError), accounts.opened("r", "/api/chat", "m", name) as account:
        account.backend = "b"
        raise EngineError("no")
    assert plugins.settle(10)
    done, failed = observer.receipts
    assert (done.model, done.prompt_tokens, done.cached_tokens, done.status) == ("M", 5, 3, 200)
    assert (failed.status, failed.reason) == (500, "no")
    [(kind, totals)] = accounts.tally.kinds.items()
    assert kind == KIND
    assert totals.statuses == {200: 1, 500: 1}
    assert (totals.prompt_tokens, totals.cached_tokens, totals.output_tokens) == (5, 3, 2)
    assert (totals.prompt_ns, totals.output_ns, sum(totals.durations)) == (7, 9, 2)


def test_durations_are_counted_by_range() -> None:
    tally = Tally()
    for seconds in (0.0, 0.01, 0.011, 300.0, 301.0):
        tally.add(structs.replace(RECEIPT, total_ns=int(seconds * 1e9)), "m:latest")
    assert tally.kinds[KIND].durations == [2, 1, *[0] * (len(tally.bounds) - 3), 1, 1]
    assert tally.bounds[0] == 0.01
    assert tally.bounds[-1] == 300.0


def test_a_name_in_another_case_is_the_same_model() -> None:
    tally = Tally()
    for name in ("Tiny:latest", "tiny:latest", "TINY:Latest"):
        tally.add(RECEIPT, name)
    assert [kind.model for kind in tally.kinds] == ["Tiny:latest"]


def test_models_without_end_are_counted_together() -> None:
    tally = Tally()
    for number in range(2_000):
        tally.add(RECEIPT, f"m{number}:latest")
    tally.add(RECEIPT, "m0:latest")
    assert len(tally.kinds) == 501
    assert tally.kinds[Kind("/api/chat", "m0:latest", "b")].output_tokens == 4
    assert tally.kinds[Kind("/api/chat", OTHER, "b")].statuses == {200: 1_500}
