"""What cannot be loaded, and what is said then; what a model takes, and how many contexts there are."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from ggml_files import every_layout
from tiny_models import write_tiny_llama

from remuda import LoadSpec
from remuda.backend import LoadWish
from remuda.errors import LoadFailed, OutOfMemory
from remuda.model import ModelEntry, parse_name
from remuda.wire import Options
from remuda_ctransformers import native, reading, sizes
from remuda_ctransformers.backend import CTransformersBackend
from remuda_ctransformers.engine import CTransformersEngine
from remuda_ctransformers.pool import Pool

MIB = 2**20


def load(path: Path, **fields):
    return CTransformersEngine.load(LoadSpec(name="tiny", weights=str(path), context=64, parallel=1, **fields))


@pytest.fixture
def gguf(models):
    return models["gguf"].read_bytes()


def test_a_vocabulary_of_gpt2_s_kind_in_a_llama(tmp_path):
    weights = write_tiny_llama(tmp_path / "tiny.gguf")
    words = r"^tiny could not be loaded: its vocabulary is of the kind 'gpt2', .*SentencePiece.*backend \"llamacpp\""
    with pytest.raises(LoadFailed, match=words):
        load(weights)


def test_an_architecture_that_is_newer(tmp_path, gguf):
    weights = tmp_path / "new.gguf"
    weights.write_bytes(gguf.replace(b"llama", b"qwen2"))
    with pytest.raises(
        LoadFailed, match=r"knows GGUF models of the kinds llama and falcon only, not 'qwen2'; let llama"
    ):
        load(weights)


def test_a_type_of_weights_that_is_newer(tmp_path, gguf):
    from gguf import GGUFReader

    weights = tmp_path / "new.gguf"
    weights.write_bytes(gguf)
    tensor = next(each for each in GGUFReader(weights).tensors if each.tensor_type.name == "F16")
    place = int(tensor.field.offset) + 8 + len(tensor.name) + 4 + 8 * len(tensor.shape)
    weights.write_bytes(gguf[:place] + (30).to_bytes(4, "little") + gguf[place + 4 :])
    with pytest.raises(LoadFailed, match="weights of the type BF16, which ctransformers does not know"):
        load(weights)


@pytest.mark.parametrize("which", ["gguf", "gpt2"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_files_that_end_early(models, tmp_path, which, part):
    data, weights = models[which].read_bytes(), tmp_path / "cut"
    weights.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(LoadFailed, match=r"^tiny could not be loaded: ") as caught:
        load(weights)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_something_else(tmp_path):
    weights = tmp_path / "thing"
    weights.write_bytes(b"\x93NUMPY and so on, for a while")
    with pytest.raises(LoadFailed, match="tiny could not be loaded"):
        load(weights)
    with pytest.raises(LoadFailed, match="cannot be read: FileNotFoundError"):
        load(tmp_path / "nothing")


def test_another_type_than_the_file_is(models):
    with pytest.raises(LoadFailed, match=r"the model_type is .mpt., but the file is .*gpt2|cannot be read as"):
        load(models["gpt2"], settings={"model_type": "mpt"})
    load(models["gpt2"], settings={"model_type": "GPT_2"}).close()


def test_what_the_library_refuses_all_the_same(models, monkeypatch):
    monkeypatch.setattr(native.Library, "__getitem__", lambda self, name: lambda *args: None)
    with pytest.raises(LoadFailed, match="without saying why; it was taken for a model of the type 'gpt2'; if"):
        load(models["gpt2"])


def test_a_gguf_whose_sizes_do_not_go_with_its_tensors(tmp_path, gguf):
    weights, key = tmp_path / "odd.gguf", b"llama.block_count"
    place = gguf.index(key) + len(key) + 4
    weights.write_bytes(gguf[:place] + (3).to_bytes(4, "little") + gguf[place + 4 :])
    with pytest.raises(LoadFailed, match=r"its sizes and its tensors may not go together, .* let llama.cpp serve it"):
        load(weights)


def test_adapters_and_unknown_settings(models):
    with pytest.raises(LoadFailed, match="applies no adapters"):
        load(models["gguf"], adapters=["lora.gguf"])
    with pytest.raises(LoadFailed, match="reads no images: leave the projector out"):
        load(models["gguf"], projector="eyes.gguf")
    with pytest.raises(LoadFailed, match="library is 'sse'; it must be one of auto, avx2, avx, basic, cuda, local"):
        load(models["gguf"], settings={"library": "sse"})
    with pytest.raises(LoadFailed, match=r"has no library 'local' for this system; it has: avx, avx2, basic"):
        load(models["gguf"], settings={"library": "local"})


@pytest.mark.parametrize(("flags", "kinds"), [("sse avx f16c avx2", "avx2"), ("avx f16c", "avx"), ("avx", "basic")])
def test_the_library_is_the_one_for_the_processor(tmp_path, monkeypatch, flags, kinds):
    monkeypatch.setattr(native, "_processor", lambda: frozenset(flags.split()))
    assert native._kinds(tmp_path)[0] == kinds
    (tmp_path / "local").mkdir()
    assert native._kinds(tmp_path) == ("local",)


def test_all_libraries_say_the_same(make, models):
    told = {
        kind: make("gpt2", settings={"library": kind}).alone("the thing", most=12).data for kind in ("avx2", "basic")
    }
    assert len(set(told.values())) == 1


def test_where_the_package_is_missing(monkeypatch):
    monkeypatch.setattr(native, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="ctransformers"):
        native.Library()


@pytest.mark.parametrize(("keys", "name"), [(32, "model"), (4, "70b")])
def test_heads_that_share_keys_are_told_by_a_name(tmp_path, monkeypatch, keys, name):
    """Of 16 heads of 2: the library's own way to tell the largest LLaMA from the others."""
    file = every_layout()["llama"].sized(3, 16).sized(5, 2)
    for layer in range(2):
        for which in "kv":
            file = file.changed(f"layers.{layer}.attention.w{which}.weight", shape=(32, keys))
    weights = tmp_path / "llama-70b" / "weights.bin"
    weights.parent.mkdir()
    weights.write_bytes(file.written())
    opened: list[Path] = []
    open_ = native.Native.open
    monkeypatch.setattr(
        native.Native,
        "open",
        lambda library, path, *rest, **more: opened.append(path) or open_(library, path, *rest, **more),
    )
    engine = load(weights)
    assert [path.name for path in opened] == [name]
    assert "70b" not in str(opened[0].parent)
    assert not opened[0].exists()
    assert engine._loaded.sizes.cell == 2 * 2 * 2 * keys
    engine.close()


