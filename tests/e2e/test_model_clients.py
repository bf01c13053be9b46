"""Models made, moved and asked by the official client, against a real store and the real engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import ollama
import pytest
from blockbuster import blockbuster_ctx
from registry import Registry
from stored import HOUR, make_older
from tiny_embedders import BERT_WIDTH, write_tiny_bert
from tiny_models import write_tiny_llama

from remuda.config import Config, RegistryConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer

from ..conftest import DEMO

GREEDY = {"temperature": 0, "num_predict": 8}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    key = str(tmp_path_factory.mktemp("key") / "id_ed25519")
    config = Config(registry=RegistryConfig(key=key, retries=1))
    with blockbuster_ctx(["remuda", "remuda_plugins", "remuda_llamacpp"]), LiveServer(config, load_plugins()) as server:
        yield server


@pytest.fixture
def client(server: LiveServer) -> Iterator[ollama.Client]:
    """Every model that a test left in the store is deleted after it."""
    with closing(ollama.Client(host=server.url, timeout=60)) as client:
        before = set(_names(client))
        yield client
        for name in set(_names(client)) - before:
            client.delete(name)
    assert not [path for path in (server.pipeline.store.root / "blobs").glob("*") if path.is_file()]


@pytest.fixture
def tiny(client: ollama.Client, tmp_path: Path) -> str:
    """The name of a text model that was created from a file."""
    digest = client.create_blob(write_tiny_llama(tmp_path / "tiny.gguf"))
    template = "{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}"
    client.create("tiny", files={"tiny.gguf": digest}, template=template, system="be tiny", parameters=GREEDY)
    return "tiny"


def _names(client: ollama.Client) -> list[str]:
    return [model.model or "" for model in client.list().models]


def _status(error: pytest.ExceptionInfo[ollama.ResponseError]) -> tuple[int, str]:
    return error.value.status_code, error.value.error


def test_create_from_a_file_tells_its_progress(client: ollama.Client, tmp_path: Path) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    digest = client.create_blob(path)
    assert client.create_blob(path) == digest  # it is there, and that is fine
    statuses = [part.status or "" for part in client.create("tiny", files={"x.gguf": digest}, stream=True)]
    assert statuses[0] == "parsing GGUF"
    assert statuses[-2:] == ["writing manifest", "success"]
    assert f"using existing layer {digest}" in statuses or f"creating new layer {digest}" in statuses


def test_a_created_model_is_shown_listed_and_asked(client: ollama.Client, tiny: str, tmp_path: Path) -> None:
    shown = client.show(tiny)
    assert shown.details is not None
    assert (shown.details.family, shown.details.format) == ("llama", "gguf")
    assert shown.capabilities == ["completion"]
    assert "num_predict" in (shown.parameters or "")
    assert "SYSTEM be tiny" in (shown.modelfile or "")
    assert str(tmp_path) not in shown.model_dump_json()
    assert (shown.modelinfo or {})["llama.block_count"] == 2
    [listed] = [model for model in client.list().models if model.model == "tiny:latest"]
    assert listed.size is not None
    assert listed.size >= (tmp_path / "tiny.gguf").stat().st_size
    reply = client.chat(tiny, [{"role": "user", "content": "hi"}])
    assert (reply.eval_count, reply.done_reason) == (8, "length")
    [running] = client.ps().models
    assert (running.model, running.digest) == ("tiny:latest", listed.digest)
    client.generate(tiny, keep_alive=0)
    assert client.ps().models == []


def test_a_model_from_a_model(client: ollama.Client, tiny: str) -> None:
    client.create("pirate", from_=tiny, system="be a pirate")
    shown, base = client.show("pirate"), client.show(tiny)
    assert "SYSTEM be a pirate" in (shown.modelfile or "")
    assert shown.template == base.template
    assert shown.details is not None
    assert shown.details.parent_model == "tiny:latest"
    assert client.delete(tiny).status == "success"
    assert client.chat("pirate", [{"role": "user", "content": "hi"}]).eval_count == 8


def test_copy_and_delete(client: ollama.Client, tiny: str) -> None:
    assert client.copy(tiny, "someone/other:v1").status == "success"
    assert {"tiny:latest", "someone/other:v1"} <= set(_names(client))
    assert client.delete(tiny).status == "success"
    assert client.generate("someone/other:v1", "hi").eval_count == 8


def test_a_copy_of_the_demo_model_answers_as_it_does(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 8}
    whole = client.generate(DEMO, "Why is the sky blue?", options=options)
    client.copy(DEMO, "mine")
    copied = client.generate("mine", "Why is the sky blue?", options=options)
    assert copied.response == whole.response
    assert client.show("mine").capabilities == client.show(DEMO).capabilities
    for name in ("mine", DEMO):
        client.generate(name, keep_alive=0)


def test_errors_have_their_status(client: ollama.Client, tiny: str) -> None:
    with pytest.raises(ollama.ResponseError) as error:
        client.show("nope")
    assert _status(error) == (404, "model 'nope:latest' not found")
    with pytest.raises(ollama.ResponseError) as error:
        client.delete("nope")
    assert _status(error) == (404, "model 'nope' not found")
    with pytest.raises(ollama.ResponseError) as error:
        client.copy("nope", "other")
    assert _status(error) == (404, 'model "nope" not found')
    with pytest.raises(ollama.ResponseError) as error:
        client.copy(tiny, "a b")
    assert _status(error) == (400, 'destination "a b" is invalid')
    with pytest.raises(ollama.ResponseError) as error:
        client.delete(DEMO)
    assert error.value.status_code == 400
    assert DEMO in error.value.error
    with pytest.raises(ollama.ResponseError) as error:
        client.create("x", files={"x.gguf": f"sha256:{'0' * 64}"})
    assert error.value.status_code == 400
    with pytest.raises(ollama.ResponseError) as error:
        list(client.create("x", files={"x.gguf": "sha256:0"}, stream=True))
    assert _status(error) == (400, "invalid digest format")
    with pytest.raises(ollama.ResponseError) as error:
        client.embed("nope", "text")
    assert _status(error) == (404, 'model "nope" not found, try pulling it first')


def test_what_is_no_model_is_refused(client: ollama.Client, server: LiveServer, tmp_path: Path) -> None:
    for data in (b"GGUF", b"nothing of the kind", b""):
        path = tmp_path / "x.gguf"
        path.write_bytes(data)
        with pytest.raises(ollama.ResponseError) as error:
            client.create("x", files={"x.gguf": client.create_blob(path)})
        assert error.value.status_code == 400
        assert str(tmp_path) not in error.value.error
    assert "x:latest" not in _names(client)
    make_older(server.pipeline.store.root, 2 * HOUR)
    server.pipeline.store.sweep()  # as the next start does: the uploads are nobody's


def test_embed(client: ollama.Client, tmp_path: Path) -> None:
    digest = client.create_blob(write_tiny_bert(tmp_path / "bert.gguf"))
    client.create("bert", files={"bert.gguf": digest})
    assert client.show("bert").capabilities == ["embedding"]
    one = client.embed("bert", "the cat sat")
    two = client.embed("bert", ["the cat sat", "on the tree"])
    assert [len(vector) for vector in two.embeddings] == [BERT_WIDTH] * 2
    assert math.isclose(math.hypot(*two.embeddings[0]), 1.0, rel_tol=1e-5)
    assert all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(one.embeddings[0], two.embeddings[0], strict=True))
    assert two.prompt_eval_count
    old = client.embeddings("bert", "the cat sat").embedding
    assert all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(one.embeddings[0], old, strict=True))
    with pytest.raises(ollama.ResponseError) as error:
        client.generate("bert", "hi")
    assert error.value.status_code == 400
    client.embed("bert", "", keep_alive=0)


def test_push_and_pull(client: ollama.Client, tiny: str) -> None:
    with Registry() as registry:
        name = registry.name("someone/tiny:v1")
        client.copy(tiny, name)
        digest = {model.model: model.digest for model in client.list().models}[name]
        pushed = [part.status for part in client.push(name, insecure=True, stream=True)]
        assert (pushed[0], pushed[-1]) == ("retrieving manifest", "success")
        client.delete(name)
        client.delete(tiny)
        pulled = [part.status for part in client.pull(name, insecure=True, stream=True)]
        assert (pulled[0], pulled[-1]) == ("pulling manifest", "success")
        assert client.pull(name, insecure=True).status == "success"
        assert {model.model: model.digest for model in client.list().models}[name] == digest
        assert client.generate(name, "hi").eval_count == 8
        with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
            list(client.pull(registry.name("someone/nothing"), insecure=True, stream=True))


@pytest.mark.anyio
async def test_the_async_client(server: LiveServer, tmp_path: Path) -> None:
    client = ollama.AsyncClient(host=server.url, timeout=60)
    try:
        digest = await client.create_blob(write_tiny_llama(tmp_path / "tiny.gguf"))
        parts = [part.status async for part in await client.create("tiny", files={"a.gguf": digest}, stream=True)]
        assert parts[-1] == "success"
        assert (await client.generate("tiny", "hi", options=GREEDY)).eval_count == 8
        assert (await client.delete("tiny")).status == "success"
    finally:
        await client.close()
