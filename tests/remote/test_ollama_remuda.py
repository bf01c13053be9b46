"""A job told to another Remuda by the dialect `ollama`, and its answer told to a client: nobody can tell it from that
server's own answer, but for times.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import Struct

from remuda.config import Config, RemoteConfig, UpstreamConfig
from remuda.errors import RemudaError
from remuda.job import Event, Job, Loaded
from remuda.pipeline.chat import chat_responses, chat_single, collect_chat
from remuda.pipeline.generate import collect_generate, generate_responses, generate_single
from remuda.testing import LiveServer
from remuda.wire import ShowRequest, encode, encode_line, error_body
from remuda_remote.client import UpstreamClient
from remuda_remote.faults import Fault
from remuda_remote.member import members
from remuda_remote.ollama import OllamaDialect

from ..conftest import needs_demo
from ..e2e.tables import shelf
from ..e2e.test_chat_table import CALL, HI, TIME, WEATHER
from ..e2e.test_generate_table import PNG
from .ollama_jobs import GENERATE, job_of

pytestmark = [pytest.mark.anyio, needs_demo]

CHAT = "/api/chat"
SHORT = {"temperature": 0, "num_predict": 6, "num_thread": 1}
LONG = "".join(map(chr, range(65, 90))) * 4
TURNS = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "ho"}, {"role": "user", "content": "go"}]

TIMES = {"created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "cached_tokens"}
_ID = re.compile(r'"call_[a-z0-9]{8}"')

Reply = tuple[int, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with shelf(tmp_path_factory.mktemp("shelf")) as server:
        yield server


@pytest.fixture(scope="module")
async def http(server: LiveServer) -> AsyncGenerator[httpx.AsyncClient, None]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
async def dialect(server: LiveServer) -> AsyncGenerator[OllamaDialect, None]:
    remote = RemoteConfig()
    [member] = members(Config(upstreams={"box": UpstreamConfig(url=server.url)}))
    client = UpstreamClient(member, max_line=remote.max_line)
    yield OllamaDialect(member, client, remote)
    await client.close()


def plain(data: bytes) -> list[dict[str, Any]]:
    """Lines without what differs from call to call; the ids of calls of tools are random."""
    numbers = itertools.count()
    text = _ID.sub(lambda _: f'"call_{next(numbers)}"', data.decode())
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in text.splitlines()]


async def direct(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Reply:
    reply = await http.post(path, json=body)
    return reply.status_code, plain(reply.content)


async def through(dialect: OllamaDialect, path: str, body: dict[str, Any]) -> Reply:
    """As the routes answer, with the dialect in the place of the flow."""
    data = b""
    try:
        job = job_of(path, body)
        async with aclosing(replies(job, told(dialect, job), whole=body["stream"] is False)) as lines:
            async for line in lines:
                data += encode_line(line)
    except RemudaError as error:
        return (200 if data else error.status), plain(data + error_body(error.message))
    return 200, plain(data)


async def replies(job: Job, events: AsyncGenerator[Event, None], *, whole: bool) -> AsyncGenerator[Struct, None]:
    generate = job.endpoint == GENERATE
    if job.unload:
        assert [event async for event in events] == [Loaded()]
        yield (generate_single if generate else chat_single)(job.name, "unload")
    elif whole:
        yield await (
            collect_generate(generate_responses(job.name, events))
            if generate
            else collect_chat(chat_responses(job.name, events))
        )
    else:
        async with aclosing((generate_responses if generate else chat_responses)(job.name, events)) as stream:
            async for response in stream:
                yield response


async def told(dialect: OllamaDialect, job: Job) -> AsyncGenerator[Event, None]:
    try:
        answer = await dialect.answer(job, str(job.entry.name))
        async with aclosing(answer):
            async for event in answer:
                yield event
    except Fault as fault:
        raise fault.error() from None


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("plain", {"prompt": "hi"}),
        ("Plain", {"prompt": "hi", "system": "S", "options": {"num_predict": 2, "unknown": 1}}),
        ("plain", {"prompt": "hi", "context": [65, 66], "options": {"num_ctx": 20, "num_predict": 50}}),
        ("plain", {"prompt": LONG, "options": {"num_ctx": 32}}),
        ("plain", {"prompt": LONG, "options": {"num_ctx": 32}, "truncate": False}),
        ("plain", {"prompt": LONG, "options": {"num_ctx": 32}, "shift": False}),
        ("plain", {"prompt": "hi", "raw": True, "logprobs": True}),
        ("plain", {"prompt": "hi", "template": "{{ .System }}/{{ .Prompt }}", "system": "S", "logprobs": False}),
        ("plain", {"prompt": "hi", "template": "{{ .Prompt "}),
        ("plain", {"prompt": "hi", "think": False, "format": ""}),
        ("plain", {"prompt": "hi", "think": True}),
        ("plain", {"prompt": "hi", "images": [PNG]}),
        ("plain", {"prompt": "hi", "suffix": "x"}),
        ("plain", {"prompt": "hi", "options": {"temperature": "hot"}}),
        ("opened", {"prompt": "hi"}),
        ("thinker", {"prompt": "hi"}),
        ("thinker", {"prompt": "hi", "think": True, "logprobs": True, "top_logprobs": 3}),
        ("thinker", {"prompt": "hi", "think": False}),
        ("thinker", {"prompt": "hi", "think": "low", "_debug_render_only": True}),
        ("caller", {"prompt": "hi"}),
        ("fails", {"prompt": "hi"}),
        ("gone", {"prompt": "hi"}),
        ("a//b", {"prompt": "hi"}),
        ("embedder", {"prompt": "hi"}),
        ("plain", {}),
        ("plain", {"keep_alive": "1h", "options": {"num_ctx": 64}}),
        ("plain", {"keep_alive": 0}),
        ("plain", {"suffix": "x"}),
        ("gone", {}),
        ("tiny", {"prompt": "Once", "options": SHORT, "logprobs": True, "top_logprobs": 2}),
        ("tiny", {"prompt": "Once", "options": SHORT, "format": "json", "think": False}),
    ],
)
async def test_generate(
    http: httpx.AsyncClient, dialect: OllamaDialect, model: str, fields: dict[str, Any], stream: bool
) -> None:
    body = {"model": model, "stream": stream, **fields}
    assert await through(dialect, GENERATE, body) == await direct(http, GENERATE, body)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("plain", {"messages": HI}),
        ("Plain", {"messages": [{"role": "SYSTEM", "content": "S"}, *HI], "options": {"num_predict": 2}}),
        ("plain", {"messages": TURNS, "options": {"num_ctx": 40}}),
        ("plain", {"messages": TURNS, "options": {"num_ctx": 40}, "truncate": False}),
        ("plain", {"messages": HI, "logprobs": True, "top_logprobs": 1}),
        ("plain", {"messages": HI, "tools": [WEATHER]}),
        ("plain", {"messages": HI, "think": "high"}),
        ("plain", {"messages": [{"role": "user", "content": "hi", "images": [PNG]}]}),
        ("plain", {"messages": HI, "_debug_render_only": True}),
        ("thinker", {"messages": HI, "think": True}),
        ("thinker", {"messages": HI, "think": False, "logprobs": True}),
        ("caller", {"messages": HI, "tools": [WEATHER, TIME]}),
        ("caller", {"messages": HI, "tools": [WEATHER, TIME], "logprobs": True}),
        ("caller", {"messages": HI, "tools": [WEATHER, TIME], "tool_choice": "none"}),
        ("caller", {"messages": HI, "tools": [WEATHER, TIME], "tool_choice": "get_time"}),
        ("caller", {"messages": HI, "tools": [WEATHER], "options": {"tool_choice": "required"}}),
        (
            "caller",
            {
                "messages": [
                    *HI,
                    {"role": "assistant", "content": "", "tool_calls": [CALL]},
                    {"role": "tool", "content": "rain", "tool_name": "get_weather"},
                ],
                "tools": [{"function": WEATHER["function"]}],
                "_debug_render_only": True,
            },
        ),
        ("fails", {"messages": HI}),
        ("gone", {"messages": HI}),
        ("embedder", {"messages": HI}),
        ("tiny", {"messages": HI, "tools": [WEATHER], "think": False, "options": SHORT}),
        ("plain", {}),
        ("plain", {"messages": [], "keep_alive": 0}),
    ],
)
async def test_chat(
    http: httpx.AsyncClient, dialect: OllamaDialect, model: str, fields: dict[str, Any], stream: bool
) -> None:
    body = {"model": model, "stream": stream, **fields}
    assert await through(dialect, CHAT, body) == await direct(http, CHAT, body)


async def test_waiting_for_a_model(http: httpx.AsyncClient, dialect: OllamaDialect) -> None:
    """How often it is told differs from time to time."""
    path, body = CHAT, {"model": "plain", "messages": HI, "progress": True, "stream": True}
    replies: list[Reply] = []
    for ask in (lambda: through(dialect, path, body), lambda: direct(http, path, body)):
        await http.post(path, json={"model": "plain", "keep_alive": 0})
        replies.append(await ask())
    (status, mine), (_, theirs) = replies
    waits = [line["status"] for line in mine if "status" in line]
    assert status == 200
    assert set(waits) <= {"loading model", "waiting"}
    assert waits
    assert [line for line in mine if "status" not in line] == [line for line in theirs if "status" not in line]


@pytest.mark.parametrize("verbose", [True, False])
async def test_show(http: httpx.AsyncClient, dialect: OllamaDialect, verbose: bool) -> None:
    for model in ("opened", "tiny", "thinker"):
        request = ShowRequest(model=model, verbose=verbose, options={"seed": 1}, system="S")
        mine = json.loads(encode(await dialect.show(request, f"{model}:latest")))
        asked = {"model": f"{model}:latest", "verbose": verbose, "options": {"seed": 1}, "system": "S"}
        assert mine == (await http.post("/api/show", json=asked)).json()


async def test_lists(http: httpx.AsyncClient, dialect: OllamaDialect) -> None:
    await dialect.prove("plain:latest")
    models = (await http.get("/api/tags")).json()["models"]
    assert [json.loads(encode(each.tag)) for each in await dialect.models()] == models
    assert len(models) == 11
    loaded = (await http.get("/api/ps")).json()["models"]
    mine = [msgspec.to_builtins(each) for each in await dialect.loaded() or []]
    for one, other in zip(mine, loaded, strict=True):
        when = [datetime.fromisoformat(each.pop("expires_at")) for each in (one, other)]
        assert abs(when[0] - when[1]) < timedelta(seconds=1), "it is counted back from another clock each time"
        assert one == other
    assert "plain:latest" in {each["name"] for each in loaded}
    with pytest.raises(Fault, match="does not support generate"):
        await dialect.prove("embedder:latest")