def test_what_is_read_is_told(models, monkeypatch):
    told: list[float] = []
    counts = iter(range(1000))
    monkeypatch.setattr(reading, "_EVERY", 0.001)
    monkeypatch.setattr(reading, "_read", lambda: next(counts))
    with reading.reading(4, told.append):
        while len(told) < 8:
            pass
    assert told[:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_system_that_does_not_count_tells_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "_COUNTS", tmp_path / "none")
    assert reading._read() == 0
    (tmp_path / "none").write_text("wchar: 3\n")
    assert reading._read() == 0


def test_a_context_more_that_cannot_be_opened_is_done_without(models, monkeypatch):
    opened = iter([True, True, False])
    open_ = native.Native.open
    monkeypatch.setattr(native.Native, "open", lambda *args, **fields: open_(*args, **fields) if next(opened) else None)
    engine = CTransformersEngine.load(LoadSpec(name="tiny", weights=str(models["gguf"]), context=64, parallel=4))
    assert engine.parallel == 2
    engine.close()


# --- sizes ---


def _sizes(kind: str, *, weights: int, fixed: bool = False) -> sizes.Sizes:
    pool = Pool.of(kind, layers=2, width=64, heads=4, vocabulary=256, cached=2)
    is_llama = kind == "llama"
    return sizes.Sizes(weights=weights, cell=1024, trained=2048, fixed=fixed, is_llama=is_llama, pool=pool)


