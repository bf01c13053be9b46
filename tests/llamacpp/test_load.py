"""What can't be loaded says why, without a path."""

from __future__ import annotations

import struct

import pytest

from remuda import LoadSpec
from remuda.backend import LoadWish
from remuda.errors import LoadFailed, OutOfMemory
from remuda.model import ModelEntry, parse_name
from remuda_llamacpp import log
from remuda_llamacpp.backend import LlamaCppBackend
from remuda_llamacpp.engine import LlamaEngine
from remuda_llamacpp.log import without_paths


def failure(path, settings=None):
    spec = LoadSpec(name="tiny", weights=str(path), context=64, parallel=1, settings=settings or {})
    with pytest.raises(LoadFailed) as caught:
        LlamaEngine.load(spec)
    message = caught.value.message
    assert "tiny" in message or settings
    assert "/" not in message
    return message


def gguf(architecture: str) -> bytes:
    """A header with one key and no tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    return (
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + text("general.architecture")
        + struct.pack("<I", 8)
        + text(architecture)
    )


def test_missing_weights(tmp_path):
    assert "missing" in failure(tmp_path / "none.gguf")


def test_a_folder(tmp_path):
    assert "can't be read" in failure(tmp_path)


@pytest.mark.parametrize("data", [b"", b"GG", b"PK\3\4 something else", b"\0" * 64])
def test_something_else_than_gguf(tmp_path, data):
    path = tmp_path / "weights"
    path.write_bytes(data)
    assert "not in GGUF" in failure(path)


def test_the_first_version_of_gguf(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(gguf("llama")[:4] + struct.pack("<I", 1) + gguf("llama")[8:])
    assert "version 1, which llama.cpp does not read any more; let ctransformers serve" in failure(path)


@pytest.mark.parametrize("size", [4, 20, 1000, 3_000_000])
def test_truncated_weights(tmp_path, weights, size):
    path = tmp_path / "weights.gguf"
    with weights.open("rb") as file:
        path.write_bytes(file.read(size))
    assert "could not be loaded" in failure(path)


def test_an_unknown_architecture_is_named(tmp_path):
    path = tmp_path / "weights.gguf"
    path.write_bytes(gguf("centaur"))
    assert "centaur" in failure(path)


@pytest.mark.parametrize(
    "settings",
    [{"flash_attention": "maybe"}, {"kv_cache_type": "q5_1"}, {"kv_cache_type": "q8_0", "flash_attention": False}],
)
def test_settings_that_make_no_sense(weights, settings):
    message = failure(weights, settings)
    assert next(iter(settings)) in message


def test_sizes_tell_weights_and_cache(load):
    small = load(context=256, parallel=1).sizes()
    large = load(context=512, parallel=4).sizes()
    assert small["size"] > 90 * 2**20
    assert large["size"] - small["size"] > 30 * 2**20
    assert small["size_vram"] == 0


def test_the_context_is_never_longer_than_the_model_was_trained_for(load):
    engine = load(context=10**6, parallel=1)
    assert engine.context == 8192


def test_paths_are_taken_out_of_messages():
    text = "failed to open GGUF file '/home/me/my models/x.gguf' (No such file); see /tmp/a.b, or 3 tok/s"
    assert without_paths(text) == "failed to open GGUF file the file (No such file); see the file, or 3 tok/s"


def test_a_load_tells_how_far_it_is(load, monkeypatch):
    told = []
    monkeypatch.setattr(LlamaEngine, "progress", told.append)
    load(context=64, parallel=1)
    assert told == sorted(told)
    assert told[0] == 0.0
    assert told[-1] == 1.0
    assert len(told) > 100


@pytest.mark.anyio
async def test_a_context_for_which_there_is_no_memory(weights, no_blocking):
    backend = LlamaCppBackend()
    backend.runner_memory = 2 * 2**30
    entry = ModelEntry(name=parse_name("demo"), weights=weights, format="gguf")
    with pytest.raises(OutOfMemory, match="64 x 8192 tokens could be made; lower num_ctx"):
        await backend.load(entry, LoadWish(context=8192, parallel=64))


@pytest.mark.parametrize(
    ("line", "memory"),
    [
        (b"ggml_aligned_malloc: insufficient memory (attempted to allocate 720.00 MB)", True),
        (
            b"alloc_buffer: allocating 9.00 MiB on device 0: cudaMalloc failed: out of memory",
            True,
        ),
        (b"llama_model_load: error loading model: mmap failed: Cannot allocate memory", True),
        (b"llama_init_from_model: failed to initialize the context: failed to allocate compute buffers", True),
        (b"gguf_init_from_reader: encountered bad_alloc error while reading key 3", False),
        (b"llama_model_load: error loading model: unknown model architecture: 'centaur'", False),
    ],
)
def test_errors_that_tell_of_too_little_memory(line, memory):
    log.install()
    log._log(4, line, None)
    assert log.out_of_memory() is memory
    log.install()
    assert not log.out_of_memory()
