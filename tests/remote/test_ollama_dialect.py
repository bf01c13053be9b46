"""The dialect `ollama` against a scripted upstream: what goes over the wire, and every way in which that can fail."""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from upstream import Fault as Failing, Upstream
from upstream_ollama import vector

from remuda.backend import EmbedJob
from remuda.config import Config, RemoteConfig, UpstreamConfig
from remuda.errors import BadRequest, EngineError, NotFound
from remuda.job import Event, Finished, Job, Loaded
from remuda.output import Text
from remuda.wire import ShowRequest
from remuda_remote.client import UpstreamClient
from remuda_remote.faults import Broke, Fault, Refused
from remuda_remote.member import members
from remuda_remote.ollama import OllamaDialect

from .ollama_jobs import job_of

pytestmark = pytest.mark.anyio

GENERATE, CHAT, EMBED = "POST /api/generate", "POST /api/chat", "POST /api/embed"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def shared() -> Iterator[Upstream]:
    with Upstream(models=("tiny:latest", "other:1b")) as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def dialect(shared: Upstream) -> AsyncGenerator[OllamaDialect, None]:
    remote = RemoteConfig()
    [member] = members(Config(upstreams={"box": UpstreamConfig(url=shared.url, first_byte_timeout=5, stall_timeout=2)}))
    client = UpstreamClient(member, max_line=remote.max_line)
    yield OllamaDialect(member, client, remote)
    await client.close()


@pytest.fixture
def up(shared: Upstream) -> Upstream:
    shared.heal()
    shared.requests.clear()
    shared.extra.clear()
    shared.loaded.clear()
    shared.gone_away, shared.delay = 0, 0.0
    return shared


def asked(path: str = "/api/generate", **fields: Any) -> Job:
    question = {"messages": HI} if path == "/api/chat" else {"prompt": "hi"}
    return job_of(path, {"model": "Tiny", **question, **fields})


async def answered(dialect: OllamaDialect, job: Job, model: str = "tiny:latest") -> list[Event]:
    answer = await dialect.answer(job, model)
    async with aclosing(answer):
        return [event async for event in answer]


async def test_models_loaded_and_proof(dialect: OllamaDialect, up: Upstream) -> None:
    up.loaded.append("other:1b")
    assert [each.there for each in await dialect.models()] == ["tiny:latest", "other:1b"]
    [loaded] = await dialect.loaded() or []
    assert (loaded.name, loaded.context_length, loaded.expires_at[:4]) == ("other:1b", 4096, "2318")
    await dialect.prove("tiny:latest")
    proof = {"model": "tiny:latest", "prompt": "a", "raw": True, "stream": False, "options": {"num_predict": 1}}
    assert up.requests[-1].json() == proof
    with pytest.raises(Refused, match="model 'gone' not found"):
        await dialect.prove("gone")


async def test_an_upstream_too_old_to_tell_what_it_has_loaded(dialect: OllamaDialect, up: Upstream) -> None:
    up.extra["GET /api/ps"] = (404, "404 page not found")
    assert await dialect.loaded() is None
    up.extra["GET /api/ps"] = (500, {"error": "no"})
    with pytest.raises(Refused):
        await dialect.loaded()


