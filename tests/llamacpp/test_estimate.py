"""What a model is expected to hold, against what llama.cpp says and what real runners hold."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from bad_gguf import LLAMA, Kind, RawTensor, Typed, bad_ggufs, make_gguf
from hypothesis import given, settings, strategies as st
from msgspec import structs
from tiny_embedders import write_tiny_adapter, write_tiny_bert
from tiny_models import write_tiny_llama, write_tiny_vision

from remuda.backend import EmbedJob, Estimate, GenerateJob, LoadWish
from remuda.model import ModelEntry, parse_name
from remuda.wire import Options
from remuda_llamacpp.backend import LlamaCppBackend
from remuda_llamacpp.memory.anatomy import Anatomy, Layer, read_anatomy
from remuda_llamacpp.memory.estimate import estimate, plan, weigh

MIB = 2**20
MOST = 2**62


def entry(weights: Path, **more: object) -> ModelEntry:
    return ModelEntry(name=parse_name("x"), weights=weights, **more)  # type: ignore[arg-type]


def resident(pid: int) -> int:
    """Bytes in memory, those of files included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


# --- against real processes ---


async def used(model: ModelEntry, wish: LoadWish, table: dict[str, object]) -> tuple[Estimate, int]:
    """The estimate, and what the runner holds once it has worked on all its sequences."""
    backend = LlamaCppBackend(table)
    expected = await backend.estimate(model, wish)
    loaded = await backend.load(model, wish)
    try:
        if loaded.embeds:
            await loaded.embed(EmbedJob(inputs=["a cat on a mat " * 200], limit=loaded.context))
        else:
            # One prompt fills the largest decode; the cache is touched as soon as it is made.
            await asyncio.gather(*(write(loaded, 4 if other else 170) for other in range(wish.parallel)))
        assert loaded.pid is not None
        return expected, resident(loaded.pid)
    finally:
        await loaded.close()


async def write(model, words: int) -> None:
    options = Options(temperature=0.0, num_predict=2)
    job = GenerateJob(prompt="word " * words, limit=model.context, options=options, shift=False)
    async with aclosing(model.generate(job)) as events:
        async for _ in events:
            pass


def close(expected: Estimate, held: int) -> bool:
    return abs(expected.memory - held) <= max(0.15 * held, 16 * MIB)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("context", "parallel", "table"),
    [(256, 1, {}), (2048, 4, {})],
)
async def test_a_runner_holds_what_was_expected(weights, context, parallel, table, no_blocking):
    wish = LoadWish(context=context, parallel=parallel, options=Options(num_thread=1))
    expected, held = await used(entry(weights), wish, table)
    assert close(expected, held), (expected, held)
    assert 80 * MIB < expected.mapped < expected.memory
    assert expected.gpu == 0


@pytest.mark.anyio
async def test_a_runner_that_reads_its_weights_maps_nothing(weights):
    wish = LoadWish(context=256, options=Options(num_thread=1, use_mmap=False))
    expected, held = await used(entry(weights), wish, {})
    assert close(expected, held), (expected, held)
    assert expected.mapped == 0


@pytest.mark.anyio
async def test_embedders_and_models_with_eyes(tmp_path):
    bert = entry(write_tiny_bert(tmp_path / "bert.gguf"))
    expected, held = await used(bert, LoadWish(context=64, options=Options(num_thread=1)), {})
    assert close(expected, held), (expected, held)
    model, projector = write_tiny_vision(tmp_path)
    wish = LoadWish(context=512, options=Options(num_thread=1))
    expected, held = await used(entry(model, projector=projector), wish, {})
    assert close(expected, held), (expected, held)


@pytest.mark.parametrize(
    ("context", "parallel", "table", "options"),
    [
        (256, 1, {}, {}),
        (300, 3, {}, {}),
        (4096, 2, {}, {}),
        (1024, 2, {"kv_cache_type": "q8_0"}, {}),
        (1024, 1, {"kv_cache_type": "q4_0"}, {}),
        (1024, 1, {"flash_attention": False}, {}),
        (1024, 1, {"draft": True}, {}),
        (1024, 1, {"draft": True}, {"num_batch": 7}),
        (1024, 1, {}, {"num_batch": 512}),
        (100_000, 1, {}, {"num_batch": 7}),  # more than it was trained for
    ],
)
def test_the_parts_are_those_of_llama_cpp(load, weights, context, parallel, table, options):
    """Without the process: buffers for the weights, the cache, computing and logits."""
    engine = load(context=context, parallel=parallel, settings=table, **options)
    held = engine.sizes()["size"]
    anatomy = read_anatomy(weights)
    assert anatomy is not None
    bare = structs.replace(anatomy, layers=(), weights=0, embedding=0, repacked=0, floats=0, heads=0, trained=0)
    table = {"draft": False, **table}
    wish = LoadWish(context=context, parallel=parallel, options=Options(**options))
    process = weigh(bare, LoadWish(context=1, options=Options(num_batch=1)), table).memory
    assert weigh(anatomy, wish, table).memory - process == pytest.approx(held, rel=0.03)


