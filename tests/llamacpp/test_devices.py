"""GPUs: whether there are any, and how much of their memory is free."""

from __future__ import annotations

import asyncio
import sys

import anyio.to_thread
import pytest

from remuda_llamacpp import devices
from remuda_llamacpp.backend import LlamaCppBackend
from remuda_llamacpp.devices import GPUs, ask_child, cpu_libraries

pytestmark = pytest.mark.anyio

CPU = ["libggml.so", "libggml-base.so.0", "libggml-cpu.so", "libllama.so.0.5.0", "libmtmd.so"]


async def test_the_child_tells_of_this_machine(no_blocking):
    told = await ask_child()
    assert told is not None
    assert all(size >= 0 for size in told)
    # What the libraries look like may only spare the question where the answer is none.
    assert not (await anyio.to_thread.run_sync(devices._cpu_only) and told)


async def test_the_server_does_not_import_llama_cpp():
    code = "import sys, remuda_llamacpp.backend; raise SystemExit('llama_cpp' in sys.modules)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", code)
    assert await child.wait() == 0


@pytest.mark.parametrize("module", ["this", "remuda_llamacpp.nothing"])
async def test_an_answer_that_is_none(module):
    assert await ask_child(module) is None


async def test_a_child_that_hangs_is_ended(tmp_path, monkeypatch, no_blocking):
    (tmp_path / "hangs.py").write_text("import signal\nwhile True: signal.pause()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    began = asyncio.get_running_loop().time()
    assert await ask_child("hangs", patience=0.3) is None
    assert 0.3 <= asyncio.get_running_loop().time() - began < 5


class Asked:
    def __init__(self, *answers: list[int] | None) -> None:
        self.answers, self.times = list(answers), 0

    async def __call__(self) -> list[int] | None:
        self.times += 1
        return self.answers.pop(0)


async def test_that_there_is_none_is_remembered(monkeypatch):
    ask = Asked([])
    gpus = GPUs(ask)
    assert await gpus.free() == []
    monkeypatch.setattr(devices.time, "monotonic", lambda: 1e12)
    assert await gpus.free() == []
    assert ask.times == 1


async def test_what_is_free_is_asked_again_after_a_second(monkeypatch):
    now = 100.0
    monkeypatch.setattr(devices.time, "monotonic", lambda: now)
    ask = Asked([5, 6], [4, 6], None, [3])
    gpus = GPUs(ask)
    assert await asyncio.gather(gpus.free(), gpus.free()) == [[5, 6]] * 2
    now += 1.1
    assert await gpus.free() == [4, 6]
    now += 1.1
    assert await gpus.free() == []  # it hangs
    now += 30
    assert await gpus.free() == []
    assert ask.times == 3
    now += 31
    assert await gpus.free() == [3]


async def test_each_gpu_keeps_its_overhead():
    backend = LlamaCppBackend()
    backend._gpus = GPUs(Asked([50, 7]))
    backend.gpu_overhead = 10
    assert await backend.gpu_memory() == 40
    backend._gpus = GPUs(Asked([]))
    assert await backend.gpu_memory() is None


@pytest.mark.parametrize(
    ("names", "only"),
    [
        (CPU, True),
        ([*CPU, "libggml-cpu-haswell.so", "libggml-blas.dylib", "notes.txt"], True),
        (["ggml.dll", "ggml-base.dll", "ggml-cpu.dll", "llama.dll"], True),
        ([*CPU, "libggml-cuda.so"], False),
        ([*CPU, "libggml-vulkan.so.0"], False),
        ([*CPU, "libsomething.so"], False),
        (["libllama.so"], False),  # all in one: who knows
        ([], False),
    ],
)
async def test_what_libraries_tell(tmp_path, names, only):
    for name in names:
        (tmp_path / name).touch()
    assert cpu_libraries(tmp_path) is only
    assert not cpu_libraries(tmp_path / "none")
