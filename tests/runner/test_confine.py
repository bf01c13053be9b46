"""What a runner's process is kept from, tried in a real one."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from answering import Answer, Question
from probing import ProbeBackend

from remuda.backend import LoadWish
from remuda.model import ModelEntry, parse_name
from remuda.runner import RunnerModel, seccomp
from remuda.runner.worker import Worker
from remuda.testing.scripted import Script

from .conftest import Loader, job, read

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        sys.platform != "linux" or os.uname().machine not in {"x86_64", "aarch64"}, reason="a matter of the kernel"
    ),
]

GIGABYTE = 2**30
SUPPORT = Path(__file__).parents[1] / "support"
# ptrace, process_vm_readv, process_vm_writev, bpf, userfaultfd, io_uring_setup, pidfd_getfd
CALLS = (101, 310, 311, 321, 323, 425, 438) if os.uname().machine == "x86_64" else (117, 270, 271, 280, 282, 425, 438)


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch, no_blocking: None) -> AsyncGenerator[RunnerModel, None]:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("PROBE_API_KEY", "sesame")
    monkeypatch.setenv("probe_password", "sesame")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    backend = ProbeBackend()
    backend.runner_memory = 2 * GIGABYTE
    entry = ModelEntry(name=parse_name("probe"), weights=SUPPORT, format="probe")
    model = await backend.load(entry, LoadWish(context=4096, parallel=4))
    yield model
    await model.close()


def told(pid: int | str, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_text(encoding="ascii")


async def attempt(model: RunnerModel, what: str) -> str:
    return (await read(model.generate(job(what))))[0]


async def test_the_thread_of_the_engine_is_as_nice_as_it_was_told(load: Loader) -> None:
    model = await load(Script(), runner_nice=3)
    pid = str(model.pid)
    assert os.getpriority(os.PRIO_PROCESS, int(pid)) == os.getpriority(os.PRIO_PROCESS, 0) + 3


async def test_a_socket_that_leads_out_cannot_be_made(model: RunnerModel) -> None:
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET, socket.AF_VSOCK, 0, 200):
        assert await attempt(model, f"socket {int(family)}") == "EACCES", family
    for family in (socket.AF_UNIX, socket.AF_NETLINK):
        assert await attempt(model, f"socket {int(family)}") == "ok"
    assert await attempt(model, "socketpair") == "ok"


async def test_nobody_can_be_connected_to_not_even_by_a_descendant(model: RunnerModel) -> None:
    met: list[object] = []
    server = await asyncio.start_server(lambda _, writer: met.append(writer.close()), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        assert await attempt(model, f"connect {port}") == "EACCES"
        assert await attempt(model, f"descendant {port}") == "EACCES"
        await asyncio.sleep(0)
    assert len(met) == 1, "only this test's own"


async def test_calls_that_would_go_round_it_are_refused(model: RunnerModel) -> None:
    assert {await attempt(model, f"call {number}") for number in CALLS} == {"EPERM"}
    socket_call = 41 if os.uname().machine == "x86_64" else 198
    assert await attempt(model, f"call {socket_call | 0x40000000}") == "ENOSYS"


async def test_it_leaves_no_core_and_is_the_first_to_go(model: RunnerModel) -> None:
    assert await attempt(model, "limits") == "(0, 0)"
    assert int(await attempt(model, "score")) == min(int(told("self", "oom_score_adj")) + 500, 1000)


async def test_it_has_no_more_memory_than_it_may(model: RunnerModel) -> None:
    assert await attempt(model, f"allocate {GIGABYTE // 2}") == "ok"
    assert await attempt(model, f"allocate {2 * GIGABYTE}") in {"ENOMEM", "MemoryError"}


async def test_secrets_of_the_environment_stay_outside_and_the_rest_comes_in(model: RunnerModel) -> None:
    assert await attempt(model, "variable PROBE_API_KEY") == "unset"
    assert await attempt(model, "variable probe_password") == "unset"
    assert await attempt(model, "variable TOKENIZERS_PARALLELISM") == "false"
    assert await attempt(model, "variable HOME") == os.environ["HOME"]


async def test_helping_processes_are_confined_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    worker = Worker("answering", Question("first"), Answer)
    try:
        pid = (await worker.ask(Question("pid"), timeout=20)).pid
        status = told(pid, "status")
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
    finally:
        await worker.close()


def test_a_system_that_is_not_known_is_let_be_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_MACHINES", {})
    assert seccomp.forbid_network() == "this system is not known"
    socket.socket().close()