# --- what else counts ---


def test_adapters_projectors_and_what_is_not_there(tmp_path):
    weights, wish = write_tiny_llama(tmp_path / "model.gguf"), LoadWish(context=512)
    alone = estimate(entry(weights), wish, {}, gpu=False).memory
    adapter = write_tiny_adapter(tmp_path / "adapter.gguf")
    adapted = estimate(entry(weights, adapters=(adapter, adapter)), wish, {}, gpu=False).memory
    assert adapted - alone == 2 * adapter.stat().st_size
    broken = tmp_path / "projector.gguf"
    broken.write_bytes(bytes(50 * MIB))
    assert estimate(entry(weights, projector=broken), wish, {}, gpu=False).memory > alone + 50 * MIB
    missing = estimate(entry(tmp_path / "none"), wish, {}, gpu=False)
    assert 0 < missing.memory < 128 * MIB
    big = tmp_path / "weights"
    big.write_bytes(b"GGUF" + bytes(100 * MIB))
    assert estimate(entry(big), wish, {}, gpu=False).memory > 110 * MIB


def test_with_a_gpu(weights):
    wish, model = LoadWish(context=1024, parallel=2), entry(weights)
    here = estimate(model, wish, {}, gpu=False)
    there = estimate(model, wish, {}, gpu=True)
    refused = estimate(model, structs.replace(wish, options=Options(num_gpu=0)), {}, gpu=True)
    half = estimate(model, structs.replace(wish, options=Options(num_gpu=15)), {}, gpu=True)
    assert here.gpu == refused.gpu == 0
    assert here.memory == refused.memory
    assert there.gpu > 100 * MIB > there.memory - 54 * MIB
    assert there.gpu > half.gpu > 50 * MIB
    assert here.memory > half.memory > there.memory
    assert there.mapped < half.mapped < here.mapped


NOTHING = (0, 0, 0)
HEADS = {"attention.head_count": 8, "attention.head_count_kv": 4}


@pytest.mark.parametrize(
    ("architecture", "keys", "layers"),
    [
        ("llama", HEADS, [(256, 256, 0)] * 4),
        ("llama", {"attention.head_count": 8}, [(512, 512, 0)] * 4),
        ("llama", {**HEADS, "attention.head_count_kv": [4, 0, 2]}, [(256, 256, 0), NOTHING, (128, 128, 0), NOTHING]),
        ("qwen3", {**HEADS, "attention.key_length": 128, "attention.value_length": 96}, [(512, 384, 0)] * 4),
        (
            "deepseek2",
            {"attention.head_count": 16, "attention.head_count_kv": 1, "attention.key_length": 576,
             "attention.value_length": 512, "attention.key_length_mla": 192, "attention.value_length_mla": 128},
            [(576, 0, 0)] * 4,
        ),
        ("gemma3n", {**HEADS, "attention.shared_kv_layers": 2}, [(256, 256, 0)] * 4),
        ("gemma4", {**HEADS, "attention.shared_kv_layers": 1}, [(256, 256, 0)] * 3 + [(0, 0, 0)]),
        (
            "gemma4",
            {**HEADS, "attention.key_length_swa": 32, "attention.value_length_swa": 32,
             "attention.sliding_window_pattern": Typed(Kind.BOOL, [True, False, True, False])},
            [(128, 128, 0), (256, 256, 0)] * 2,
        ),
        ("mamba", {"ssm.conv_kernel": 4, "ssm.inner_size": 1024, "ssm.state_size": 16},
         [(0, 0, 3 * 1024 + 16 * 1024)] * 4),
        ("rwkv7", {"wkv.head_size": 64}, [(0, 0, 66 * 512)] * 4),
        ("lfm2", {**HEADS, "attention.head_count_kv": [0, 4, 0, 4], "shortconv.l_cache": 3},
         [(0, 0, 1024), (256, 256, 0)] * 2),
        ("qwen3next", {**HEADS, "ssm.conv_kernel": 4, "ssm.inner_size": 64, "ssm.state_size": 8, "ssm.group_count": 2},
         [(0, 0, 3 * 96 + 512)] * 3 + [(256, 256, 0)]),
        ("falcon-h1", {**HEADS, "ssm.conv_kernel": 4, "ssm.inner_size": 64, "ssm.state_size": 8},
         [(256, 256, 3 * 64 + 512)] * 4),
        ("bert", {"attention.head_count": 8}, [(0, 0, 0)] * 4),
    ],
)  # fmt: skip
def test_what_layers_keep(tmp_path, architecture, keys, layers):
    path = tmp_path / "model.gguf"
    values = {"block_count": 4, "embedding_length": 512, "feed_forward_length": 1024, **keys}
    path.write_bytes(make_gguf({"general.architecture": architecture} | {
        f"{architecture}.{key}": value for key, value in values.items()
    }))  # fmt: skip
    anatomy = read_anatomy(path)
    assert anatomy is not None
    assert [(layer.keys, layer.values, layer.state) for layer in anatomy.layers] == layers


