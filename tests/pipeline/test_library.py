"""Models as things to have: listed, shown, copied, deleted and asked for, in a store on disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import to_thread
from stored import HOUR, make_older, manifest_path, put_model, tree

from remuda import hookimpl
from remuda.config import Config, ModelConfig, StoreConfig
from remuda.errors import BadRequest, Forbidden, LoadFailed, ModelNotFound, NotFound, RemudaError
from remuda.model.store import Store
from remuda.pipeline import Pipeline
from remuda.plugins import Plugins
from remuda.testing.scripted import Script
from remuda.wire import CopyRequest, CreateRequest, DeleteRequest, ProgressResponse, ShowRequest, TransferRequest

from .asking import ask, opened, stream

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

SHIPPED, CONFIGURED = "shipped:1b", "mine:latest"


class _Shipper:
    def __init__(self, weights: Path) -> None:
        self._weights = weights

    @hookimpl
    def remuda_register_models(self, register: Any) -> None:
        register(SHIPPED, self._weights, format="scripted")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def library(store: Store, plugins: Plugins, tmp_path: Path) -> Callable[..., Any]:
    """`library()`: a pipeline over `store`, with a model of the configuration and one of a plugin."""
    weights = tmp_path / "script.json"
    weights.write_bytes(msgspec.json.encode(Script(pieces=["a"])))
    plugins.add(_Shipper(weights), "shipper")
    config = Config(
        store=StoreConfig(path=str(store.root)),
        models={CONFIGURED: ModelConfig(path=str(weights), format="scripted", system="be mine")},
    )

    @asynccontextmanager
    async def make(**changes: Any) -> AsyncGenerator[Pipeline, None]:
        async with opened(msgspec.structs.replace(config, **changes), plugins) as pipeline:
            yield pipeline

    return make


async def put(store: Store, name: str, script: Script | None = None, *layers: tuple[str, bytes], **config: Any) -> None:
    weights = msgspec.json.encode(script or Script(pieces=["a", "b"]))
    config = {"model_format": "scripted", **config}
    await to_thread.run_sync(lambda: put_model(store, name, [("model", weights), *layers], **config))


async def names(pipeline: Pipeline) -> set[str]:
    return {model.name for model in (await pipeline.tags()).models} & {SHIPPED, CONFIGURED, "x:latest", "y:latest"}


async def test_a_stored_model_is_listed_asked_and_deleted(library: Any, store: Store) -> None:
    params = msgspec.json.encode({"num_predict": 1})
    await put(store, "x", Script(pieces=["a"], repeat=5), ("params", params), model_type="7B")
    async with library() as pipeline:
        listed = {model.name: model for model in (await pipeline.tags()).models}["x:latest"]
        assert (listed.details.format, listed.details.parameter_size) == ("scripted", "7B")
        assert len(listed.digest) == 64
        reply = await ask(pipeline, model="X", prompt="hi")
        assert (reply.response, reply.done_reason) == ("a", "length")
        [running] = (await pipeline.ps()).models
        assert (running.name, running.digest) == ("x:latest", listed.digest)
        await pipeline.library.delete(DeleteRequest(name="X:LATEST"))
        assert "x:latest" not in await names(pipeline)
        with pytest.raises(ModelNotFound, match="model 'x' not found"):
            await ask(pipeline, model="x", prompt="hi")
    assert not [name for name in tree(store.root) if "sha256" in name]


async def test_a_model_deleted_while_it_answers_goes_on(library: Any, store: Store) -> None:
    await put(store, "x", Script(pieces=["a"], repeat=30, delay=0.01))
    async with library() as pipeline:
        lines = await stream(pipeline, model="x", prompt="hi")
        await pipeline.library.delete(DeleteRequest(model="x"))
        assert "x:latest" not in await names(pipeline)
        text = "".join([line.response async for line in lines])
        await lines.aclose()
    assert text == "a" * 30


async def test_a_model_that_cannot_be_used_is_listed_and_says_why(library: Any, store: Store) -> None:
    await put(store, "x", None, ("params", b'{"temperature":"hot"}'))
    async with library() as pipeline:
        assert "x:latest" in await names(pipeline)
        for fields in ({"prompt": "hi"}, {"keep_alive": 60}):
            with pytest.raises(BadRequest, match="temperature"):
                await ask(pipeline, model="x", **fields)
        await pipeline.library.delete(DeleteRequest(model="x"))


async def test_a_model_with_a_bad_template_is_shown(library: Any, store: Store) -> None:
    await put(store, "x", None, ("template", b"{{ .Prompt "))
    async with library() as pipeline:
        shown = await pipeline.library.show(ShowRequest(model="x"))
        assert shown.capabilities == ["completion"]
        with pytest.raises(BadRequest, match="template"):
            await ask(pipeline, model="x", prompt="hi")


async def test_damaged_weights_are_never_loaded(library: Any, store: Store) -> None:
    await put(store, "x", Script(pieces=["a", "b", "c"]))
    async with library() as pipeline:
        entry = await to_thread.run_sync(pipeline.catalog.find, "x")
        data = bytearray(entry.weights.read_bytes())
        data[-2] ^= 1
        await to_thread.run_sync(entry.weights.write_bytes, bytes(data))
        with pytest.raises(LoadFailed, match="damaged") as caught:
            await ask(pipeline, model="x", prompt="hi")
        assert str(store.root) not in str(caught.value)
        await put(store, "x", Script(pieces=["a", "b", "c"]))
        assert (await ask(pipeline, model="x", prompt="hi")).response == "abc"


async def test_copy_within_the_store(library: Any, store: Store) -> None:
    await put(store, "x")
    await put(store, "Big/Z:Tag")
    async with library() as pipeline:
        await pipeline.library.copy(CopyRequest(source="x:local", destination="y"))
        await pipeline.library.copy(CopyRequest(source="x", destination="X:latest"))
        await pipeline.library.copy(CopyRequest(source="x", destination="big/z:tag"))
        digests = {model.name: model.digest for model in (await pipeline.tags()).models}
        assert digests["x:latest"] == digests["y:latest"] == digests["Big/Z:Tag"]
        await pipeline.library.delete(DeleteRequest(model="x"))
        assert (await ask(pipeline, model="y", prompt="hi")).response == "ab"


@pytest.mark.parametrize("source", [SHIPPED, CONFIGURED])
async def test_a_copy_of_a_model_from_outside_is_one_of_the_store(library: Any, store: Store, source: str) -> None:
    async with library() as pipeline:
        await pipeline.library.copy(CopyRequest(source=source, destination="x"))
        entry = await to_thread.run_sync(pipeline.catalog.find, "x")
        assert entry.stored is not None
        assert entry.weights.is_relative_to(store.root)
        assert entry.system == ("be mine" if source == CONFIGURED else None)
        assert (await ask(pipeline, model="x", prompt="hi")).response == "a"
        shown = await pipeline.library.show(ShowRequest(model="x"))
        assert shown.system == (entry.system or "")


async def told(work: Any) -> list[ProgressResponse]:
    reply = await work
    if isinstance(reply, ProgressResponse):
        return [reply]
    return [line async for line in reply]


@pytest.mark.parametrize(("name", "owner"), [(SHIPPED, "the plugin 'shipper'"), (CONFIGURED, "the configuration")])
async def test_models_from_outside_cannot_be_changed(library: Any, store: Store, name: str, owner: str) -> None:
    await put(store, "x")
    before = tree(store.root)
    other = name.upper()
    async with library() as pipeline:
        library_ = pipeline.library
        for work in (
            library_.delete(DeleteRequest(model=other)),
            library_.copy(CopyRequest(source="x", destination=other)),
            library_.create(CreateRequest(model=other, base="x")),
            library_.pull(TransferRequest(model=other)),
            library_.push(TransferRequest(model=other)),
        ):
            with pytest.raises(BadRequest) as caught:
                await told(work)
            assert str(caught.value).startswith(f"model '{name}' is offered by {owner} and cannot be")
        assert name in await names(pipeline)
    assert tree(store.root) == before


async def test_a_model_of_the_store_goes_before_a_shipped_one(library: Any, store: Store) -> None:
    await put(store, SHIPPED, Script(pieces=["stored"]))
    async with library() as pipeline:
        assert (await ask(pipeline, model=SHIPPED, prompt="hi")).response == "stored"
        await pipeline.library.delete(DeleteRequest(model=SHIPPED))
        assert (await ask(pipeline, model=SHIPPED, prompt="hi")).response == "a"


async def test_a_model_with_a_corrupt_manifest_can_be_deleted(library: Any, store: Store) -> None:
    await put(store, "x")
    path = manifest_path(store, "x")
    path.write_bytes(b"{")
    async with library() as pipeline:
        assert "x:latest" not in await names(pipeline)
        with pytest.raises(RemudaError, match="manifest"):
            await ask(pipeline, model="x", prompt="hi")
        await pipeline.library.delete(DeleteRequest(model="x"))
    assert not path.exists()


LONG = "a" * 5_000_000
BAD = ["../../etc/passwd", "a/../../b", "/etc/passwd", "/nope", "a\\b", "a b", "a//b", "a:b:c", "a\0b", "ü"]


@pytest.mark.parametrize("name", BAD)
async def test_names_that_are_none(library: Any, store: Store, name: str) -> None:
    async with library() as pipeline:
        for work, text in (
            (pipeline.library.delete(DeleteRequest(model=name)), f'name "{name}" is invalid'),
            (pipeline.library.copy(CopyRequest(source=name, destination="y")), f'source "{name}" is invalid'),
            (
                pipeline.library.copy(CopyRequest(source=CONFIGURED, destination=name)),
                f'destination "{name}" is invalid',
            ),
            (pipeline.library.create(CreateRequest(model=name, base=CONFIGURED)), "invalid model name"),
            (pipeline.library.pull(TransferRequest(model=name)), "invalid model name"),
            (pipeline.library.push(TransferRequest(model=name)), "invalid model name"),
            (pipeline.library.show(ShowRequest(model=name)), "invalid model name"),
        ):
            with pytest.raises(BadRequest) as caught:
                await told(work)
            assert str(caught.value) == text
    assert not store.root.exists()


async def test_names_that_are_empty_unknown_or_endless(library: Any) -> None:
    async with library() as pipeline:
        one = pipeline.library
        for work, error, text in (
            (one.delete(DeleteRequest()), BadRequest, "model is required"),
            (one.show(ShowRequest()), BadRequest, "model is required"),
            (one.create(CreateRequest()), BadRequest, "model is required"),
            (one.pull(TransferRequest(name="")), BadRequest, "model is required"),
            (one.push(TransferRequest(name=" ")), BadRequest, "model is required"),
            (one.copy(CopyRequest()), BadRequest, 'source "" is invalid'),
            (one.copy(CopyRequest(source=CONFIGURED)), BadRequest, 'destination "" is invalid'),
            (one.delete(DeleteRequest(model="x")), ModelNotFound, "model 'x' not found"),
            (one.show(ShowRequest(model="x")), ModelNotFound, "model 'x:latest' not found"),
            (one.copy(CopyRequest(source="x", destination="y")), NotFound, 'model "x" not found'),
            (one.delete(DeleteRequest(model=LONG)), BadRequest, f'name "{LONG[:200]}..." is invalid'),
            (one.copy(CopyRequest(source=LONG)), BadRequest, f'source "{LONG[:200]}..." is invalid'),
            (one.delete(DeleteRequest(model="x:cloud")), Forbidden, "ollama cloud is disabled"),
            (one.pull(TransferRequest(model="x:1b-cloud")), Forbidden, "ollama cloud is disabled"),
            (one.pull(TransferRequest(model="x:local:cloud")), BadRequest, "use either :local or :cloud, not both"),
        ):
            with pytest.raises(error) as caught:
                await told(work)
            assert str(caught.value).startswith(text)


async def test_the_store_is_swept_when_the_server_starts(library: Any, store: Store) -> None:
    await put(store, "x")
    await to_thread.run_sync(store.put, b"nobody needs it")
    await to_thread.run_sync(make_older, store.root, 2 * HOUR)
    before = {name for name in tree(store.root) if "sha256" in name}
    async with library() as pipeline:
        pipeline.start()
        assert pipeline._sweeping is not None
        await pipeline._sweeping
    after = {name for name in tree(store.root) if "sha256" in name}
    assert len(before - after) == 1
    assert after < before
