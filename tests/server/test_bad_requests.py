"""Bad input: a clear 4xx or a closed connection, and a server that still answers."""

from __future__ import annotations

import json
import socket
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from remuda.server import exchange

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b" \n", 400),
        (b"{", 400),
        (b"nonsense", 400),
        (b"[]", 400),
        (b"1", 400),
        (b'"x"', 400),
        (b"null", 400),
        (b"\xff\xfe", 400),
        (b'{"model":"m","prompt":"\xff"}', 400),
        (b'{"model":"m","prompt":"\\ud800"}', 400),
        (b'{"model":1}', 400),
        (b'{"model":"m","prompt":["x"]}', 400),
        (b'{"model":"m","stream":"yes"}', 400),
        (b'{"model":"m","options":[]}', 400),
        (b'{"model":"m","options":{"temperature":NaN}}', 400),
        (b'{"model":"m","context":["a"]}', 400),
        (b"[" * 200_000, 400),
        (b'{"model":' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400),
        (b'{"options":' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}", 400),
        (b'{"model":"m","x":"' + b"y" * 300_000, 400),
        (b'{"model":"m","stream":false} trailing', 200),
        (b'\xef\xbb\xbf{"MODEL":"m","Stream":false,"model":"m","unknown":{}}', 200),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_json(rig: Any, body: bytes, status: int) -> None:
    reply = rig.http.post("/api/generate", content=body)
    assert reply.status_code == status
    if status != 200:
        assert isinstance(reply.json()["error"], str)
    rig.assert_alive()


def test_missing_body_says_so(rig: Any) -> None:
    reply = rig.http.post("/api/generate")
    assert (reply.status_code, reply.json()) == (400, {"error": "missing request body"})


def test_body_over_the_cap_by_content_length(rig: Any) -> None:
    reply = rig.http.post("/api/generate", content=b"x" * (100 * MB))
    assert reply.status_code == 413
    assert "67108864 bytes" in reply.json()["error"]
    assert reply.headers["connection"] == "close"
    assert rig.standin.requests == []
    rig.assert_alive()


def test_body_over_the_cap_in_chunks(rig: Any) -> None:
    reply = rig.http.post("/api/generate", content=(b"x" * MB for _ in range(100)))
    assert reply.status_code == 413
    assert rig.standin.requests == []
    rig.assert_alive()


