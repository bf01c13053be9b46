"""Scenarios S6 to S8: the server itself is ended, while models of more than one engine work and load."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from company_serving import Serving
from faults import ENDLESS, Front, Raw, await_true, endless, runners, scripted_models, serving_apart

from remuda.testing import Script

SHORT = {"options": {"num_predict": 12}}


@contextmanager
def busy(server: Serving) -> Iterator[list[Iterator[dict[str, Any]]]]:
    """Streams of two models that have begun, while a third one loads."""
    with ExitStack() as stack:
        front = stack.enter_context(closing(Front(server.url)))
        streams = [stack.enter_context(front.stream(name)) for name in ("scripted", "real")]
        for lines in streams:
            next(lines)
        stack.enter_context(Raw(server.url)).post(model="slow")
        await_true(lambda: front.ps().get("slow", {}).get("state") == "loading")
        assert len(runners(server.popen.pid)) == 3
        yield streams


def serve(folder: Path, settings: str = "", port: int = 0) -> Serving:
    scripts = {"scripted": Script(**ENDLESS), "slow": Script(load_delay=60)}
    models = {**scripted_models(folder, scripts), "real": endless("llama.cpp", folder)}
    return serving_apart(folder, settings, models, port=port)


def test_s6_killed(tmp_path: Path) -> None:
    """S6: nothing that it began is alive a second later, and the same port serves again at once."""
    with serve(tmp_path) as server, busy(server) as streams:
        server.popen.kill()
        server.popen.wait()
        assert await_true(lambda: not server.processes()) < 1
        for lines in streams:
            with pytest.raises(httpx.RemoteProtocolError):
                list(lines)
    port = int(server.url.rpartition(":")[2])
    with serve(tmp_path, port=port) as again, closing(Front(again.url)) as front:
        assert again.url == server.url
        for name in ("scripted", "real"):
            assert front.told(name, **SHORT)
        assert again.terminate() == 0


def test_s7_asked_to_end(tmp_path: Path) -> None:
    """S7: the short ones of four streams end well, the others with an error line when the time is over; status 0."""
    with ExitStack() as stack:
        server = stack.enter_context(serve(tmp_path, "server.drain_timeout = 3.0"))
        front = stack.enter_context(closing(Front(server.url)))
        begun = [front.stream(name, **fields) for name in ("scripted", "real") for fields in ({}, SHORT)]
        streams = [stack.enter_context(each) for each in begun]
        for lines in streams:
            next(lines)
        began = time.monotonic()
        server.popen.send_signal(signal.SIGTERM)
        await_true(lambda: _refuses(server.url), 3)
        long, short = streams[0::2], streams[1::2]
        for lines in short:
            assert list(lines)[-1]["done"]
        for lines in long:
            assert "the server is shutting down" in list(lines)[-1]["error"]
        assert 2.9 < time.monotonic() - began < 8
        assert server.await_end() == 0
        assert time.monotonic() - began < 12


def _refuses(url: str) -> bool:
    try:
        with Raw(url):
            return False
    except ConnectionResetError:  # let in just before the socket was closed: not refused yet
        return False
    except ConnectionRefusedError:
        return True


def test_s8_told_twice(tmp_path: Path) -> None:
    """S8: the second signal ends it at once, and all that it began."""
    with serve(tmp_path) as server, busy(server):
        server.popen.send_signal(signal.SIGTERM)
        await_true(lambda: _refuses(server.url), 3)
        server.popen.send_signal(signal.SIGINT)  # two equal ones may reach a busy process as one
        began = time.monotonic()
        assert server.await_end() in {128 + signal.SIGINT, 128 + signal.SIGTERM}
        assert time.monotonic() - began < 2  # half a second, on a machine with nothing else to do
