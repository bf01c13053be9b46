"""What passes a server before others, and what never does: keys, headers, names, and requests for upstreams that the
route leaves out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from fronting import QUICK, TALK, Looking, asking, behind, ended, fronted, refused
from msgspec import structs
from upstream import Fault, Upstream

from remuda.cli import make_cli
from remuda.plugins import load_plugins

GENERATE = "POST /api/generate"
KEY, HEADER, MINE = "sk-attic-4711", "x-secret-0815", "Bearer sk-client-9999"
either = pytest.mark.parametrize("job", [False, True], ids=["unread", "as a job"])
PATHS: dict[str, dict[str, Any]] = {
    "/api/generate": {"prompt": "hi"},
    "/api/chat": TALK,
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
    "/api/show": {},
}


def looking(*, job: bool) -> list[tuple[str, object]]:
    return [("looking", Looking())] if job else []


@either
def test_keys_reach_the_upstream_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, job: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ATTIC_KEY", KEY)
    seen: list[str] = []
    with Upstream(key=KEY) as upstream:
        attic = behind(upstream.url, key_env="ATTIC_KEY", headers={"X-Tenant": HEADER}, stall_timeout=0.2)
        config = fronted({"attic": attic}, remote=structs.replace(QUICK, failures=10_000))
        with asking(config, *looking(job=job)) as (_, http):
            mine = {"Authorization": MINE, "Cookie": "mine=1", "X-Forwarded-For": "198.51.100.7", "X-Mine": "mine"}

            def ask(path: str, **fields: Any) -> httpx.Response:
                reply = http.post(path, json={"model": "tiny", **PATHS[path], **fields}, headers=mine)
                seen.extend((reply.text, str(reply.headers)))
                return reply

            upstream.headers = {"Set-Cookie": "theirs=1", "X-Theirs": KEY, "Server": "theirs", "Keep-Alive": "5"}
            for path in PATHS:
                reply = ask(path)
                assert reply.status_code == 200
                assert not {"set-cookie", "x-theirs", "keep-alive"} & set(reply.headers)
                assert reply.headers.get("server") != "theirs"
            assert ask("/api/generate", stream=False).status_code == 200
            for fault in (Fault(cut=2), Fault(refuse=True), Fault(status=500), Fault(garbage=True), Fault(stall=1)):
                upstream.fail(GENERATE, fault)
                assert "error" in ask("/api/generate").text
            upstream.key = "another"
            text = refused(ask("/api/generate"), 502)
            assert text.endswith("it did not accept this server's key; see its key_env and key_file")
            seen.extend(http.get(path).text for path in ("/api/upstreams", "/api/tags", "/api/ps"))
        for request in upstream.requests:
            assert request.headers["authorization"] == f"Bearer {KEY}"
            assert request.headers["x-tenant"] == HEADER
            assert request.headers["accept-encoding"] == "identity"
            allowed = {
                "host",
                "accept",
                "content-type",
                "content-length",
                "x-request-id",
                "x-remuda-hops",
                "user-agent",
            }
            assert set(request.headers) <= {*allowed, "authorization", "x-tenant", "accept-encoding", "connection"}
            assert request.headers["user-agent"].startswith("remuda/")
    seen.extend(record.getMessage() + (record.exc_text or "") for record in caplog.records)
    for text in seen:
        for secret in (KEY, HEADER, MINE.removeprefix("Bearer "), f"127.0.0.1:{upstream.port}"):
            assert secret not in text, text[:300]


@pytest.mark.parametrize("flag", ["--changed", "--json"])
def test_the_configuration_is_shown_without_what_is_secret(tmp_path: Path, flag: str) -> None:
    file = tmp_path / "remuda.toml"
    attic = '[upstreams.attic]\nurl = "http://127.0.0.1:1"\nkey_env = "ATTIC_KEY"\n'
    file.write_text(f'{attic}headers = {{ "X-Tenant" = "{HEADER}" }}\n')
    shown = CliRunner().invoke(make_cli(load_plugins), ["config", "--config", str(file), flag])
    assert (shown.exit_code, "ATTIC_KEY" in shown.output, "X-Tenant" in shown.output) == (0, True, True)
    assert HEADER not in shown.output


@pytest.fixture(scope="module")
def named() -> Iterator[dict[bool, tuple[Upstream, httpx.Client]]]:
    """An upstream whose `inner:7b` is `outer` here, which has an alias too; by whether jobs are made of requests."""
    with ExitStack() as stack:
        made: dict[bool, tuple[Upstream, httpx.Client]] = {}
        for job in (False, True):
            upstream = stack.enter_context(Upstream(["inner:7b", "tiny"]))
            attic = behind(upstream.url, models={"outer": "inner:7b"}, stall_timeout=0.2)
            config = fronted({"attic": attic}, aliases={"gpt": "outer", "house": "tiny"})
            _, http = stack.enter_context(asking(config, *looking(job=job)))
            made[job] = upstream, http
        yield made


@either
@pytest.mark.parametrize("typed", ["outer", "OUTER:latest", " outer ", "gpt"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/embed"])
def test_a_model_has_its_name_here_on_both_ways(
    named: dict[bool, tuple[Upstream, httpx.Client]], path: str, typed: str, *, stream: bool, job: bool
) -> None:
    upstream, http = named[job]
    before = upstream.count(f"POST {path}")
    reply = http.post(path, json={"model": typed, **PATHS[path], "stream": stream})
    assert reply.status_code == 200
    assert b"inner" not in reply.content
    assert {json.loads(line)["model"] for line in reply.content.splitlines()} == {typed}
    assert upstream.await_request(f"POST {path}", before + 1).json()["model"] == "inner:7b"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("registry.ollama.ai/library/inner:7b has no hole", "registry.ollama.ai/library/outer has no hole"),
        ('"inner:7b" does not support thinking.', '"outer" does not support thinking.'),
        ("inner:7b-instruct and my-inner:7b are others", "inner:7b-instruct and my-inner:7b are others"),
    ],
)
@either
def test_a_model_has_its_name_here_in_every_sentence_handed_on(
    named: dict[bool, tuple[Upstream, httpx.Client]], said: str, told: str, *, job: bool
) -> None:
    upstream, http = named[job]
    body = {"model": "outer", "prompt": "hi"}
    upstream.fail(GENERATE, Fault(status=400, body=json.dumps({"error": said}).encode()))
    assert refused(http.post("/api/generate", json=body), 400) == told
    upstream.fail(GENERATE, Fault(error_line=said, after=1))
    assert ended(http.post("/api/generate", json=body))[-1] == {"error": told}


@either
def test_a_model_has_its_name_here_in_errors_and_lists(
    named: dict[bool, tuple[Upstream, httpx.Client]], *, job: bool
) -> None:
    upstream, http = named[job]
    upstream.fail(GENERATE, Fault(cut=2, clean=True))
    lines = ended(http.post("/api/generate", json={"model": "outer", "prompt": "hi"}))
    assert [line.get("model") for line in lines] == ["outer", "outer", None]
    there = [model["name"] for model in http.get("/api/tags").json()["models"] if model.get("upstreams")]
    assert sorted(there) == ["outer:latest", "tiny:latest"]
    assert {model["name"] for model in http.get("/api/ps").json()["models"]} <= {"outer:latest", "tiny:latest"}
    shown = http.post("/api/show", json={"model": "outer"})
    assert (shown.status_code, "inner" in shown.text) == (200, False)
    assert refused(http.post("/api/generate", json={"model": "inner:7b", "prompt": "hi"}), 404)
    gone = b"""{"error":"model 'inner:7b' not found"}"""
    upstream.fail(GENERATE, Fault(status=404, body=gone))
    text = refused(http.post("/api/generate", json={"model": "outer", "prompt": "hi"}), 404)
    assert "inner" not in text
