from __future__ import annotations

import base64
import math
import struct
from array import array
from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from openai_jobs import WEATHER, a_job, error_of, said, speaking, text_of
from upstream import Upstream

from remuda.backend import EmbedJob
from remuda.errors import BadRequest, NotFound, RemudaError, UpstreamError
from remuda.job import Loaded
from remuda.wire import ShowRequest
from remuda_remote.faults import Broke, Fault, Refused

pytestmark = pytest.mark.anyio
LLAMA_SERVER_MODEL = {
    "id": "tiny:latest",
    "created": 1,
    "owned_by": "llamacpp",
    "meta": {"n_ctx": 2048, "n_ctx_train": 8192, "n_params": 134515008, "size": 96576768, "ftype": "Q4_1"},
}


@pytest.fixture
def upstream() -> Generator[Upstream]:
    with Upstream(kind="openai") as upstream:
        yield upstream


# --- what it says of itself


@pytest.mark.parametrize("ending", ["", "/v1", "/v1/"])
async def test_models_are_listed_wherever_the_address_ends(upstream: Upstream, ending: str):
    upstream.models = ["tiny:latest", "org/big"]
    async with speaking(upstream.url + ending) as dialect:
        listed = await dialect.models()
        assert text_of(await said(dialect, a_job())) == "Once upon a time"
        assert await dialect.loaded() is None
    assert [each.there for each in listed] == upstream.models
    tags = [each.tag for each in listed]
    assert [len(tag.digest) for tag in tags] == [64, 64]
    assert tags[0].digest != tags[1].digest
    assert tags[0].modified_at.startswith("2026-01-02T")
    assert tags[0].capabilities == ["completion", "tools"]


async def test_llama_server_says_more_and_has_its_models_in_memory(upstream: Upstream):
    props = {
        "chat_template": "{{ x }}",
        "modalities": {"vision": True},
        "chat_template_caps": {"supports_tools": False},
    }
    upstream.extra = {"GET /v1/models": (200, {"data": [LLAMA_SERVER_MODEL]}), "GET /props": (200, props)}
    async with speaking(upstream.url) as dialect:
        (listed,) = await dialect.models()
        (loaded,) = await dialect.loaded() or []
        shown = await dialect.show(ShowRequest(model="x"), "tiny:latest")
        assert [(await dialect.models())[0].tag.modified_at] == [listed.tag.modified_at]
        assert '"tools": the template' in str(await error_of(dialect, tools=(WEATHER,)))
        assert '"think"' in str(await error_of(dialect, think=True))
    assert (listed.tag.size, listed.tag.capabilities) == (96576768, ["completion", "vision"])
    details = listed.tag.details
    assert (details.parameter_size, details.quantization_level, details.context_length) == ("134.52M", "Q4_1", 8192)
    assert (loaded.size, loaded.context_length, loaded.digest) == (96576768, 2048, listed.tag.digest)
    info = msgspec.json.decode(shown.model_info)
    assert info[f"{info['general.architecture']}.context_length"] == 8192
    assert (shown.template, shown.details.format, shown.capabilities) == ("{{ x }}", "gguf", ["completion", "vision"])
    assert upstream.count("GET /props") == 1


async def test_a_server_without_a_list_serves_what_the_configuration_names(upstream: Upstream):
    upstream.extra = {"GET /v1/models": (404, {"detail": "Not Found"})}
    async with speaking(upstream.url) as dialect:
        assert await dialect.models() == []
        assert text_of(await said(dialect, a_job())) == "Once upon a time"
        assert (await dialect.show(ShowRequest(), "tiny:latest")).capabilities == ["completion", "tools"]


async def test_a_server_that_does_not_tell_its_models_may_answer_all_the_same(upstream: Upstream):
    upstream.extra = {"GET /v1/models": (403, {"error": {"message": "this key may not list models"}})}
    async with speaking(upstream.url) as dialect:
        assert text_of(await said(dialect, a_job())) == "Once upon a time"
        with pytest.raises(Refused, match="403"):
            await dialect.models()