def test_further_contexts_are_opened_where_twice_their_size_is_free(monkeypatch):
    def count(of: sizes.Sizes, free: int, *, wished: int = 4, mmap: bool = True, opened: int = 0) -> int:
        monkeypatch.setattr(sizes, "available_memory", lambda: free)
        return sizes.contexts(of, 1024, wished, mmap=mmap, opened=opened)

    copied, mapped = _sizes("gptj", weights=1000 * MIB), _sizes("llama", weights=1000 * MIB)
    assert count(copied, 100 * MIB) == 1, "the first is always tried"
    assert count(copied, 3000 * MIB) == 1
    assert count(copied, 4000 * MIB) == 2
    assert count(copied, 3000 * MIB, opened=1) == 2
    assert count(copied, 40_000 * MIB) == 4
    assert count(mapped, 1500 * MIB) == 4
    assert count(mapped, 1500 * MIB, mmap=False) == 1
    assert count(mapped, 40_000 * MIB, wished=256) == 16, "the library has room for no more than 31"


def test_a_bound_of_the_process_bounds_contexts_too(monkeypatch):
    resource = pytest.importorskip("resource")
    own, mapped = psutil.Process().memory_info().vms, _sizes("llama", weights=10 * MIB)
    monkeypatch.setattr(sizes, "available_memory", lambda: 40_000 * MIB)
    for more, expected in ((600 * MIB, 4), (515 * MIB, 1), (-MIB, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=own + more: (limit, limit))
        assert sizes.contexts(mapped, 1024, 4, mmap=True, opened=1) == expected


def test_some_types_take_memory_for_the_whole_context():
    fixed, other = _sizes("gptj", weights=0, fixed=True), _sizes("gptj", weights=0)
    assert fixed.one(64, mmap=True) - other.one(64, mmap=True) == (2048 - 64) * 1024


@pytest.mark.anyio
@pytest.mark.parametrize(("which", "format"), [("gguf", "gguf"), ("gpt2", "ggml")])
async def test_an_estimate_is_not_less_than_what_is_held(models, which, format):
    entry = ModelEntry(name=parse_name("tiny"), weights=models[which], format=format)
    backend, wish = CTransformersBackend(), LoadWish(context=256, parallel=2, options=Options(num_thread=1))
    expected = await backend.estimate(entry, wish)
    model = await backend.load(entry, wish)
    try:
        assert model.parallel == 2
        assert model.pid is not None
        held = psutil.Process(model.pid).memory_info().rss
        assert 0.2 * expected.memory < held <= expected.memory
        assert (await model.stats()).size > 0
    finally:
        await model.close()


@pytest.mark.anyio
async def test_an_estimate_never_fails(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(every_layout()["mpt"].written()[:100])
    entry = ModelEntry(name=parse_name("tiny"), weights=path, format="ggml")
    assert (await CTransformersBackend().estimate(entry, LoadWish(context=64))).memory > 0


@pytest.mark.anyio
@pytest.mark.parametrize("which", ["gguf", "gpt2"])
async def test_want_of_memory_is_told_as_such(models, which):
    """However little of it there is, and with as many contexts as there is room for where there is more."""
    backend = CTransformersBackend()
    entry = ModelEntry(name=parse_name("tiny"), weights=models[which], format="gguf" if which == "gguf" else "ggml")
    wish = LoadWish(context=256, parallel=4, options=Options(num_thread=1))
    loaded = []
    for memory in (150, 400, 2000):
        backend.runner_memory = memory * MIB
        try:
            model = await backend.load(entry, wish)
        except OutOfMemory:
            assert not loaded, "it had been enough"
        else:
            loaded.append(model.parallel)
            await model.close()
    assert loaded[-1] == 4
    assert loaded == sorted(loaded)
