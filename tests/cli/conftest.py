"""A stand-in for a server: answers what a test lays down, remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from remuda.cli import make_cli
from remuda.plugins import Plugins

DONE = {"model": "m", "created_at": "2026-01-02T03:04:05Z", "response": "", "done": True, "done_reason": "stop"}

PNG = b"\x89PNG\r\n\x1a\n" + bytes([0, 0, 0, 13]) + b"IHDR" + bytes([0, 0, 0, 8]) * 2
"""What is taken for an image, of 8 x 8 pixels, by its first bytes."""


class StandIn:
    """`replies` are the lines of the next answers, in order; the last one is used again.

    They are written as lines of /api/generate, and sent in the shape of the endpoint that was asked.
    """

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = []
        self.running: list[dict[str, Any]] = []
        self.queue: list[dict[str, Any]] | None = None
        """Who waits, as /api/ps says; None for a server that does not tell."""
        self.upstreams: list[dict[str, Any]] | None = None
        """What /api/upstreams says; None for a server without that route."""
        self.named: list[str] = []
        """The upstreams that each request but GET named; empty for none."""
        self.replies: list[list[dict[str, Any] | bytes]] = [[DONE]]
        self.status = 200
        self.scripts: dict[str, list[dict[str, Any] | bytes]] = {}
        """The lines that a path answers instead of `replies`."""
        self.shown: dict[str, Any] | None = {"capabilities": ["completion"]}
        """What /api/show answers; None is that there is no such model, until one is pulled."""
        self.no_show: tuple[int, bytes] | None = None
        """Status and body of a server without that route."""
        self.shows: list[dict[str, Any]] = []
        """What it was asked, which is not among `asked`."""
        self.blobs: dict[str, bytes] = {}
        """What /api/blobs has, by digest."""
        self.heads: list[tuple[str, str]] = []
        """Path and Content-Length of what was sent to it."""
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        """Where each of `asked` went."""
        self.gone = threading.Event()
        """Set when a client left in the middle of an answer."""
        self.gate = threading.Event()
        """What a line `b"GATE"` of an answer waits for."""
        self.url = ""

    def says(self, *texts: str, **last: Any) -> None:
        """The next answer: a line for each text, then the final one."""
        lines = [{**DONE, "response": text, "done": False, "done_reason": None} for text in texts]
        self.replies = [[*lines, {**DONE, **last}]]

    def next_reply(self) -> list[dict[str, Any] | bytes]:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Handler(BaseHTTPRequestHandler):
    stand_in: StandIn

    def do_HEAD(self) -> None:
        self.stand_in.named.append(self.headers.get("X-Remuda-Upstream", ""))
        known = self.path == "/" or self.path.removeprefix("/api/blobs/") in self.stand_in.blobs
        self._send(200 if known else 404, b"")

    def do_GET(self) -> None:
        if self.path == "/api/upstreams":
            known = self.stand_in.upstreams is not None
            reply: dict[str, Any] = {"upstreams": self.stand_in.upstreams} if known else {"error": "not found"}
            self._send(200 if known else 404, json.dumps(reply).encode())
            return
        found = {"/api/tags": self.stand_in.models, "/api/ps": self.stand_in.running}
        reply = {"models": found[self.path]}
        if self.path == "/api/ps" and self.stand_in.queue is not None:
            reply["queue"] = self.stand_in.queue
        self._send(200, json.dumps(reply).encode())

    def do_POST(self) -> None:
        self.stand_in.named.append(self.headers.get("X-Remuda-Upstream", ""))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/api/blobs/"):
            self.stand_in.heads.append((self.path, self.headers["Content-Length"]))
            self.stand_in.blobs[self.path.removeprefix("/api/blobs/")] = body
            self._send(201, b"")
            return
        if self.path == "/api/show":
            self._show(json.loads(body))
            return
        self.stand_in.paths.append(self.path)
        self.stand_in.asked.append(json.loads(body))
        self.send_response(self.stand_in.status)
        self.end_headers()
        try:
            self._answer()
        except ConnectionError:
            self.stand_in.gone.set()

    def do_DELETE(self) -> None:
        self.do_POST()

    def _show(self, asked: dict[str, Any]) -> None:
        self.stand_in.shows.append(asked)
        if self.stand_in.no_show:
            self._send(*self.stand_in.no_show)
            return
        shown = self.stand_in.shown
        reply = {"error": f"model '{asked['model']}' not found"} if shown is None else shown
        self._send(404 if shown is None else 200, json.dumps(reply).encode())

    def _answer(self) -> None:
        lines = self.stand_in.scripts.get(self.path)
        for line in self.stand_in.next_reply() if lines is None else lines:
            if line == b"GATE":
                assert self.stand_in.gate.wait(60)
                continue
            if line == b"WAIT":
                # A client that leaves ends the read; this is what a stopped answer looks like from here.
                self.rfile.read(1)
                self.stand_in.gone.set()
                return
            if isinstance(line, dict) and line.get("status") == "success":
                self.stand_in.shown = self.stand_in.shown or {}
            shaped = _as_chat(line) if isinstance(line, dict) and self.path == "/api/chat" else line
            self.wfile.write(shaped if isinstance(shaped, bytes) else json.dumps(shaped).encode() + b"\n")
            self.wfile.flush()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _as_chat(line: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in line.items() if key not in {"response", "thinking"}}
    said = {"content": line.get("response"), "thinking": line.get("thinking")}
    return {**rest, "message": {"role": "assistant", **{key: text for key, text in said.items() if text is not None}}}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Listens on a free port, and OLLAMA_HOST names it."""
    server = StandIn()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stand_in": server}))
    server.url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a port where nothing listens; OLLAMA_HOST names it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    url = f"http://127.0.0.1:{server.server_port}"
    server.server_close()
    monkeypatch.setenv("OLLAMA_HOST", url)
    return url


Remuda = Callable[..., Result]


@pytest.fixture
def plugins() -> Plugins:
    """No plugins but those that a test adds."""
    return Plugins()


@pytest.fixture
def remuda(plugins: Plugins) -> Remuda:
    """Runs the command line in this process: `remuda("list", "smol", input="piped")`."""

    def call(*args: str, **more: Any) -> Result:
        return CliRunner().invoke(make_cli(lambda: plugins), args, **more)

    return call
