"""Models made from GGML files and from each other: what is kept, what is shown, and what is refused."""

from __future__ import annotations

import pickle
import struct
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import to_thread
from bad_ggml import bad_ggmls
from bad_gguf import make_gguf
from creating import ROUNDED, Bench, RounderPlugin, bench, tree
from ggml_files import every_layout
from pushing import make_model, policy_for, pull_lines, push_lines
from registry import Registry
from stored import put_model
from tiny_ggml import write_tiny_gpt2

from remuda.errors import LoadFailed, RemudaError
from remuda.model import Catalog, ModelEntry, Store, parse_name
from remuda.model.manifest import GGML_MODEL
from remuda.pipeline.show import show
from remuda.plugins import Plugins
from remuda.wire import ShowRequest, encode

pytestmark = pytest.mark.anyio

KNOWN = "dolly-v2, falcon, gpt2, gptj, gptneox, llama, mpt, replit, starcoder"
NEOX = every_layout()["gptneox"].written()


@pytest.fixture
def gpt2(tmp_path: Path) -> bytes:
    return write_tiny_gpt2(tmp_path / "gpt2.bin").read_bytes()


async def shown(made: Bench, name: str = "made", **fields: Any) -> dict[str, Any]:
    """As a client reads it."""

    async def able(entry: ModelEntry) -> list[str]:
        return ["completion"]

    return msgspec.json.decode(encode(await show(ShowRequest(model=name, **fields), made.catalog, able)))


async def refused(made: Bench, **fields: Any) -> str:
    """What a request is answered before its first line of progress, with status 400."""
    with pytest.raises(RemudaError) as caught:
        await anext(made.stream(**fields))
    assert caught.value.status == 400
    return caught.value.message


async def test_from_a_file(tmp_path: Path, plugins: Plugins, gpt2: bytes, no_blocking: None) -> None:
    async with bench(tmp_path, plugins) as made:
        digest = await made.upload(gpt2)
        lines = await made.create(files={"model.bin": digest})
        assert lines == [
            "parsing GGUF",
            "validating GGUF model",
            "verifying conversion",
            f"using existing layer {digest}",
            "writing manifest",
            "success",
        ]
        assert made.manifest()["layers"] == [{"mediaType": GGML_MODEL, "digest": digest, "size": len(gpt2)}]
        assert made.config() == {
            "model_format": "ggml",
            "model_family": "gpt2",
            "model_families": ["gpt2"],
            "model_type": "150K",
            "file_type": "F16",
            "architecture": "amd64",
            "os": "linux",
        }
        entry = await made.find()
        assert (entry.format, entry.model_type, entry.fault) == ("ggml", None, "")
        assert entry.weights.read_bytes() == gpt2
        facts = await to_thread.run_sync(made.catalog.facts, entry)
        assert (facts.context_length, facts.embedding_length, facts.capabilities) == (256, 64, ["completion"])
        assert (facts.details.format, facts.details.family, facts.details.parameter_size) == ("ggml", "gpt2", "150K")


async def test_what_is_shown(tmp_path: Path, plugins: Plugins, gpt2: bytes, no_blocking: None) -> None:
    async with bench(tmp_path, plugins) as made:
        await made.create(files={"model.bin": await made.upload(gpt2)}, template="{{ .Prompt }}!")
        told = await shown(made)
        assert told["details"] == {
            "parent_model": "", "format": "ggml", "family": "gpt2", "families": ["gpt2"], "parameter_size": "150K",
            "quantization_level": "F16",
        }  # fmt: skip
        assert told["model_info"]["general.file_type"] == 1
        assert told["model_info"]["gpt2.context_length"] == 256
        assert told["model_info"]["tokenizer.ggml.tokens"] is None
        assert told["template"] == "{{ .Prompt }}!"
        assert "tensors" not in told
        verbose = await shown(made, verbose=True)
        assert verbose["tensors"][0] == {"name": "model/wte", "type": "F16", "shape": [64, 264]}
        assert verbose["model_info"]["tokenizer.ggml.tokens"][97] == "a"


