"""Models made from files and from other models, compared with what another program finds on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bad_gguf import make_gguf
from creating import ROUNDED, RounderPlugin, bench, tree
from early_gguf import write_early
from stored import put_model
from tiny_models import write_tiny_llama, write_tiny_projector

from remuda.errors import BadRequest
from remuda.model import ModelEntry, parse_name
from remuda.plugins import Plugins

pytestmark = pytest.mark.anyio

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
EVERYTHING = {
    "template": "{{ .System }}{{ .Prompt }}",
    "system": "Be brief.",
    "license": ["MIT", "and more"],
    "parameters": {"temperature": 0.5, "stop": "###", "seed": None, "wings": {"count": 2}},
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
    "renderer": "qwen3-coder",
    "parser": "qwen3",
    "requires": "0.14.0",
    "info": {
        "capabilities": ["completion"],
        "model_family": "horse",
        "base_name": "Remuda",
        "quantization_level": "Q9",
        "parameter_size": "7B",
        "context_length": 4096,
        "embedding_length": 64.0,
    },
}


@pytest.fixture
def llama(tmp_path: Path) -> bytes:
    return write_tiny_llama(tmp_path / "llama.gguf").read_bytes()


async def test_from_a_file(tmp_path: Path, plugins: Plugins, llama: bytes, no_blocking: None) -> None:
    async with bench(tmp_path, plugins) as made:
        digest = await made.upload(llama)
        lines = await made.events(files={"llama.gguf": digest})
        size = len(llama)
        validated = lines[1]
        assert (validated.digest, validated.total, validated.completed) == ("0" * 19, size, size)
        assert [line.status for line in lines] == [
            "parsing GGUF",
            "validating GGUF model",
            "verifying conversion",
            f"using existing layer {digest}",
            "writing manifest",
            "success",
        ]
        assert made.manifest() == {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": made.manifest()["config"],
            "layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": size}],
        }
        assert made.config() == {
            "model_format": "gguf",
            "model_family": "llama",
            "model_families": ["llama"],
            "model_type": "108K",
            "file_type": "F32",
            "architecture": "amd64",
            "os": "linux",
        }
        entry = await made.find()
        assert entry.weights.read_bytes() == llama
        assert not entry.fault


async def test_from_a_file_of_the_first_version(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    early = write_early(tmp_path / "early.gguf", tmp_path / "llama.gguf").read_bytes()
    plugins.add(RounderPlugin(), "rounder")
    async with bench(tmp_path, plugins, config=ROUNDED) as made:
        files = {"early.gguf": await made.upload(early)}
        await made.create(files=files)
        assert made.layers() == [("model", early)]
        assert made.config()["model_family"] == "llama"
        with pytest.raises(BadRequest, match="cannot be quantized: GGUF version 1 is read by older engines only"):
            await made.create(files=files, quantize="q8_0")


async def test_with_everything_that_a_request_can_say(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    async with bench(tmp_path, plugins) as made:
        lines = await made.create(files={"llama.gguf": await made.upload(llama)}, **EVERYTHING)
        layers = made.layers()
        assert [(kind, data.decode()) for kind, data in layers[1:]] == [
            ("template", "{{ .System }}{{ .Prompt }}"),
            ("system", "Be brief."),
            ("license", "MIT"),
            ("license", "and more"),
            ("params", '{"stop":["###"],"temperature":0.5,"wings":{"count":2}}'),
            ("messages", '[{"role":"user","content":"Hi"},{"role":"assistant","content":"Ho"}]'),
        ]
        assert lines[3:] == [
            f"using existing layer {made.manifest()['layers'][0]['digest']}",
            *(f"creating new layer {layer['digest']}" for layer in made.manifest()["layers"][1:]),
            "writing manifest",
            "success",
        ]
        assert made.config() == {
            "model_format": "gguf",
            "model_family": "horse",
            "model_families": ["horse"],
            "model_type": "7B",
            "file_type": "Q9",
            "renderer": "qwen3-coder",
            "parser": "qwen3",
            "requires": "0.14.0",
            "capabilities": ["completion"],
            "context_length": 4096,
            "embedding_length": 64,
            "base_name": "Remuda",
            "architecture": "amd64",
            "os": "linux",
        }
        entry = await made.find()
        assert (entry.system, entry.options) == ("Be brief.", {"temperature": 0.5, "stop": ("###",)})


async def test_what_a_base_has_is_kept_replaced_or_added_to(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    async with bench(tmp_path, plugins) as made:
        await made.create(model="base", files={"llama.gguf": await made.upload(llama)}, **EVERYTHING)
        lines = await made.create(
            base="BASE", system="Be loud.", license=["mine", "MIT"], parameters={"seed": 7, "temperature": 1}
        )
        assert made.layers()[0] == made.layers("base")[0]
        assert [(kind, data.decode()) for kind, data in made.layers()[1:]] == [
            ("template", "{{ .System }}{{ .Prompt }}"),
            ("license", "MIT"),
            ("license", "and more"),
            ("messages", '[{"role":"user","content":"Hi"},{"role":"assistant","content":"Ho"}]'),
            ("system", "Be loud."),
            ("license", "mine"),
            ("params", '{"seed":7,"stop":["###"],"temperature":1,"wings":{"count":2}}'),
        ]
        assert made.config() == made.config("base")
        origins = [layer.get("from") for layer in made.manifest()["layers"]]
        assert origins == ["base:latest"] * 5 + [None] * 3
        digests = [layer["digest"] for layer in made.manifest()["layers"]]
        assert lines == [
            *(f"using existing layer {digest}" for digest in digests[:5]),
            *(f"creating new layer {digest}" for digest in digests[5:]),
            "writing manifest",
            "success",
        ]


async def test_empty_fields_change_nothing(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    async with bench(tmp_path, plugins) as made:
        await made.create(model="base", files={"llama.gguf": await made.upload(llama)}, **EVERYTHING)
        empty = {"template": "", "system": "", "license": [], "parameters": {}, "messages": [], "renderer": ""}
        await made.create(base="base", **empty, parser=None, files={}, adapters={}, info={}, quantize="")
        assert made.layers() == made.layers("base")
        assert made.config() == made.config("base")


async def test_a_base_without_parameters_gets_some(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    async with bench(tmp_path, plugins) as made:
        await made.create(model="base", files={"llama.gguf": await made.upload(llama)})
        await made.create(base="base:latest", parameters={"num_ctx": 512})
        assert made.texts() == {"params": '{"num_ctx":512}'}


async def test_a_model_made_again_drops_what_it_no_longer_needs(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    async with bench(tmp_path, plugins) as made:
        digest = await made.upload(llama)
        await made.create(files={"llama.gguf": digest}, system="one")
        before = tree(made.root)
        await made.create(model="MADE", files={"llama.gguf": digest}, system="two")
        assert made.texts() == {"system": "two"}
        assert len(tree(made.root)) == len(before) == 4
        await made.create(model="made", base="made", system="one")
        assert made.texts() == {"system": "one"}
        assert made.manifest()["layers"][0]["from"] == "made:latest"
        assert len(tree(made.root)) == 4


async def test_the_same_request_makes_the_same_model(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    async with bench(tmp_path, plugins) as made:
        files = {"llama.gguf": await made.upload(llama)}
        await made.create(files=files, parameters={"seed": 1, "top_k": 2}, system="x")
        before = tree(made.root)
        await made.create(files=files, parameters={"top_k": 2, "seed": 1}, system="x")
        assert tree(made.root) == before


async def test_a_configured_model_comes_into_the_store(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    eye = write_tiny_projector(tmp_path / "eye.gguf")
    entry = ModelEntry(
        name=parse_name("outside:7b"),
        weights=tmp_path / "llama.gguf",
        projector=eye,
        draft=eye,
        template="{{ .Prompt }}",
        parser="thinking",
        system="I am configured.",
        messages=(("user", "Hi"),),
        options={"top_k": 3},
        source="configuration",
    )
    async with bench(tmp_path, plugins, entry) as made:
        await made.create(base="outside:7b", parameters={"seed": 1})
        layers = made.layers()
        assert layers[:3] == [("model", llama), ("projector", eye.read_bytes()), ("draft", eye.read_bytes())]
        assert made.texts() == {
            "template": "{{ .Prompt }}",
            "system": "I am configured.",
            "messages": '[{"role":"user","content":"Hi"}]',
            "params": '{"seed":1,"top_k":3}',
        }
        assert [layer.get("from") for layer in made.manifest()["layers"][:3]] == ["outside:7b"] * 3
        assert made.config()["parser"] == "thinking"
        assert (await made.find()).projector is not None


async def test_a_model_that_is_no_gguf_comes_into_the_store(tmp_path: Path, plugins: Plugins) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"pieces": ["a"]}')
    entry = ModelEntry(name=parse_name("played"), weights=script, format="scripted")
    async with bench(tmp_path, plugins, entry) as made:
        await made.create(base="played", system="x")
        assert made.config()["model_format"] == "scripted"
        assert (await made.find()).weights.read_bytes() == script.read_bytes()


async def test_a_known_chat_template_brings_its_family_s(tmp_path: Path, plugins: Plugins) -> None:
    weights = write_tiny_llama(tmp_path / "chat.gguf", chat_template=CHATML).read_bytes()
    async with bench(tmp_path, plugins) as made:
        files = {"chat.gguf": await made.upload(weights)}
        lines = await made.create(files=files)
        assert lines[4] == "using autodetected template chatml"
        assert "<|im_start|>user" in made.texts()["template"]
        assert made.texts()["params"] == '{"stop":["<|im_start|>","<|im_end|>"]}'
        lines = await made.create(files=files, template="{{ .Prompt }}", parameters={"seed": 1})
        assert "using autodetected template chatml" not in lines
        assert made.texts()["template"] == "{{ .Prompt }}"
        assert json.loads(made.texts()["params"]) == {"seed": 1, "stop": ["<|im_start|>", "<|im_end|>"]}
        await made.create(files=files, parameters={"stop": "x"})
        assert made.texts()["params"] == '{"stop":["x"]}'


async def test_a_chat_template_that_nobody_knows_stays_in_the_weights(tmp_path: Path, plugins: Plugins) -> None:
    weights = write_tiny_llama(tmp_path / "chat.gguf", chat_template="{{ messages[0].content }}" * 20).read_bytes()
    async with bench(tmp_path, plugins) as made:
        await made.create(files={"chat.gguf": await made.upload(weights)})
        assert made.texts() == {}


async def test_a_family_that_has_habits(tmp_path: Path, plugins: Plugins) -> None:
    weights = make_gguf({"general.architecture": "gemma4", "gemma4.block_count": 1})
    async with bench(tmp_path, plugins) as made:
        await made.create(model="base", files={"g.gguf": await made.upload(weights)}, renderer="gemma4-small")
        config = made.config("base")
        assert (config["renderer"], config["parser"]) == ("gemma4-small", "gemma4")
        assert made.texts("base") == {"params": '{"stop":["<turn|>"]}'}
        await made.create(base="base", parameters={"stop": ["x"]})
        assert made.texts() == {"params": '{"stop":["x"]}'}


async def test_a_projector_and_an_adapter(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    eye = write_tiny_projector(tmp_path / "eye.gguf").read_bytes()
    lora = make_gguf({"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"})
    async with bench(tmp_path, plugins) as made:
        files = {"a/eye.gguf": await made.upload(eye), "b/llama.gguf": await made.upload(llama)}
        lines = await made.create(model="base", files=files, adapters={"lora.gguf": await made.upload(lora)})
        assert lines[:5] == ["parsing GGUF"] * 3 + ["validating GGUF model", "verifying conversion"]
        expected = [("model", llama), ("projector", eye), ("adapter", lora)]
        assert made.layers("base") == expected
        assert made.config("base")["model_families"] == ["llama", "clip"]
        await made.create(base="base", adapters={"lora.gguf": await made.upload(lora + bytes(32))})
        assert made.layers() == [*expected, ("adapter", lora + bytes(32))]


async def test_a_draft_model_is_kept(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    small = write_tiny_llama(tmp_path / "small.gguf", seed=3).read_bytes()
    async with bench(tmp_path, plugins) as made:
        files = {"llama.gguf": await made.upload(llama)}
        await made.create(model="base", files=files, draft_files={"small.gguf": await made.upload(small)})
        assert made.layers("base") == [("model", llama), ("draft", small)]
        await made.create(base="base", draft_files={"llama.gguf": files["llama.gguf"]})
        assert made.layers() == [("model", llama), ("draft", llama)]


async def test_a_name_for_a_model_elsewhere(tmp_path: Path, plugins: Plugins) -> None:
    async with bench(tmp_path, plugins) as made:
        lines = await made.create(
            base="gpt-oss:120b", remote_host="ollama.example", system="x", info={"model_family": "gptoss"}
        )
        assert lines == [f"creating new layer {made.manifest()['layers'][0]['digest']}", "writing manifest", "success"]
        assert made.config() == {
            "model_family": "gptoss",
            "model_families": ["gptoss"],
            "remote_host": "https://ollama.example:443",
            "remote_model": "gpt-oss:120b",
            "architecture": "amd64",
            "os": "linux",
        }
        assert "another server" in (await made.find()).fault
        await made.create(model="again", base="made", system="y")
        assert made.config("again") == {**made.config(), "model_format": "gguf"}


async def test_a_model_of_another_program_is_a_base(tmp_path: Path, plugins: Plugins, llama: bytes) -> None:
    """Layers of types that mean nothing here are taken along, and an old template is replaced like a new one."""
    async with bench(tmp_path, plugins) as made:
        layers = [("model", llama), ("prompt", b"{{ .Prompt }}"), ("application/x-other", b"?")]
        put_model(made.store, "base", layers)
        await made.create(base="base", template="{{ .System }}")
        assert made.layers()[1:] == [("application/x-other", b"?"), ("template", b"{{ .System }}")]
