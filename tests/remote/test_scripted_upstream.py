"""The scripted upstream itself (`tests/support/upstream.py`): the other tests of this folder stand on it."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from upstream import Fault, Upstream

ASK = {"model": "tiny", "prompt": "hello"}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=5) as client:
        yield client


def test_a_stream(up: Upstream, http: httpx.Client) -> None:
    reply = http.post(f"{up.url}/api/generate", json=ASK, headers={"X-Request-Id": "r1"})
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert "".join(line["response"] for line in lines) == "Once upon a time"
    assert [line["done"] for line in lines] == [False] * 4 + [True]
    assert lines[-1]["done_reason"] == "stop"
    assert lines[-1]["eval_count"] == 4
    assert (reply.headers["content-type"], reply.headers["transfer-encoding"]) == ("application/x-ndjson", "chunked")
    assert up.requests[0].headers["x-request-id"] == "r1"
    assert up.requests[0].json() == ASK
    assert up.count("POST /api/generate") == up.count("POST *") == 1


def test_one_object(up: Upstream, http: httpx.Client) -> None:
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "stream": False}
    reply = http.post(f"{up.url}/api/chat", json=chat)
    assert reply.json()["message"] == {"role": "assistant", "content": "Once upon a time"}
    assert http.post(f"{up.url}/api/chat", json={**chat, "model": "other"}).json() == {
        "error": "model 'other' not found"
    }
    assert up.requests[1].turn == up.requests[0].turn + 1
    assert up.requests[1].connection == up.requests[0].connection


def test_models(up: Upstream, http: httpx.Client) -> None:
    assert http.get(f"{up.url}/api/tags").json()["models"][0]["name"] == "tiny:latest"
    assert len(http.post(f"{up.url}/api/embed", json={"model": "tiny", "input": ["a", "b"]}).json()["embeddings"]) == 2
    assert http.post(f"{up.url}/api/show", json={"model": "tiny"}).json()["capabilities"] == ["completion", "tools"]
    pulled = http.post(f"{up.url}/api/pull", json={"model": "new"}).text.splitlines()
    assert json.loads(pulled[-1]) == {"status": "success"}
    assert http.post(f"{up.url}/api/copy", json={"source": "new", "destination": "two"}).status_code == 200
    for name in ("two", "new"):
        assert http.request("DELETE", f"{up.url}/api/delete", json={"model": name}).status_code == 200
    assert up.models == ["tiny:latest"]
    data = b"x" * 100_000
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert http.head(f"{up.url}/api/blobs/{digest}").status_code == 404
    chunked = http.post(f"{up.url}/api/blobs/{digest}", content=iter([data[:30_000], data[30_000:]]))
    assert chunked.status_code == 201
    assert http.head(f"{up.url}/api/blobs/{digest}").status_code == 200
    assert up.blobs[digest] == data


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(refuse=True), httpx.ReadError),
        (Fault(cut=2), httpx.ReadError),
        (Fault(cut=2, fin=True), httpx.RemoteProtocolError),
        (Fault(garbage=True), httpx.RemoteProtocolError),
    ],
)
def test_ends_that_are_none(up: Upstream, http: httpx.Client, fault: Fault, error: type[Exception]) -> None:
    up.fail("POST /api/generate", fault)
    with pytest.raises(error):
        http.post(f"{up.url}/api/generate", json=ASK)
    assert http.post(f"{up.url}/api/generate", json=ASK).status_code == 200
    assert up.gone_away == 0


def test_odd_replies(up: Upstream, http: httpx.Client) -> None:
    faults = (
        Fault(status=503, headers={"Retry-After": "3"}, body=b'{"error":"busy"}'),
        Fault(cut=2, clean=True),
        Fault(error_line="no", after=1),
        Fault(redirect="http://127.0.0.1:1/"),
        Fault(gzip=True),
        Fault(close=True),
    )
    up.fail("POST /api/generate", *faults)
    busy, clean, line, redirect, gzipped, close = (http.post(f"{up.url}/api/generate", json=ASK) for _ in faults)
    assert (busy.status_code, busy.headers["retry-after"], busy.json()) == (503, "3", {"error": "busy"})
    assert clean.text.count("\n") == 2
    assert line.text.splitlines()[1:] == ['{"error":"no"}']
    assert (redirect.status_code, redirect.headers["location"]) == (307, "http://127.0.0.1:1/")
    assert gzipped.headers["content-encoding"] == "gzip"
    for whole in (gzipped, close):
        assert whole.text.count("\n") == 5
    up.fail("GET /api/version", Fault(trickle=0.00001))
    assert http.get(f"{up.url}/api/version").json()["version"]


@pytest.mark.parametrize("fault", [Fault(stall="head"), Fault(stall="body"), Fault(stall=2), Fault(flood=True), None])
def test_it_sees_its_client_leave(up: Upstream, fault: Fault | None) -> None:
    up.delay = 5.0
    if fault is not None:
        up.fail("POST /api/generate", fault)
    body = json.dumps({**ASK, "stream": fault is not None}).encode()
    with socket.create_connection(("127.0.0.1", up.port)) as client:
        client.sendall(b"POST /api/generate HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        up.await_request()
        up.await_running(1)
    begun = time.perf_counter()
    up.await_left(1)
    assert time.perf_counter() - begun < 1.0
    assert up.running == 0


def test_it_stops_and_starts(http: httpx.Client) -> None:
    with Upstream(key="secret") as up:
        assert http.get(f"{up.url}/api/tags").status_code == 401
        assert http.get(f"{up.url}/api/tags", headers={"Authorization": "Bearer secret"}).status_code == 200
        up.stop()
        with pytest.raises(httpx.ConnectError):
            http.get(f"{up.url}/api/tags")
        up.start()
        assert http.get(f"{up.url}/").status_code == 401


def test_openai(http: httpx.Client) -> None:
    with Upstream(kind="openai") as up:
        assert [each["id"] for each in http.get(f"{up.url}/v1/models").json()["data"]] == ["tiny:latest"]
        chat = {"model": "tiny:latest", "messages": [{"role": "user", "content": "x"}]}
        whole = http.post(f"{up.url}/v1/chat/completions", json=chat).json()
        assert whole["choices"][0]["message"]["content"] == "Once upon a time"
        events = http.post(f"{up.url}/v1/chat/completions", json={**chat, "stream": True}).text.split("\n\n")
        assert events[-2] == "data: [DONE]"
        assert [json.loads(each[6:])["choices"][0]["delta"] for each in events[1:5]] == [
            {"content": word} for word in up.words
        ]
        up.events = [{"choices": []}, "not json"]
        scripted = http.post(f"{up.url}/v1/chat/completions", json={**chat, "stream": True}).text
        assert scripted == 'data: {"choices":[]}\n\ndata: not json\n\ndata: [DONE]\n\n'
        up.refuses = {"top_k": "Unrecognized request argument supplied: top_k"}
        refused = http.post(f"{up.url}/v1/chat/completions", json={**chat, "top_k": 1})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "top_k")