async def test_a_type_that_is_said(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        files = {"model.bin": await made.upload(NEOX)}
        await made.create(files=files)
        assert made.config()["model_family"] == "gptneox"
        await made.create(files=files, parameters={"model_type": "Dolly_V2", "seed": 1})
        assert (made.config()["model_family"], made.config()["model_families"]) == ("dolly-v2", ["dolly-v2"])
        assert made.layers()[1:] == [("params", b'{"model_type":"Dolly_V2","seed":1}')]
        entry = await made.find()
        assert (entry.model_type, entry.options, entry.fault) == ("Dolly_V2", {"seed": 1}, "")
        told = await shown(made)
        assert told["model_info"]["general.architecture"] == "dolly-v2"
        assert told["parameters"].split() == ["model_type", '"Dolly_V2"', "seed", "1"]
        assert "PARAMETER model_type Dolly_V2" in told["modelfile"]


async def test_a_model_based_on_one(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        await made.create(model="base", files={"model.bin": await made.upload(NEOX)}, parameters={"top_k": 1})
        await made.create(base="base", system="Be brief.")
        assert made.layers()[0] == made.layers("base")[0] == (GGML_MODEL, NEOX)
        assert made.config() == made.config("base")
        assert ((await made.find()).format, (await made.find()).system) == ("ggml", "Be brief.")
        await made.create(model="again", base="made", parameters={"model_type": "dolly-v2"})
        assert made.config("again")["model_family"] == "dolly-v2"
        assert made.config("again")["model_type"] == made.config()["model_type"]
        await made.create(model="third", base="again", system="Be loud.")
        assert (await made.find("third")).model_type == "dolly-v2"
        message = await refused(made, base="again", parameters={"model_type": "gptj"})
        assert message == (
            "the weights of 'again:latest' cannot be used: the model_type is 'gptj', but the file is a model of the"
            " type 'gptneox'"
        )


async def test_a_configured_model_comes_into_the_store(tmp_path: Path, plugins: Plugins) -> None:
    path = tmp_path / "neox.bin"
    path.write_bytes(NEOX)
    entry = ModelEntry(
        name=parse_name("outside"), weights=path, format="ggml", model_type="dollyv2", options={"top_k": 3}
    )
    async with bench(tmp_path, plugins, entry) as made:
        assert made.catalog.facts(entry).details.family == "dolly-v2"
        assert (await shown(made, "outside"))["model_info"]["general.architecture"] == "dolly-v2"
        await made.create(base="outside")
        assert made.layers() == [(GGML_MODEL, NEOX), ("params", b'{"model_type":"dollyv2","top_k":3}')]
        assert (made.config()["model_format"], made.config()["model_family"]) == ("ggml", "dolly-v2")
        await made.create(base="outside", parameters={"model_type": "gptneox"})
        assert (made.config()["model_family"], (await made.find()).model_type) == ("gptneox", "gptneox")
        assert "is 'mpt', but" in await refused(made, base="outside", parameters={"model_type": "mpt"})


async def test_a_configured_model_of_the_wrong_type(tmp_path: Path, plugins: Plugins) -> None:
    """Who makes a model from it can say the right one."""
    path = tmp_path / "neox.bin"
    path.write_bytes(NEOX)
    entry = ModelEntry(name=parse_name("outside"), weights=path, format="ggml", model_type="mpt")
    async with bench(tmp_path, plugins, entry) as made:
        await made.create(base="outside", parameters={"model_type": "dolly-v2"})
        assert made.layers() == [(GGML_MODEL, NEOX), ("params", b'{"model_type":"dolly-v2"}')]
        assert made.config()["model_family"] == "dolly-v2"
        message = await refused(made, base="outside", parameters={"model_type": "replit"})
        assert message.startswith("the weights of 'outside:latest' cannot be used: the model_type is 'replit', but")
        with pytest.raises(LoadFailed, match="the model_type is 'mpt', but"):
            await made.create(base="outside")


@pytest.mark.parametrize(("said", "right"), [("gguf", "ggml"), ("ggml", "gguf")])
async def test_a_configured_model_of_the_wrong_format(tmp_path: Path, plugins: Plugins, said: str, right: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes({"ggml": NEOX, "gguf": make_gguf()}[right])
    entry = ModelEntry(name=parse_name("outside"), weights=path, format=said)
    async with bench(tmp_path, plugins, entry) as made:
        with pytest.raises(LoadFailed) as caught:
            await shown(made, "outside")
        assert caught.value.message == (
            f"the weights are a {right.upper()} file, not {said.upper()}:"
            f' where the model is configured or registered, say format = "{right}"'
        )
        path.write_bytes(b"neither")
        with pytest.raises(LoadFailed, match=f"not a {said.upper()} file"):
            await shown(made, "outside")


async def test_weights_of_the_usual_type_may_be_ggml_too(tmp_path: Path, plugins: Plugins, gpt2: bytes) -> None:
    async with bench(tmp_path, plugins) as made:
        put_model(made.store, "old", [("model", gpt2)], model_format="ggml", model_family="gpt2")
        entry = await made.find("old")
        assert (entry.format, entry.fault) == ("ggml", "")
        assert (await shown(made, "old"))["model_info"]["gpt2.block_count"] == 2
        await made.create(base="old", system="x")
        assert (await made.find()).format == "ggml"
        put_model(made.store, "unsaid", [(GGML_MODEL, gpt2)], model_format="", model_family="")
        assert (await made.find("unsaid")).format == "ggml"
        assert made.catalog.facts(await made.find("unsaid")).details.family == "gpt2"


async def test_what_a_model_outside_the_store_is_told_by(tmp_path: Path, plugins: Plugins, gpt2: bytes) -> None:
    """Never by the digest that the same bytes have as GGUF."""
    path = tmp_path / "gpt2.bin"
    entries = [ModelEntry(name=parse_name(format), weights=path, format=format) for format in ("ggml", "gguf")]
    async with bench(tmp_path, plugins, *entries) as made:
        digests = {made.catalog.digest(entry) for entry in entries}
        assert len(digests) == 2


async def test_it_goes_to_a_registry_and_comes_back(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "here"), Store(tmp_path / "there")
    with Registry() as registry:
        name = registry.name("library/old:latest")
        making = partial(make_model, store, name, {GGML_MODEL: NEOX}, config=b'{"model_format":"ggml"}')
        await to_thread.run_sync(making)
        await push_lines(store, policy_for(tmp_path), name)
        await pull_lines(other, policy_for(tmp_path), name)
        entry = await to_thread.run_sync(Catalog([], other).find, name)
    assert (entry.format, entry.fault) == ("ggml", "")
    assert entry.weights.read_bytes() == NEOX


CASES: list[tuple[dict[str, Any], str]] = [
    (
        {"files": {"a": "neox"}, "parameters": {"model_type": "bert"}},
        f"model_type\" is 'bert'; it must be one of {KNOWN}",
    ),
    ({"files": {"a": "neox"}, "parameters": {"model_type": 5}}, 'parameter "model_type" is 5; it must be one of'),
    ({"files": {"a": "gguf"}, "parameters": {"model_type": "bert"}}, 'parameter "model_type" is '),
    (
        {"files": {"d/a": "neox"}, "parameters": {"model_type": "mpt"}},
        "'a' cannot be used: the model_type is 'mpt', but",
    ),
    ({"files": {"a": "neox"}, "quantize": "q8_0"}, "a model in GGML cannot be quantized: convert the original to GGUF"),
    ({"base": "base", "quantize": "q8_0"}, "a model in GGML cannot be quantized: convert the original to GGUF"),
    ({"files": {"a": "neox", "b": "gguf"}}, "files hold 2 models ('a', 'b'); a model has one"),
    ({"files": {"a": "neox", "b": "projector"}}, "'b' cannot be added: a model in GGML has no projector, adapter or"),
    ({"files": {"a": "neox", "b": "lora"}}, "'b' cannot be added: a model in GGML has no projector, adapter or draft"),
    ({"base": "base", "adapters": {"b": "lora"}}, "'b' cannot be added: a model in GGML has no projector, adapter or"),
    (
        {"base": "base", "draft_files": {"b": "gguf"}},
        "'b' cannot be added: a model in GGML has no projector, adapter or",
    ),
    ({"base": "usual", "adapters": {"b": "neox"}}, "'b' is a model, not an adapter"),
    ({"base": "usual", "draft_files": {"b": "neox"}}, "'b' is in GGML; a model to draft with must be in GGUF"),
    ({"files": {"a": "neox", "b": "text"}}, "supplied file was not in GGUF format: 'b'"),
    ({"files": {"a": "cut"}}, "'a' cannot be used: the tensor 'gpt_neox.layers.1.mlp.dense_4h_to_h.bias' ends at byte"),
    (
        {"files": {"a": "adapter of old"}},
        "'a' is an adapter in the GGLA format, which is not read any more: convert the",
    ),
    ({"base": "base", "adapters": {"a": "adapter of old"}}, "GGUF with llama.cpp's convert_lora_to_gguf.py"),
    (
        {"files": {"a.bin": "archive"}},
        "'a.bin' is a zip archive, as PyTorch writes its weights, which this server does",
    ),
    ({"files": {"a.bin": "pickle", "b": "neox"}}, "'a.bin' is a pickle, as PyTorch writes its weights, which this"),
    ({"files": {"a.bin": "archive"}}, "convert it with llama.cpp's convert_hf_to_gguf.py, and create the model from"),
]


async def test_what_cannot_be_made_has_a_sentence_and_changes_nothing(
    tmp_path: Path, plugins: Plugins, no_blocking: None
) -> None:
    lora = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": "gptneox"}
    uploads = {
        "neox": NEOX,
        "cut": NEOX[:-1],
        "gguf": make_gguf(),
        "lora": make_gguf(lora),
        "projector": make_gguf({"general.architecture": "clip", "clip.has_vision_encoder": True}),
        "text": b"hello",
        "adapter of old": b"algg" + struct.pack("<3i", 1, 8, 16),
        "archive": b"PK\3\4" + bytes(26),
        "pickle": pickle.dumps({"weights": []}, protocol=2),
    }
    plugins.add(RounderPlugin(), "rounder")
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        digests = {name: await made.upload(data) for name, data in uploads.items()}
        await made.create(model="base", files={"a": digests["neox"]})
        await made.create(model="usual", files={"a": digests["gguf"]})
        before = tree(made.root)
        for fields, expected in CASES:
            maps = {
                key: {path: digests[name] for path, name in fields[key].items()}
                for key in ("files", "adapters", "draft_files")
                if key in fields
            }
            assert expected in await refused(made, **{**fields, **maps}), fields
        assert tree(made.root) == before


async def test_every_bad_file_is_refused(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        for name, bad in bad_ggmls().items():
            if bad.content[:4] == b"lmgg":
                files = {"a.bin": await made.upload(bad.content)}
                parameters = {"model_type": bad.model_type} if bad.model_type else {}
                message = await refused(made, files=files, parameters=parameters)
                assert message.startswith("'a.bin' cannot be used: "), name
                assert bad.fragment in message, name
                assert str(tmp_path) not in message


async def test_weights_that_are_damaged_later(tmp_path: Path, plugins: Plugins) -> None:
    """The model is listed as the store knows it, and shown to be damaged."""
    async with bench(tmp_path, plugins) as made:
        await made.create(files={"a.bin": await made.upload(NEOX)})
        entry = await made.find()
        entry.weights.write_bytes(NEOX[:-1])
        details = made.catalog.facts(entry).details
        assert (details.format, details.family, details.quantization_level) == ("ggml", "gptneox", "F32")
        with pytest.raises(LoadFailed, match="ends at byte"):
            await shown(made)