@pytest.mark.parametrize("body", ["hi", ["models"], {"models": 5}])
async def test_something_else_that_answers_at_its_address(dialect: OllamaDialect, up: Upstream, body: Any) -> None:
    for path in ("GET /api/tags", "GET /api/ps", "POST /api/show"):
        up.extra[path] = (200, body)
    with pytest.raises(Broke, match=r"^upstream 'box' sent a reply that is none of the Ollama API$"):
        await dialect.models()
    with pytest.raises(Broke):
        await dialect.loaded()
    if not isinstance(body, dict):
        with pytest.raises(Broke):
            await dialect.show(ShowRequest(), "tiny")
    up.extra[GENERATE] = (200, body if body != "hi" else {"error": "no room"})
    with pytest.raises((Broke, Refused)):
        await dialect.prove("tiny")


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_an_answer(dialect: OllamaDialect, up: Upstream, path: str) -> None:
    *said, finished = await answered(dialect, asked(path))
    assert said == [Text("Once"), Text(" upon"), Text(" a"), Text(" time")]
    assert isinstance(finished, Finished)
    assert (finished.done.reason, finished.done.output_tokens, finished.load_ns) == ("stop", 4, 100)
    assert finished.done.context == ([1, 2, 3, 10, 11, 12, 13] if path == "/api/generate" else None)
    [seen] = up.requests
    assert (seen.kind, seen.headers["x-request-id"]) == (f"POST {path}", "r1")
    assert seen.json()["model"] == "tiny:latest"


async def test_the_first_event_is_here_before_the_second_is_written(dialect: OllamaDialect, up: Upstream) -> None:
    up.fail(CHAT, Failing(stall=1))
    answer = await dialect.answer(asked("/api/chat"), "tiny:latest")
    assert await anext(aiter(answer)) == Text("Once")
    await answer.aclose()
    await up.left()


async def test_a_connection_serves_one_answer_after_another(dialect: OllamaDialect, up: Upstream) -> None:
    for path in ("/api/generate", "/api/chat", "/api/generate"):
        await answered(dialect, asked(path))
    await dialect.embed(EmbedJob(inputs=["a"], limit=0), "tiny", {}, None, "r1")
    with pytest.raises(Refused):
        await answered(dialect, asked(), "gone")
    await dialect.models()
    assert len({seen.connection for seen in up.requests}) == 1
    assert up.gone_away == 0


async def test_loading_and_unloading(dialect: OllamaDialect, up: Upstream) -> None:
    for path in ("/api/generate", "/api/chat"):
        assert await answered(dialect, job_of(path, {"model": "tiny", "keep_alive": "1h"})) == [Loaded()]
        assert up.loaded == ["tiny:latest"]
        assert await answered(dialect, job_of(path, {"model": "tiny", "keep_alive": 0})) == [Loaded()]
        assert up.loaded == []


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_what_an_upstream_refuses(dialect: OllamaDialect, up: Upstream, path: str) -> None:
    kind = f"POST {path}"
    up.fail(kind, Failing(status=400, body=b'{"error":"\\"inner:1b\\" does not support thinking"}'))
    with pytest.raises(Refused) as refused:
        await dialect.answer(asked(path), "inner:1b")
    error = refused.value.error()
    assert isinstance(error, BadRequest)
    assert str(error) == '"Tiny" does not support thinking', "the client reads the name that it typed"
    with pytest.raises(Refused) as missing:
        await dialect.answer(asked(path), "gone:1b")
    assert str(missing.value.error()) == "model 'Tiny' not found"
    assert isinstance(missing.value.error(), NotFound)
    up.fail(kind, Failing(status=503, headers={"Retry-After": "3"}, body=b"<html>busy</html>"))
    with pytest.raises(Refused) as busy:
        await dialect.answer(asked(path), "tiny:latest")
    assert (busy.value.status, busy.value.pause, busy.value.said) == (503, 3.0, "")
    assert busy.value.body == b"<html>busy</html>"


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_an_error_in_a_stream(dialect: OllamaDialect, up: Upstream, path: str) -> None:
    kind = f"POST {path}"
    up.fail(kind, Failing(error_line="the model died"), Failing(error_line="the model died", after=2))
    with pytest.raises(Refused) as first:
        await dialect.answer(asked(path), "tiny:latest")
    assert first.value.again
    answer = await dialect.answer(asked(path), "tiny:latest")
    async with aclosing(answer):
        events = aiter(answer)
        assert [await anext(events), await anext(events)] == [Text("Once"), Text(" upon")]
        with pytest.raises(Fault) as later:
            await anext(events)
    assert isinstance(later.value.error(), EngineError)
    assert str(later.value.error()) == "the model died"