# --- more is never less ---

numbers = st.integers(0, 100_000)
layer = st.builds(Layer, keys=st.integers(0, 9000), values=st.integers(0, 9000), state=numbers)
anatomies = st.builds(
    Anatomy,
    weights=st.integers(0, 10**12), repacked=st.integers(0, 10**12), embedding=st.integers(0, 10**6),
    layers=st.lists(layer, min_size=1, max_size=5).map(tuple), width=numbers, floats=numbers, heads=st.integers(0, 128),
    vocabulary=numbers, merges=numbers, trained=st.sampled_from([0, 512, 10**6]), embeds=st.booleans(),
)  # fmt: skip
tables = st.fixed_dictionaries(
    {}, optional={"kv_cache_type": st.sampled_from(["f16", "q8_0", "q4_0"]), "flash_attention": st.booleans()}
)


@settings(max_examples=50, deadline=None)
@given(anatomies, st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 64), st.integers(0, 64), tables)
def test_more_context_and_more_sequences_never_take_less(anatomy, context, longer, parallel, wider, table):
    small = weigh(anatomy, LoadWish(context=context, parallel=parallel), table)
    long = weigh(anatomy, LoadWish(context=context + longer, parallel=parallel), table)
    wide = weigh(anatomy, LoadWish(context=context, parallel=parallel + wider), table)
    assert small.memory <= long.memory
    assert small.memory <= wide.memory
    assert 0 <= small.mapped <= small.memory


# --- hostile files ---


def sane(path: Path) -> None:
    """An estimate comes out, whatever is asked for."""
    for gpu in (False, True):
        for wish in (LoadWish(context=1), LoadWish(context=2**31 - 1, parallel=256, options=Options(num_gpu=3))):
            for table in ({}, {"kv_cache_type": "q4_0", "flash_attention": "auto"}, {"kv_cache_type": ["?"]}):
                found = estimate(entry(path, projector=path), wish, table, gpu=gpu)
                assert 0 < found.memory <= MOST
                assert 0 <= found.mapped <= found.memory
                assert 0 <= found.gpu <= MOST


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, (data, _) in bad_ggufs().items()])
def test_broken_files(tmp_path, data):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    sane(path)


architectures = ["llama", "mamba", "bert", "gemma3n", "clip", "falcon-h1"]
absurd = st.one_of(
    st.sampled_from([0, 1, 255, 4096, 4097, 2**31 - 1, 2**31, 2**32 - 1]),
    st.sampled_from([-1, -(2**31), 2**63 - 1]).map(lambda value: Typed(Kind.INT64, value)),
    st.just(Typed(Kind.UINT64, 2**64 - 1)),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5).map(lambda values: Typed(Kind.INT32, values)),
    st.just(Typed(Kind.FLOAT32, [float("nan")])),
    st.just(["text"]),
    st.just("text"),
    st.just(1.5),
)
names = (
    "block_count", "embedding_length", "context_length", "feed_forward_length", "vocab_size", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.shared_kv_layers",
    "attention.sliding_window_pattern", "attention.key_length_mla", "full_attention_interval", "expert_used_count",
    "expert_feed_forward_length", "ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.group_count",
    "wkv.head_size", "shortconv.l_cache", "pooling_type", "vision.image_size", "vision.patch_size",
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["llama", "mamba", "bert", "gemma3n", "clip", "falcon-h1"]),
    st.dictionaries(st.sampled_from(names), absurd),
)
def test_absurd_numbers(tmp_path_factory, architecture, values):
    path = tmp_path_factory.getbasetemp() / "absurd.gguf"
    told = {
        f"{architecture}.{key}": value for key, value in {"block_count": 3, "embedding_length": 8, **values}.items()
    }
    tensors = [RawTensor("token_embd.weight", (2**40, 2**20), 2), RawTensor("blk.0.ffn_up.weight", (8,), 99)]
    path.write_bytes(make_gguf({"general.architecture": architecture, "clip.projector_type": "qwen"} | told, tensors))
    sane(path)


def test_weights_are_never_more_than_the_file(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf(LLAMA, [RawTensor("token_embd.weight", (2**40, 2**20), 0)]))
    anatomy = read_anatomy(path)
    assert anatomy is not None
    assert anatomy.weights <= path.stat().st_size
    assert plan(anatomy, LoadWish(context=100_000), {}).cells == 8192
