"""Requests for models that cannot be made: each has its status and its sentence, and changes nothing."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from bad_gguf import LLAMA, RawTensor, bad_ggufs, make_gguf
from creating import ROUNDED, Bench, RounderPlugin, bench, tree
from tiny_models import write_tiny_llama, write_tiny_projector

from remuda.errors import RemudaError
from remuda.model import ModelEntry, parse_name
from remuda.plugins import Plugins

pytestmark = pytest.mark.anyio

NOWHERE = f"sha256:{'0' * 64}"
LORA = {"general.type": "adapter", "adapter.type": "lora"}
UPLOADS: dict[str, bytes] = {
    "gguf": make_gguf(),
    "json": b'{"architectures": ["LlamaForCausalLM"]}',
    "magic": b"GGUF",
    "safetensors": struct.pack("<Q", 2) + b"{}",
    "lora": make_gguf({**LORA, "general.architecture": "llama"}),
    "other lora": make_gguf({**LORA, "general.architecture": "qwen2"}),
    "shard": make_gguf({**LLAMA, "split.no": 0, "split.count": 2}),
    "beyond": make_gguf(tensors=[RawTensor("t", (2**20,))]),
}
_MAPS = ("files", "adapters", "draft_files")
QUANTIZED = "quantization is only supported for F16, BF16 and F32 models"
CASES: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model is required"),
    ({"model": "a/b/c/d"}, "invalid model name"),
    ({"model": "../../etc/passwd"}, "invalid model name"),
    ({}, "neither 'from' or 'files' was specified"),
    ({"base": "a b"}, "invalid model name"),
    ({"base": "/etc/passwd"}, "invalid model name"),
    ({"base": "/nope"}, "invalid model name"),
    ({"files": {}}, "unknown type"),
    ({"files": {"/etc/passwd": "gguf"}}, "file path must be relative"),
    ({"files": {"../a.gguf": "gguf"}}, "file path must be relative"),
    ({"files": {"a/../b.gguf": "gguf"}}, "file path must be relative"),
    ({"files": {"a//b.gguf": "gguf"}}, "file path must be relative"),
    ({"files": {"./a.gguf": "gguf"}}, "file path must be relative"),
    ({"files": {"": "gguf"}}, "file path must be relative"),
    ({"files": {"a\0b": "gguf"}}, "file path must be relative"),
    ({"files": {f"{n}.gguf": "gguf" for n in range(1025)}}, "files holds 1025 files; at most 1024 make a model"),
    ({"base": "base", "files": {"/x": "gguf"}}, "file path must be relative"),
    ({"files": {"a.gguf": ""}}, "invalid digest format"),
    ({"files": {"a.gguf": "sha256:../../../etc/passwd"}}, "invalid digest format"),
    ({"files": {"a.gguf": NOWHERE}}, f"blob {NOWHERE} not found; upload it first"),
    ({"files": {"config.json": "json"}}, "unknown type"),
    ({"files": {"a.gguf": "json"}}, "supplied file was not in GGUF format: 'a.gguf'"),
    ({"files": {"a.gguf": "gguf", "config.json": "json"}}, "supplied file was not in GGUF format: 'config.json'"),
    ({"files": {"model.safetensors": "safetensors", "config.json": "json"}}, "convert_hf_to_gguf.py"),
    ({"files": {"model": "safetensors"}}, "'model' is in the safetensors format"),
    ({"base": "base", "adapters": {"adapter.safetensors": "safetensors"}}, "convert_lora_to_gguf.py"),
    ({"files": {"dir/a.gguf": "magic"}}, "'a.gguf' cannot be used: the file ends inside 'version'"),
    ({"files": {"a.gguf": "beyond"}}, "the tensor 't' ends at byte"),
    ({"files": {"a.gguf": "beyond"}, "quantize": "q8_0"}, "the tensor 't' ends at byte"),
    ({"files": {"a.gguf": "gguf", "b.gguf": "gguf"}}, "files hold 2 models ('a.gguf', 'b.gguf'); a model has one"),
    ({"files": {"a.gguf": "lora"}}, "files hold no model: 'a.gguf' is an adapter"),
    ({"files": {"a.gguf": "projector"}}, "files hold no model: 'a.gguf' is a projector"),
    ({"base": "base", "adapters": {"a": "lora", "b": "other lora"}}, "only one adapter is currently supported"),
    ({"base": "base", "adapters": {"a": "gguf"}}, "'a' is a model, not an adapter"),
    ({"base": "base", "adapters": {"a": "other lora"}}, "the adapter 'a' is for qwen2 models, and this one is llama"),
    ({"base": "base", "draft_files": {"a": "lora"}}, "'a' is an adapter, not a model to draft with"),
    ({"base": "base", "draft_files": {"a": "shard"}}, "'a' is part 1 of 2: join them to one file first"),
    ({"base": "base", "draft_files": {"a": "gguf", "b": "gguf"}}, "draft_files hold 2 files; a model drafts with one"),
    ({"files": {"a": "gguf", "b": "lora"}, "adapters": {"c": "lora"}}, "only one adapter is currently supported"),
    ({"files": {"a": "gguf", "b": "other lora"}}, "the adapter 'b' is for qwen2 models, and this one is llama"),
    ({"base": "base", "draft_quantize": "q8_0"}, "--draft-quantize requires a DRAFT model"),
    ({"base": "base", "template": "{{ .Prompt"}, "template error: template: :1: unclosed action"),
    ({"base": "base", "template": "{{ nope }}"}, 'template error: template: :1: function "nope" not defined'),
    ({"base": "base", "system": "x" * 2**21}, "system is longer than 1048576 bytes"),
    ({"base": "base", "license": 5}, "license must be a string or an array of strings"),
    ({"base": "base", "license": ["a", None]}, "license must be a string or an array of strings"),
    ({"base": "base", "license": [f"{n}" for n in range(1025)]}, "the model's texts are 1025 layers"),
    ({"base": "base", "parameters": {"top_p": 2}}, 'option "top_p" is 2, out of range: it must be from 0 to 1'),
    ({"base": "base", "parameters": {"seed": "x"}}, 'option "seed" must be of type integer'),
    ({"base": "base", "parameters": {"wings": "x" * 2**21}}, "parameters take more than 1048576 bytes"),
    ({"base": "base", "messages": [{"role": "tool", "content": "x"}]}, 'message role must be one of "system", "user"'),
    ({"base": "base", "renderer": "x" * 2000}, "renderer is longer than 1024 characters"),
    ({"base": "base", "quantize": "q3_X"}, "unsupported quantization type Q3_X - supported types are F32, F16, "),
    ({"base": "base", "quantize": "q4_0"}, "unsupported quantization type Q4_0 - "),
    ({"base": "base", "quantization": "Q8_1"}, "unsupported quantization type Q8_1 - "),
    ({"base": "base", "quantize": "q8_0"}, QUANTIZED),
    ({"base": "base", "info": {"model_family": 1}}, 'info field "model_family" must be a string'),
    ({"base": "base", "info": {"context_length": "1"}}, 'info field "context_length" must be a number'),
    ({"base": "base", "info": {"context_length": True}}, 'info field "context_length" must be a number'),
    (
        {"base": "base", "info": {"embedding_length": -1}},
        'info field "embedding_length" must be a non-negative integer',
    ),
    ({"base": "base", "info": {"embedding_length": 1.5}}, 'info field "embedding_length" must be a non-negative'),
    ({"base": "base", "info": {"context_length": 1e300}}, 'info field "context_length" must be a non-negative'),
    ({"base": "base", "info": {"capabilities": "vision"}}, 'info field "capabilities" must be an array of at most 64'),
    ({"base": "x", "remote_host": "ftp://a"}, "bad remote"),
    ({"base": "x", "remote_host": "https://a:99999"}, "bad remote"),
    ({"base": "x", "remote_host": "https://user:word@a"}, "bad remote"),
    ({"base": "x", "remote_host": "a/b"}, "bad remote"),
    ({"base": "x", "remote_host": "/"}, "bad remote"),
    ({"base": "a b", "remote_host": "a"}, "invalid model name"),
    ({"files": {}, "remote_host": "a"}, "remote_host needs from: the model's name there"),
    ({"base": "x", "remote_host": "a", "quantize": "q8_0"}, "quantize cannot be used with remote models"),
    ({"base": "x", "remote_host": "a", "adapters": {"a": "lora"}}, "adapters cannot be used with remote models"),
    ({"base": "x", "remote_host": "a", "draft_files": {"a": "gguf"}}, "DRAFT cannot be used with remote models"),
]


async def refused(made: Bench, **fields: Any) -> str:
    """What a request is answered before its first line of progress, with status 400."""
    stream = made.stream(**fields)
    with pytest.raises(RemudaError) as caught:
        await anext(stream)
    assert caught.value.status == 400
    return caught.value.message


async def prepared(made: Bench, tmp_path: Path) -> dict[str, str]:
    """The digests of `UPLOADS` and of a projector; there are a model `base` and one to be made anew."""
    projector = write_tiny_projector(tmp_path / "eye.gguf").read_bytes()
    digests = {name: await made.upload(data) for name, data in {**UPLOADS, "projector": projector}.items()}
    await made.create(model="base", files={"a.gguf": digests["gguf"]})
    await made.create(base="base", system="the old one")
    return digests


async def test_whatever_is_wrong_has_a_sentence_and_changes_nothing(
    tmp_path: Path, plugins: Plugins, no_blocking: None
) -> None:
    plugins.add(RounderPlugin(), "rounder")
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        digests = await prepared(made, tmp_path)
        before = tree(made.root)
        for fields, expected in CASES:
            maps = {key: _digests(fields[key], digests) for key in _MAPS if fields.get(key)}
            message = await refused(made, **{**fields, **maps})
            assert expected in message, fields
            assert not re.search(r"/(etc|tmp|root|home|usr)|" + re.escape(str(tmp_path)), message)
        assert tree(made.root) == before


def _digests(files: dict[str, str], known: dict[str, str]) -> dict[str, str]:
    return {path: known.get(name, name) for path, name in files.items()}


async def test_a_bad_name_says_nothing_of_this_machine_s_files(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        there, nowhere = [await refused(made, base=path) for path in ("/etc/passwd", "/nope")]
        assert there == nowhere


async def test_every_hostile_gguf_is_refused_at_once(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        for name, (data, mention) in bad_ggufs().items():
            digest = await made.upload(data)
            before = tree(made.root)
            began = time.perf_counter()
            message = await refused(made, files={"a.gguf": digest})
            assert time.perf_counter() - began < 1, name
            if data.startswith(b"GGUF"):
                assert "'a.gguf' cannot be used: " in message, name
                assert mention in message, name
            else:
                assert message == "supplied file was not in GGUF format: 'a.gguf'", name
            assert tree(made.root) == before, name


async def test_a_chat_template_that_never_ends_holds_nobody_up(tmp_path: Path, plugins: Plugins) -> None:
    bomb = "{% for a in range(10**9) %}{% for b in range(10**9) %}{{ a * b }}{% endfor %}{% endfor %}"
    weights = write_tiny_llama(tmp_path / "bomb.gguf", chat_template=bomb * 1000).read_bytes()
    async with bench(tmp_path, plugins) as made:
        began = time.perf_counter()
        assert (await made.create(files={"a.gguf": await made.upload(weights)}))[-1] == "success"
        assert time.perf_counter() - began < 10


async def test_damaged_weights_are_found_out(tmp_path: Path, plugins: Plugins) -> None:
    """They were uploaded to another process, so that this one has not seen them before."""
    weights = write_tiny_llama(tmp_path / "llama.gguf").read_bytes()
    async with bench(tmp_path / "a", plugins) as made:
        digest = await made.upload(weights)
        path = made.root / "blobs" / digest.replace(":", "-")
        path.write_bytes(weights[:-4] + b"flip")
        async with bench(tmp_path / "a", plugins) as later:
            with pytest.raises(RemudaError, match="is damaged"):
                await later.create(files={"llama.gguf": digest})
            assert not path.exists()
            assert "made" not in {name.model for name in later.store.names()}


async def test_a_base_that_lost_a_part_is_refused(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        digest = await made.upload(make_gguf())
        await made.create(model="base", files={"a.gguf": digest})
        (made.root / "blobs" / digest.replace(":", "-")).unlink()
        assert await refused(made, base="base") == "model 'base:latest' is not complete: pull it again"


async def test_a_template_in_another_language_has_to_be_replaced(tmp_path: Path, plugins: Plugins) -> None:
    weights = write_tiny_llama(tmp_path / "llama.gguf")
    entry = ModelEntry(name=parse_name("jinja"), weights=weights, template="{{ x }}", template_engine="jinja")
    async with bench(tmp_path, plugins, entry) as made:
        assert "has a template for the engine 'jinja'" in await refused(made, base="jinja")
        await made.create(base="jinja", template="{{ .Prompt }}")
        assert made.texts() == {"template": "{{ .Prompt }}"}


async def test_parameters_that_outgrow_the_store_are_refused(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        big = {"x": "y" * 700_000}
        await made.create(model="base", files={"a.gguf": await made.upload(make_gguf())}, parameters=big)
        before = tree(made.root)
        with pytest.raises(RemudaError, match="together with those of the base"):
            await made.create(base="base", parameters={"z": "y" * 700_000})
        assert tree(made.root) == before


async def test_a_base_that_is_nowhere_is_looked_for_in_its_registry(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        with pytest.raises(RemudaError) as caught:
            await made.create(base="127.0.0.1:1/library/nothing")
        assert caught.value.status == 500
        assert tree(made.root) == {}