@pytest.mark.parametrize("fault", [Failing(cut=2), Failing(cut=2, fin=True), Failing(cut=2, clean=True)])
async def test_an_answer_that_breaks_off(dialect: OllamaDialect, up: Upstream, fault: Failing) -> None:
    up.fail(CHAT, fault)
    with pytest.raises(Broke):
        await answered(dialect, asked("/api/chat"))


async def test_cancelling_leaves_nothing_behind(dialect: OllamaDialect, up: Upstream) -> None:
    for left, stall in enumerate(("head", "body"), 1):
        up.fail(GENERATE, Failing(stall=stall))
        work = asyncio.create_task(dialect.answer(asked(), "tiny:latest"))
        await up.requested(GENERATE, left)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await up.left(left)
    await up.requested(GENERATE, 2)
    up.fail(EMBED, Failing(stall="head"))
    work = asyncio.create_task(dialect.embed(EmbedJob(inputs=["a"], limit=0), "tiny", {}, None, "r1"))
    await up.requested(EMBED)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await up.left(3)


async def test_embeddings(dialect: OllamaDialect, up: Upstream) -> None:
    texts = ["a", "b", "a"]
    job = EmbedJob(inputs=texts, limit=0, truncate=False)
    made = await dialect.embed(job, "tiny:latest", {"num_ctx": 64}, 60.0, "r7")
    assert (made.tokens, made.vectors) == (9, [array("f", vector(text)).tobytes() for text in texts])
    [seen] = up.requests
    sent = {"model": "tiny:latest", "input": texts, "truncate": False, "options": {"num_ctx": 64}, "keep_alive": 60}
    assert (seen.json(), seen.headers["x-request-id"]) == (sent, "r7")
    assert (await dialect.embed(EmbedJob(inputs=[], limit=0), "tiny", {}, None, "")).vectors == []
    with pytest.raises(Refused, match="not found, try pulling it first"):
        await dialect.embed(job, "gone", {}, None, "")


@pytest.mark.parametrize("reply", [{"embeddings": [[1.0]]}, {"error": "no"}, {"embeddings": [[1.0], [None]]}, ["x"]])
async def test_vectors_that_are_not_those_asked_for(dialect: OllamaDialect, up: Upstream, reply: Any) -> None:
    up.extra[EMBED] = (200, reply)
    with pytest.raises(Broke):
        await dialect.embed(EmbedJob(inputs=["a", "b"], limit=0), "tiny", {}, None, "")


async def test_questions_and_vectors_of_megabytes(dialect: OllamaDialect, up: Upstream) -> None:
    text, numbers = "x" * 4_000_000, [0.123456789] * 384
    up.extra[EMBED] = (200, {"embeddings": [numbers] * 1000, "prompt_eval_count": 1})
    made = await dialect.embed(EmbedJob(inputs=["a"] * 1000, limit=0), "tiny", {}, None, "")
    assert made.vectors == [array("f", numbers).tobytes()] * 1000
    assert isinstance((await answered(dialect, asked(prompt=text)))[-1], Finished)
    assert up.requests[-1].json()["prompt"] == text


async def test_show(dialect: OllamaDialect, up: Upstream) -> None:
    shown = await dialect.show(ShowRequest(name="x", verbose=True, system="S", options={"seed": 1}), "tiny:latest")
    assert up.requests[-1].json() == {"model": "tiny:latest", "verbose": True, "system": "S", "options": {"seed": 1}}
    assert (shown.license, shown.capabilities) == ("MIT", ["completion", "tools"])
    assert json.loads(bytes(shown.model_info))["llama.context_length"] == 8192
    with pytest.raises(Refused) as missing:
        await dialect.show(ShowRequest(), "gone")
    assert (missing.value.status, missing.value.said) == (404, "model 'gone' not found")
