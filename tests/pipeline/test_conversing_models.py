"""Models without weights in the library and in memory, and the same over HTTP."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from conversing import Talking, texts
from msgspec import structs

from remuda import ModelEntry
from remuda.config import Config, ServerConfig
from remuda.errors import BadRequest
from remuda.model import Catalog, parse_name
from remuda.model.entry import NO_WEIGHTS
from remuda.plugins import load_plugins
from remuda.testing import LiveServer
from remuda.wire import CopyRequest, CreateRequest, EmbedRequest, ShowRequest, TransferRequest

from .asking import ask, chat, opened

TWO = {"m": ["completion", "tools"], "other": ["embedding"]}


def _plugins(talking: Talking) -> Any:
    return load_plugins([], extra=[("talking", talking)])


@pytest.mark.anyio
async def test_they_are_listed_and_shown_as_what_is_said_of_them() -> None:
    async with opened(Config(), _plugins(Talking(models=TWO))) as pipeline:
        tags = {tag.name: tag for tag in (await pipeline.tags()).models}
        shown = await pipeline.library.show(ShowRequest(model="m"))
    assert {name: tag.capabilities for name, tag in tags.items()} == {
        "m:latest": ["completion", "tools"],
        "other:latest": ["embedding"],
    }
    assert {tag.size for tag in tags.values()} == {0}
    assert all(re.fullmatch("[0-9a-f]{64}", tag.digest) for tag in tags.values())
    assert len({tag.digest for tag in tags.values()}) == 2
    assert tags["m:latest"].details.context_length == 2048
    assert (shown.capabilities, shown.details.format, shown.details.family) == (["completion", "tools"], "talk", "talk")
    assert bytes(shown.model_info) == b'{"general.architecture":"talk","talk.context_length":2048}'


def test_a_digest_stands_for_what_is_said_of_a_model() -> None:
    """It is the same with each start of a server, and another one once something else is said."""
    entry = ModelEntry(name=parse_name("m"), weights=NO_WEIGHTS, format="talk", capabilities=("completion",))
    others = (structs.replace(entry, name=parse_name("n")), structs.replace(entry, capabilities=("embedding",)))
    assert Catalog([entry]).digest(entry) == Catalog([entry]).digest(entry)
    assert len({Catalog([each]).digest(each) for each in (entry, *others)}) == 3


@pytest.mark.anyio
async def test_each_is_loaded_by_itself_and_leaves_when_its_time_is_over() -> None:
    talking = Talking(*texts("hi"), models={"m": ["completion"], "other": ["completion"]})
    async with opened(Config(), _plugins(talking)) as pipeline:
        assert (await ask(pipeline)).done_reason == "load"
        assert (await ask(pipeline, model="other", prompt="hi")).response == "hi"
        assert talking.loaded == ["m:latest", "other:latest"]
        running = (await pipeline.ps()).models
        assert {model.name: (model.size, model.context_length) for model in running} == {
            "m:latest": (0, 2048),
            "other:latest": (0, 2048),
        }
        assert (await ask(pipeline, model="other", keep_alive=0)).done_reason == "unload"
        assert [model.name for model in (await pipeline.ps()).models] == ["m:latest"]
        assert (await chat(pipeline, "hi")).message.content == "hi"
    assert talking.loaded == ["m:latest", "other:latest"]


@pytest.mark.anyio
async def test_vectors_come_from_those_that_give_them() -> None:
    async with opened(Config(), _plugins(Talking(models=TWO))) as pipeline:
        reply = await pipeline.embed(EmbedRequest(model="other", input=["a", "bc"]), request_id="r")
        with pytest.raises(BadRequest, match='"other" does not support chat'):
            await chat(pipeline, "hi", model="other")
    assert reply.embeddings == [pytest.approx([0.6, 0.8])] * 2
    assert reply.prompt_eval_count == 3


@pytest.mark.anyio
async def test_nothing_can_be_made_from_them() -> None:
    async with opened(Config(), _plugins(Talking())) as pipeline:
        with pytest.raises(BadRequest, match="'m:latest' has no weights here"):
            await pipeline.library.copy(CopyRequest(source="m", destination="copy"))
        with pytest.raises(BadRequest, match="'m:latest' has no weights here"):
            await pipeline.library.create(CreateRequest(model="new", base="m", system="be brief", stream=False))
        with pytest.raises(BadRequest, match=r"'m:latest' is offered .* cannot be pushed: its weights are not here"):
            await pipeline.library.push(TransferRequest(model="m", stream=False))


def test_over_http_an_answer_streams() -> None:
    with (
        LiveServer(plugins=_plugins(Talking(*texts("hel", "lo")))) as server,
        httpx.stream("POST", server.url + "/api/chat", json={"model": "m", "messages": [_HI]}) as reply,
    ):
        lines = [httpx.Response(200, text=line).json() for line in reply.iter_lines()]
    assert [line["message"]["content"] for line in lines] == ["hel", "lo", ""]
    assert (lines[-1]["done"], lines[-1]["done_reason"]) == (True, "stop")


def test_over_http_the_work_stops_when_the_client_leaves() -> None:
    talking = Talking(*texts("on and ", "on "))
    talking.endless = True
    with LiveServer(plugins=_plugins(talking)) as server:
        with httpx.stream("POST", server.url + "/api/chat", json={"model": "m", "messages": [_HI]}) as reply:
            next(reply.iter_lines())
        server.call(talking.closed.wait)


def test_over_http_a_refusal_has_a_status() -> None:
    talking = Talking(models={"m": ["completion"]})
    with LiveServer(plugins=_plugins(talking)) as server:
        reply = httpx.post(server.url + "/api/generate", json={"model": "m", "prompt": "hi", "raw": True})
    assert reply.status_code == 400
    assert reply.json()["error"].startswith('"m" does not support "raw"')


def test_one_of_them_can_be_what_the_server_must_be_able_to_do() -> None:
    config = Config(server=ServerConfig(ready_model="m"))
    talking = Talking(*texts("a"))
    with LiveServer(config, _plugins(talking)) as server:
        server.call(talking.closed.wait)
        status = 0
        for _ in range(200):
            if (status := httpx.get(server.url + "/readyz").status_code) == 200:
                break
    assert status == 200
    assert [message.content for message in talking.jobs[0].messages] == ["a"]


_HI = {"role": "user", "content": "hi"}
