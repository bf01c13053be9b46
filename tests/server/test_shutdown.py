"""The end of the server: signals, draining, cutting; and its beginning: the socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from remuda.config import Config, ServerConfig, url_of
from remuda.errors import ConfigError
from remuda.server import bind
from remuda.wire import GenerateResponse

CHILD = Path(__file__).with_name("child.py")
BODY = b'{"model":"m","prompt":"x"}'

Start = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(mode, drain_timeout)`: `child.py` in a process of its own, and its URL."""
    children: list[subprocess.Popen[str]] = []

    def run(mode: str, drain_timeout: float) -> tuple[subprocess.Popen[str], str]:
        arguments = [sys.executable, str(CHILD), mode, str(drain_timeout)]
        child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        assert url.startswith("http://"), child.communicate()
        return child, url

    yield run
    for child in children:
        child.kill()
        child.communicate()


def finish(child: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Exit status, what it printed, and its log."""
    out, err = child.communicate(timeout=20)
    return child.returncode, out.split(), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_ends_at_once(start: Start, number: int) -> None:
    child, url = start("words", 30)
    with httpx.Client(base_url=url) as client:  # with an idle connection open
        assert client.get("/").status_code == 200
        child.send_signal(number)
        began = time.monotonic()
        status, printed, log = finish(child)
    assert (status, printed) == (0, ["closed"]), log
    assert time.monotonic() - began < 5
    assert "Traceback" not in log


def test_running_stream_may_finish(start: Start) -> None:
    child, url = start("slow", 30)
    with httpx.stream("POST", url + "/api/generate", content=BODY) as reply:
        lines = reply.iter_lines()
        next(lines)
        child.send_signal(signal.SIGTERM)
        rest = [json.loads(text) for text in lines]
    assert rest[-1]["done"]
    assert finish(child)[:2] == (0, ["closed"])


def test_nobody_new_is_let_in(start: Start) -> None:
    child, url = start("forever", 1)
    host, port = url.removeprefix("http://").split(":")
    with httpx.Client(base_url=url) as kept, httpx.stream("POST", url + "/api/generate", content=BODY) as reply:
        kept.get("/")
        lines = reply.iter_lines()
        next(lines)
        child.send_signal(signal.SIGTERM)
        assert json.loads(next(lines))["response"] == "draining"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=5)
        late = kept.get("/")
        assert (late.status_code, late.headers["connection"], late.headers["retry-after"]) == (503, "close", "5")
        assert "shutting down" in late.json()["error"]
        assert [list(json.loads(text)) for text in lines] == [["error"]]
    status, printed, log = finish(child)
    assert (status, printed[-1]) == (0, "closed"), log


@pytest.mark.parametrize("mode", ["loading", "stubborn"])
def test_what_does_not_end_is_cut(start: Start, mode: str) -> None:
    child, url = start(mode, 0.3)
    replies: list[httpx.Response | Exception] = []

    def ask() -> None:
        try:
            replies.append(httpx.post(url + "/api/generate", content=BODY, timeout=20))
        except httpx.HTTPError as error:
            replies.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert child.stdout is not None
    assert child.stdout.readline() == "began\n"
    child.send_signal(signal.SIGTERM)
    status, printed, log = finish(child)
    asking.join()
    assert (status, printed[-1]) == (0, "closed"), log
    if mode == "loading":
        assert isinstance(replies[0], httpx.Response)
        assert (replies[0].status_code, replies[0].headers["retry-after"]) == (503, "5")
    else:
        assert isinstance(replies[0], httpx.HTTPError)


@pytest.mark.parametrize("mode", ["forever", "stubborn", "blocked", "unclosing"])
def test_second_signal_ends_now(start: Start, mode: str) -> None:
    """Even when requests ignore cancellation, the loop is blocked, or the models cannot be unloaded."""
    child, url = start(mode, 60)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(
            b"POST /api/generate HTTP/1.1\r\nHost: a.local\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "began\n"
        child.send_signal(signal.SIGTERM)
        if mode != "blocked":
            assert child.stdout.readline() == "draining\n"
        child.send_signal(signal.SIGINT)  # two equal ones may reach a busy process as one
        began = time.monotonic()
        child.wait(20)
        assert time.monotonic() - began < 2  # half a second, and as much again for a busy machine
    assert child.returncode in {128 + signal.SIGTERM, 128 + signal.SIGINT}
    assert child.stderr is not None
    assert "Traceback" not in child.stderr.read()


def test_drain_within_one_process(make_rig: Any) -> None:
    rig = make_rig(drain_timeout=0.2)

    async def forever() -> AsyncGenerator[GenerateResponse, None]:
        yield rig.line("a")
        await asyncio.Event().wait()

    async def answer(*_: object) -> Any:
        return forever()

    rig.standin.answer = answer
    with rig.raw() as client:
        client.post(BODY).until(b"}\n")
        rig.server.stop()
        data = client.rest()
    assert b'{"error":"the server is shutting down; try again in a moment"}\n' in data
    assert data.endswith(b"0\r\n\r\n")
    assert rig.standin.closed == 1


def test_cut_reaches_a_stream_that_never_waits(make_rig: Any) -> None:
    rig = make_rig(drain_timeout=0.2)

    async def endless() -> AsyncGenerator[GenerateResponse, None]:
        while True:
            yield rig.line("a")

    async def answer(*_: object) -> Any:
        return endless()

    rig.standin.answer = answer
    with rig.raw() as client:
        client.post(BODY).until(b"}\n")
        stopping = threading.Thread(target=rig.server.stop)
        stopping.start()
        data = client.rest()
        stopping.join()
    assert data.endswith(b'{"error":"the server is shutting down; try again in a moment"}\n\r\n0\r\n\r\n')


def server_config(host: str = "127.0.0.1", port: int = 0) -> Config:
    return Config(server=ServerConfig(host=host, port=port))


def test_taken_port_is_named_with_the_fix() -> None:
    with bind(server_config()) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: another program .* --port"):
            bind(server_config(port=port))
    bind(server_config(port=port)).close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "x" * 300, "a..b"])
def test_hosts_that_cannot_be_used(host: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on .*127\.0\.0\.1"):
        bind(server_config(host))


@pytest.mark.parametrize(
    ("host", "url"),
    [("localhost", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:"), ("", "http://")],
)
def test_url_is_one_that_works(host: str, url: str) -> None:
    try:
        sock = bind(server_config(host))
    except ConfigError:
        assert ":" in host, "only IPv6 may be missing on this machine"
        pytest.skip("no IPv6 here")
    with sock:
        assert url_of(*sock.getsockname()[:2]).startswith(url)
        name = url_of(*sock.getsockname()[:2]).removeprefix("http://").rpartition(":")[0].strip("[]")
        socket.create_connection((name, sock.getsockname()[1]), timeout=5).close()


def test_restart_takes_the_port_at_once(make_rig: Any) -> None:
    """Connections that the last server closed keep the port in TIME_WAIT."""
    rig = make_rig()
    rig.assert_alive()
    port = rig.server.address[1]
    rig.server.stop()
    bind(server_config(port=port)).close()


def test_no_descriptor_is_left(make_rig: Any) -> None:
    make_rig().server.stop()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        rig = make_rig()
        rig.assert_alive()
        rig.http.close()
        rig.server.stop()
    assert len(os.listdir("/proc/self/fd")) <= before