async def test_a_list_may_be_bare_and_say_odd_things(upstream: Upstream):
    odd = {"id": "b", "created": "today", "owned_by": {}, "meta": [], "max_model_len": "x", "context_length": 4096}
    upstream.extra = {"GET /v1/models": (200, [{"id": "a", "max_model_len": 2048}, odd])}
    async with speaking(upstream.url) as dialect:
        listed = await dialect.models()
    assert [(each.there, each.tag.details.context_length) for each in listed] == [("a", 2048), ("b", 4096)]


async def test_a_list_that_makes_no_sense_is_a_break(upstream: Upstream):
    upstream.extra = {"GET /v1/models": (200, {"data": [{"id": 5}]})}
    async with speaking(upstream.url) as dialect:
        with pytest.raises(Broke, match="list makes no sense"):
            await dialect.models()


async def test_loading_and_showing_only_ask_whether_the_model_is_there(upstream: Upstream):
    async with speaking(upstream.url) as dialect:
        for keep_alive in (None, 0.0):
            assert await said(dialect, a_job(load_only=True, keep_alive=keep_alive)) == [Loaded()]
        with pytest.raises(Refused) as refused:
            await said(dialect, a_job(load_only=True), "other")
        assert isinstance(refused.value.error(), NotFound)
        with pytest.raises(Refused, match="'other' not found"):
            await dialect.show(ShowRequest(), "other")
    assert upstream.count("POST *") == 0


async def test_proof_is_one_token(upstream: Upstream):
    async with speaking(upstream.url) as dialect:
        await dialect.prove("tiny:latest")
        with pytest.raises(Refused):
            await dialect.prove("other")
    (proof, _) = (seen.json() for seen in upstream.requests if seen.method == "POST")
    assert proof["max_tokens"] == 1


# --- vectors


async def test_vectors_are_those_of_the_server_in_the_order_of_the_inputs(upstream: Upstream):
    async with speaking(upstream.url) as dialect:
        job = EmbedJob(inputs=["a", "b", "c"], limit=0)
        found = await dialect.embed(job, "tiny:latest", {"num_ctx": 5}, None, "req-2")
        (seen,) = (seen for seen in upstream.requests if seen.path == "/v1/embeddings")
        assert (seen.json(), seen.headers["x-request-id"]) == ({"model": "tiny:latest", "input": job.inputs}, "req-2")
        assert (len(found.vectors), found.tokens) == (3, 9)
        turned = {"data": [{"index": 1, "embedding": [1, 2]}, {"index": 0, "embedding": _base64(3.0, 4.0)}]}
        upstream.extra = {"POST /v1/embeddings": (200, turned)}
        found = await dialect.embed(EmbedJob(inputs=["a", "b"], limit=0), "tiny:latest", {}, None, "")
        assert [list(array("f", each)) for each in found.vectors] == [[3.0, 4.0], [1.0, 2.0]]
        assert math.hypot(*array("f", found.vectors[0])) == 5.0


def _base64(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    ("status", "reply", "kind", "text"),
    [
        (200, {"data": []}, UpstreamError, "0 vectors"),
        (200, {"data": [{"index": 1, "embedding": [1]}]}, UpstreamError, "1 vectors"),
        (200, {"data": [{"embedding": ["x"]}]}, UpstreamError, "no sense"),
        (200, {"data": [{"embedding": "%"}]}, UpstreamError, "no sense"),
        (200, {"data": [{"embedding": [[1, 2], [3, 4]]}]}, BadRequest, "pooling"),
        (501, {"error": {"message": "no embeddings"}}, BadRequest, "no embeddings"),
        (500, {"error": {"message": "must be created with embedding=True"}}, BadRequest, "embedding=True"),
        (404, {"error": {"message": "no such model"}}, NotFound, "no such model"),
    ],
)
async def test_vectors_that_cannot_be_had(
    upstream: Upstream, status: int, reply: Any, kind: type[RemudaError], text: str
):
    upstream.extra = {"POST /v1/embeddings": (status, reply)}
    async with speaking(upstream.url) as dialect:
        with pytest.raises((Fault, RemudaError)) as caught:
            await dialect.embed(EmbedJob(inputs=["a"], limit=0), "tiny:latest", {}, None, "")
    error = caught.value
    error = error.error() if isinstance(error, Fault) else error
    assert type(error) is kind
    assert text in str(error)
