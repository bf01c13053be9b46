"""Other names for models, from a request to its answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from msgspec import json, structs
from registry import MODEL, Registry
from stored import put_model

from remuda.config import Config, ModelConfig, StoreConfig
from remuda.errors import BadRequest, ModelNotFound
from remuda.model.store import Store
from remuda.pipeline import Pipeline
from remuda.plugins import Plugins
from remuda.testing.scripted import Script
from remuda.wire import CopyRequest, CreateRequest, DeleteRequest, EmbedRequest, ShowRequest, TransferRequest

from .asking import ask, chat, opened

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

ALIASES = {"gpt-4": "mine", "gpt-5": "missing", "stored-too": "mine", "short": "me/long:1b"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A model `mine` of the configuration, models `stored-too` and `me/long:1b` of the store, and aliases."""
    script = json.encode(Script(pieces=["a"], embeds=2))
    (tmp_path / "script.json").write_bytes(script)
    store = Store(tmp_path / "models")
    for name in ("stored-too", "me/long:1b"):
        put_model(store, name, [("model", script)], model_format="scripted")
    model = ModelConfig(path=str(tmp_path / "script.json"), format="scripted", system="be mine")
    return Config(store=StoreConfig(path=str(store.root)), models={"mine": model}, aliases=ALIASES)


@pytest.fixture
async def pipeline(config: Config, plugins: Plugins) -> AsyncGenerator[Pipeline, None]:
    async with opened(config, plugins) as pipeline:
        yield pipeline


async def names(pipeline: Pipeline) -> list[str]:
    return sorted(model.name for model in (await pipeline.tags()).models if "smollm2" not in model.name)


async def test_answers_come_under_the_name_as_typed(pipeline: Pipeline) -> None:
    assert (await ask(pipeline, model="GPT-4", prompt="hi")).model == "GPT-4"
    assert (await chat(pipeline, "hi", model="gpt-4:latest")).model == "gpt-4:latest"
    assert (await pipeline.embed(EmbedRequest(model="gpt-4", input="x"), request_id="r")).model == "gpt-4"
    [running] = (await pipeline.ps()).models
    assert running.name == "mine:latest"
    assert (await ask(pipeline, model="gpt-4", keep_alive=0)).done_reason == "unload"
    assert (await pipeline.ps()).models == []


async def test_it_is_shown_and_not_listed(pipeline: Pipeline) -> None:
    assert (await pipeline.library.show(ShowRequest(model="gpt-4"))).system == "be mine"
    assert (await pipeline.library.show(ShowRequest(model="stored-too"))).system == "be mine"
    assert await names(pipeline) == ["me/long:1b", "mine:latest"]


async def test_a_target_that_is_missing_is_told_as_typed(pipeline: Pipeline) -> None:
    with pytest.raises(ModelNotFound, match=r"^model 'Gpt-5' not found$"):
        await ask(pipeline, model="Gpt-5", prompt="hi")


async def test_with_auto_pull_its_model_is_pulled(
    config: Config, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Registry() as registry:
        layers = {MODEL: json.encode(Script(pieces=["b"]))}
        registry.add_model("library/far:latest", layers, json.encode({"model_format": "scripted"}))
        aliases = {"gpt-5": registry.name("library/far:latest")}
        async with opened(structs.replace(config, aliases=aliases, auto_pull=True), plugins) as pipeline:
            pull = pipeline.transfers.pull  # this registry has no TLS
            monkeypatch.setattr(pipeline.transfers, "pull", lambda name, **_: pull(name, insecure=True))
            reply = await ask(pipeline, model="gpt-5", prompt="hi")
            assert (reply.model, reply.response) == ("gpt-5", "b")
            assert "gpt-5:latest" not in await names(pipeline)


async def test_it_is_a_source_to_copy(pipeline: Pipeline) -> None:
    await pipeline.library.copy(CopyRequest(source="short", destination="copied"))
    assert await names(pipeline) == ["copied:latest", "me/long:1b", "mine:latest"]
    await pipeline.library.copy(CopyRequest(source="short", destination="ME/long:1b"))


@pytest.mark.parametrize("name", ["stored-too", "Stored-Too:latest", "stored-too:local"])
async def test_it_cannot_be_changed(pipeline: Pipeline, config: Config, name: str) -> None:
    library = pipeline.library
    calls: dict[str, Any] = {
        "deleted": lambda: library.delete(DeleteRequest(model=name)),
        "pushed": lambda: library.push(TransferRequest(model=name)),
        "replaced": lambda: library.pull(TransferRequest(model=name)),
    }
    if not name.endswith(":local"):  # which names a model of that tag when one is made
        calls["replaced "] = lambda: library.create(CreateRequest(model=name, base="mine"))
        calls[" replaced"] = lambda: library.copy(CopyRequest(source="me/long:1b", destination=name))
        calls["  replaced"] = lambda: library.copy(CopyRequest(source=name, destination=name))
    for deed, call in calls.items():
        with pytest.raises(BadRequest) as caught:
            await call()
        assert caught.value.message.lower() == (
            f"'stored-too:latest' is an alias of 'mine:latest' in the configuration and cannot be {deed.strip()}: "
            "use the model's own name, or take the alias out of the configuration"
        )
    there = await to_thread.run_sync(Store(config.store.root).names)
    assert sorted(map(str, there)) == ["me/long:1b", "stored-too:latest"]


async def test_other_aliases_act_while_the_server_runs(pipeline: Pipeline, config: Config) -> None:
    pipeline.reload(structs.replace(config, aliases={"gpt-6": "mine"}))
    assert (await ask(pipeline, model="gpt-6", prompt="hi")).response == "a"
    with pytest.raises(ModelNotFound):
        await ask(pipeline, model="gpt-4", prompt="hi")
    assert "stored-too:latest" in await names(pipeline)
