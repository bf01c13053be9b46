"""Routes, methods, content types: what a well-behaved client meets."""

from __future__ import annotations

import json
import logging
import socket
from importlib.metadata import version
from typing import Any

import pytest

JSON = "application/json; charset=utf-8"


def test_root(rig: Any) -> None:
    reply = rig.http.get("/")
    assert (reply.status_code, reply.text) == (200, "Ollama is running")
    assert reply.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_head_is_a_get_without_its_body(rig: Any, path: str) -> None:
    got, head = rig.http.get(path), rig.http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/version", {"version": version("remuda")}), ("/api/tags", {"models": []}), ("/api/ps", {"models": []})],
)
def test_objects_have_no_newline(rig: Any, path: str, body: object) -> None:
    reply = rig.http.get(path)
    assert (reply.status_code, reply.headers["content-type"], reply.json()) == (200, JSON, body)
    assert not reply.content.endswith(b"\n")
    assert "server" not in reply.headers


@pytest.mark.parametrize(
    "path", ["/nothing", "/api", "/api/generate/x", "//example.com/", "/api//tags", "/%ff", "/static/x"]
)
def test_unknown_route(rig: Any, path: str) -> None:
    _, data = rig.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert data.startswith(b"HTTP/1.1 404")
    assert JSON.encode() in data
    assert data.endswith(b'\r\n\r\n{"error":"not found"}')


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/generate", "POST"),
        ("HEAD", "/api/generate", "POST"),
        ("HEAD", "/api/ps", "GET"),
        ("POST", "/api/tags", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
        ("TRACE", "/api/tags", "GET, HEAD"),
        ("PATCH", "/api/generate", "POST"),
    ],
)
def test_wrong_method(rig: Any, method: str, path: str, allow: str) -> None:
    reply = rig.http.request(method, path)
    assert reply.status_code == 405
    assert sorted(reply.headers["allow"].split(", ")) == allow.split(", ")
    if method != "HEAD":
        assert (reply.headers["content-type"], reply.json()) == (JSON, {"error": "method not allowed"})


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("GET", "/api/tags/", 301, "/api/tags"),
        ("GET", "/api/tags/?a=1", 301, "/api/tags?a=1"),
        ("POST", "/api/generate/", 307, "/api/generate"),
        ("GET", "/nothing/", 404, None),
    ],
)
def test_a_slash_too_many_redirects(rig: Any, method: str, path: str, status: int, location: str | None) -> None:
    reply = rig.http.request(method, path)
    assert (reply.status_code, reply.headers.get("location")) == (status, location)


@pytest.mark.parametrize("path", ["/api/me", "/api/signout", "/api/user/keys/x", "/api/experimental/web_search"])
def test_cloud_routes_are_not_offered(rig: Any, path: str) -> None:
    reply = rig.http.post(path)
    assert reply.status_code == 501
    assert "cloud" in reply.json()["error"]


def test_stream(rig: Any) -> None:
    with rig.http.stream("POST", "/api/generate", json={"model": "m", "prompt": "x"}) as reply:
        lines = [json.loads(text) for text in reply.iter_lines()]
    assert [each["response"] for each in lines] == ["a", " b", " c", ""]
    assert [each["done"] for each in lines] == [False, False, False, True]
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.headers["transfer-encoding"] == "chunked"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["cache-control"] == "no-transform"


def test_single_object(rig: Any) -> None:
    reply = rig.http.post("/api/generate", json={"model": "m", "prompt": "x", "stream": False})
    assert (reply.status_code, reply.headers["content-type"]) == (200, JSON)
    assert reply.json()["done"]
    assert not reply.content.endswith(b"\n")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", "x"])
def test_content_type_is_ignored(rig: Any, kind: str) -> None:
    reply = rig.http.post("/api/generate", content=b'{"model":"m","stream":false}', headers={"Content-Type": kind})
    assert reply.status_code == 200


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(rig: Any) -> None:
    body = b'{"model":"m","prompt":"x"}'
    status, data = rig.ask(b"POST /api/generate HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert status == 200
    assert data.endswith(b'"done":true,"done_reason":"stop"}\n')


@pytest.mark.parametrize("sane", ["abc", "a-b_c.D9", "x" * 128])
def test_request_id_is_echoed(rig: Any, sane: str) -> None:
    assert rig.http.get("/", headers={"X-Request-Id": sane}).headers["x-request-id"] == sane


@pytest.mark.parametrize("path", ["/", "/nothing", "/api/generate", "/api/me"])
@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "é", "a\tb"])
def test_request_id_is_made(rig: Any, path: str, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    made = rig.http.get(path, headers=headers).headers["x-request-id"]
    assert made.isalnum()
    assert made != rig.http.get(path, headers=headers).headers["x-request-id"]


def test_request_id_reaches_pipeline_and_log(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    from remuda.server import RequestIdFilter

    caplog.handler.addFilter(RequestIdFilter())
    seen: list[str] = []

    async def answer(_request: object, request_id: str) -> Any:
        seen.append(request_id)
        logging.getLogger("remuda.test").warning("here")
        return rig.line("x", done=True)

    rig.standin.answer = answer
    rig.http.post("/api/generate", json={"model": "m"}, headers={"X-Request-Id": "mine"})
    assert seen == ["mine"]
    assert [record.request_id for record in caplog.records if record.message == "here"] == ["mine"]


def test_connection_that_the_client_ended_does_not_stay_until_the_idle_timeout(rig: Any) -> None:
    with rig.raw() as client:
        client.send(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n").until(b"}")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b""  # times out long before 30 s


def test_keep_alive_connection_serves_many(rig: Any) -> None:
    with rig.raw() as client:
        for _ in range(5):
            client.send(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.until(b"}").startswith(b"HTTP/1.1 200")