def test_huge_content_length_is_refused_before_any_body(rig: Any) -> None:
    with rig.raw() as client:
        client.send(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n")
        assert client.until(b"}").startswith(b"HTTP/1.1 413")


def test_body_up_to_the_cap_is_read(make_rig: Any) -> None:
    rig = make_rig(max_body=4 * MB)
    prompt = "x" * (3 * MB)
    assert rig.http.post("/api/generate", json={"model": "m", "prompt": prompt, "stream": False}).status_code == 200
    assert rig.standin.requests[0].prompt == prompt
    assert rig.http.post("/api/generate", content=b" " * (4 * MB + 1)).status_code == 413


@pytest.mark.parametrize("path", ["/nothing", "/api/tags", "/api/me"])
def test_a_body_that_nobody_wants_does_not_reset_the_reply(rig: Any, path: str) -> None:
    body = b"x" * (20 * MB)
    assert rig.http.post(path, content=body).status_code in {404, 405, 501}
    with rig.raw() as client:
        client.post(body, path)
        assert client.until(b"}")[:10] in {b"HTTP/1.1 4", b"HTTP/1.1 5"}


def test_a_body_that_stops_coming(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_GAP", 0.2)
    status, data = rig.ask(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    assert status == 408
    assert b"stopped" in data
    rig.wait_idle()
    rig.assert_alive()


GET = b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="two Hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: not a host!\r\n\r\n", 403, id="Host with spaces"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n", 200, id="open bracket"),
        pytest.param(POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="CL and TE"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400, id="TE and CL"),
        pytest.param(POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, id="two lengths"),
        pytest.param(POST + b"Content-Length: 2, 3\r\n\r\n{}", 400, id="a list of lengths"),
        pytest.param(POST + b"Content-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(POST + b"Content-Length: +2\r\n\r\n{}", 400, id="signed length"),
        pytest.param(POST + b"Content-Length: 0x2\r\n\r\n{}", 400, id="hex length"),
        pytest.param(POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", 400, id="endless length"),
        pytest.param(POST + b"Transfer-Encoding: gzip\r\n\r\n", 501, id="other encoding"),
        pytest.param(POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 501, id="two encodings"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, id="no chunk size"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400, id="chunk without an end"),
        pytest.param(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="chunks in HTTP/1.0"),
        pytest.param(GET + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431, id="20 KB header"),
        pytest.param(GET + b"X: " + b"y" * 200_000, 431, id="200 KB header without an end"),
        pytest.param(GET + b"X\x00: y\r\n\r\n", 400, id="NUL in a name"),
        pytest.param(GET + b"X: y\x00\r\n\r\n", 400, id="NUL in a value"),
        pytest.param(GET + b"X : y\r\n\r\n", 400, id="space before the colon"),
        pytest.param(b"GET /\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="raw non-ASCII path"),
        pytest.param(b"GET ?x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="no path"),
        pytest.param(b"GET api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="relative path"),
        pytest.param(b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="asterisk"),
        pytest.param(b"GET http://evil/api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="other authority"),
        pytest.param(b"GET http://localhost:1/api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="other port"),
        pytest.param(b"GET http://a@localhost/api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="user"),
        pytest.param(b"GET http://[/api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="no URL"),
        pytest.param(b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="other scheme"),
        pytest.param(
            b"GET http://LOCALHOST:80/api/tags HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            200,
            id="absolute form of the same host",
        ),
        pytest.param(b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", 405, id="CONNECT"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, id="HTTP/2.0"),
        pytest.param(b"GET / HTTP/0.9\r\nHost: localhost\r\n\r\n", 505, id="HTTP/0.9"),
        pytest.param(b"GET /\r\n\r\n", 400, id="no version"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="TLS"),
        pytest.param(
            GET + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            400,
            id="websocket",
        ),
    ],
)
def test_malformed_http(rig: Any, request_bytes: bytes, status: int) -> None:
    got, data = rig.ask(request_bytes)
    assert got == status, data
    assert b"Traceback" not in data
    if status >= 400:
        head, _, body = data.partition(b"\r\n\r\n")
        assert isinstance(json.loads(body)["error"], str)
        assert b"x-request-id: " in head.lower()
        assert b"connection: close" in head.lower()
    rig.assert_alive()


def test_equal_lengths_are_one_length(rig: Any) -> None:
    status, _ = rig.ask(
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    )  # RFC 9110, 8.6, allows either
    assert status in {200, 400}
    rig.assert_alive()


def test_headers_that_never_end(make_rig: Any) -> None:
    rig = make_rig(idle_timeout=0.3)
    status, _ = rig.ask(b"GET / HTTP/1.1\r\nHost: local")
    assert status in {0, 408}
    rig.assert_alive()


def test_h2c_upgrade_is_ignored(rig: Any) -> None:
    status, data = rig.ask(
        GET + b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    )
    assert status == 200
    assert data.startswith(b"HTTP/1.1 200")


def test_http2_with_prior_knowledge(rig: Any) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration())
    connection.initiate_connection()
    headers = [(":method", "GET"), (":path", "/api/tags"), (":scheme", "http"), (":authority", "localhost")]
    connection.send_headers(1, headers, end_stream=True)
    status, data = rig.ask(connection.data_to_send())
    assert status in {0, 505}
    assert data == b"" or data.startswith(b"HTTP/1.1 505")
    rig.assert_alive()


def test_two_requests_in_one_packet_are_both_answered(rig: Any) -> None:
    last = GET + b"Connection: close\r\n\r\n"
    _, data = rig.ask(GET + b"\r\n" + last)
    assert data.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize("linger", [True, False])
def test_client_that_leaves_in_its_headers_or_body(rig: Any, linger: bool) -> None:
    for part in (b"GET / HT", POST, POST + b"Content-Length: 100\r\n\r\n{"):
        with rig.raw() as client:
            client.send(part)
            if not linger:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    rig.assert_alive()
    rig.wait_idle()


def test_errors_name_no_path(rig: Any) -> None:
    async def answer(*_: object) -> Any:
        raise OSError(2, "No such file", "/secret/place")

    rig.standin.answer = answer
    reply = rig.http.post("/api/generate", json={"model": "m"}, headers={"X-Request-Id": "one"})
    assert reply.status_code == 500
    assert json.loads(reply.content)["error"].endswith("request id one")
    assert b"secret" not in reply.content
