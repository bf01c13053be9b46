"""Who may talk to the server: `Host` and `Origin` (Ollama API, "Environment, host binding, CORS")."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from remuda.config import Config, ServerConfig, is_loopback
from remuda.errors import ConfigError
from remuda.plugins import Plugins
from remuda.server import create_app
from remuda.server.guard import Guard, split_host

NAME = socket.gethostname()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 0),
        ("LocalHost:11434", 0),
        ("127.0.0.1:11434", 0),
        ("127.9.9.9", 0),
        ("[::1]", 0),
        ("[::1]:11434", 0),
        ("0.0.0.0:1", 0),
        ("10.1.2.3", 0),
        ("192.168.0.9:80", 0),
        ("[::ffff:127.0.0.1]:80", 0),
        ("", 0),
        (NAME, 0),
        (NAME.upper() + ":11434", 0),
        ("a.localhost", 0),
        ("b.local:80", 0),
        ("c.INTERNAL", 0),
        ("evil.example", 403),
        ("evil.example:11434", 403),
        ("localhost.evil.example", 403),
        ("evillocalhost", 403),
        ("8.8.8.8", 403),
        ("[2001:4860:4860::8888]", 403),
        ("127.0.0.1.evil.example", 403),
        ("2130706433", 403),
        ("localhost@evil.example", 403),
    ],
)
def test_host(host: str, status: int) -> None:
    assert Guard((), loopback=True).judge("GET", host, None).status == status
    assert Guard((), loopback=False).judge("GET", host, None).status == 0


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 0),
        ("https://localhost:3000", 0),
        ("http://127.0.0.1:8080", 0),
        ("https://0.0.0.0", 0),
        ("app://x", 0),
        ("file://", 0),
        ("tauri://localhost", 0),
        ("vscode-webview://abc", 0),
        ("vscode-file://vscode-app", 0),
        ("http://allowed.example", 0),
        ("HTTP://Allowed.Example", 0),
        ("https://a.wild.example", 0),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://allowed.example.evil", 403),
        ("https://allowed.example", 403),
        ("https://wild.example", 403),
        ("null", 403),
        ("", 403),
        ("chrome-extension://abc", 403),
    ],
)
def test_origin(origin: str, status: int) -> None:
    guard = Guard(("http://allowed.example", "https://*.wild.example"), loopback=True)
    for method in ("GET", "POST", "DELETE"):
        verdict = guard.judge(method, "localhost:11434", origin)
        assert verdict.status == status
        expected = {} if status else {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        assert verdict.headers == expected
    assert guard.judge("OPTIONS", "localhost:11434", origin).status == (status or 204)


def test_same_origin_is_no_cross_origin_request() -> None:
    guard = Guard((), loopback=False)
    assert guard.judge("POST", "box.example:1", "http://box.example:1").headers == {}
    assert guard.judge("POST", "box.example:1", "http://box.example:2").status == 403


def test_rebound_name_passes_the_origin_and_stops_at_the_host() -> None:
    assert Guard((), loopback=True).judge("POST", "evil.example", "http://evil.example").status == 403


def test_preflight() -> None:
    headers = Guard((), loopback=True).judge("OPTIONS", "localhost", "http://localhost:3000").headers
    assert headers["Access-Control-Allow-Methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert headers["Access-Control-Max-Age"] == "43200"
    assert "Authorization,Content-Type,User-Agent" in headers["Access-Control-Allow-Headers"]
    assert "x-stainless-runtime-version" in headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in headers


def test_everybody() -> None:
    verdict = Guard(("*",), loopback=True).judge("GET", "localhost", "http://any.example")
    assert (verdict.status, verdict.headers) == (0, {"Access-Control-Allow-Origin": "*"})


def test_options_without_origin() -> None:
    guard = Guard((), loopback=True)
    assert guard.judge("OPTIONS", "localhost", None).status == 204
    assert guard.judge("OPTIONS", "127.0.0.1", None).status == 0
    assert guard.judge("OPTIONS", "evil.example", None).status == 403


@pytest.mark.parametrize("entry", ["example.com", "", " http://a", "http://*.*", "ftp://x"])
def test_bad_entries_are_named(entry: str) -> None:
    config = Config(server=ServerConfig(origins=(entry,)))
    with pytest.raises(ConfigError, match="OLLAMA_ORIGINS"):
        create_app(config, Plugins())


def test_split_host() -> None:
    assert split_host("[::1]:80") == ("::1", "80")
    assert split_host("a:80") == ("a", "80")
    assert split_host("a") == ("a", "")


def test_is_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "LOCALHOST", "::ffff:127.0.0.1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "box"))


def test_refused_over_http(rig: Any) -> None:
    reply = rig.http.get("/api/tags", headers={"Host": "evil.example:11434"})
    assert reply.status_code == 403
    assert "models" not in reply.text
    reply = rig.http.post("/api/generate", json={"model": "m"}, headers={"Origin": "http://evil.example"})
    assert reply.status_code == 403
    assert "OLLAMA_ORIGINS" in reply.json()["error"]
    assert "access-control-allow-origin" not in reply.headers
    assert rig.standin.requests == []


@pytest.mark.parametrize("path", ["/api/tags", "/nothing", "/api/generate"])
def test_allowed_over_http(rig: Any, path: str) -> None:
    reply = rig.http.get(path, headers={"Origin": "http://localhost:3000"})
    assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert reply.headers["vary"] == "Origin"


def test_preflight_over_http(rig: Any) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    reply = rig.http.options("/api/generate", headers=headers)
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["access-control-max-age"] == "43200"
    assert reply.headers["x-request-id"]
    assert rig.http.options("/api/generate").status_code == 405
    assert rig.http.options("/api/generate", headers={"Host": "localhost"}).status_code == 204
