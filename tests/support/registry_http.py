"""HTTP/1.1 with faults, for the registry of the tests (`registry`): one thread for each connection."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from registry_data import Fault, Seen

if TYPE_CHECKING:
    from registry import Registry

__all__ = ["PIECE", "Cut", "FaultyHandler", "FaultyServer"]

PIECE = 64 * 1024
"""Bytes that are read or written at once."""


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self, registry: Registry, host: str, context: ssl.SSLContext | None, handler: type[FaultyHandler]
    ) -> None:
        self.registry = registry
        self._context = context
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__((host, 0), handler)

    def server_bind(self) -> None:
        # The name that HTTPServer looks up for the address is not needed, and a slow resolver is.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().close_request(request)

    def drop_connections(self) -> None:
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.registry.errors.append(error)


class Cut(Exception):
    """The connection is to be closed at once."""


class FaultyHandler(BaseHTTPRequestHandler):
    """`answer` is the subclass's: it calls `pieces` and `reply`, or `head` and `send`."""

    protocol_version = "HTTP/1.1"
    server: FaultyServer
    seen: Seen
    fault: Fault

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._do
        raise AttributeError(name)

    def log_message(self, *args: Any) -> None:
        pass

    @property
    def registry(self) -> Registry:
        return self.server.registry

    def word(self, path: str) -> tuple[str, dict[str, str]]:
        """What the path is, and its parts."""
        raise NotImplementedError

    def answer(self, word: str, parts: dict[str, str]) -> None:
        raise NotImplementedError

    def _do(self) -> None:
        url = urlsplit(self.path)
        word, parts = self.word(url.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.seen = Seen(self.command, f"{self.command} {word}", url.path, query, headers)
        self.fault = self.registry.arrived(self.seen)
        self._body_left = int(headers.get("content-length", 0))
        self._chunked = "chunked" in headers.get("transfer-encoding", "")
        try:
            if self.fault.cut == -1:
                raise Cut
            if self.fault.status or self.fault.redirect:
                self._fail()
            else:
                self.answer(word, parts)
        except Cut:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.close_connection = True
        finally:
            self.registry.ended(self.seen)

    # --- requests' bodies

    def pieces(self) -> Iterator[bytes]:
        """The request's body, with the fault in it."""
        raw = self._raw_pieces()
        for piece in self._cut_short(raw) if self._faulty_body else raw:
            self.seen.received += len(piece)
            yield piece

    def _raw_pieces(self) -> Iterator[bytes]:
        if not self._chunked:
            while self._body_left:
                piece = self.rfile.read1(min(self._body_left, PIECE))
                if not piece:
                    raise Cut
                self._body_left -= len(piece)
                yield piece
            return
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            data = self.rfile.read(size)
            if len(data) < size:
                raise Cut
            self.rfile.readline()
            yield data
        self.rfile.readline()
        self._chunked = False

    @property
    def _faulty_body(self) -> bool:
        return self.command in {"PATCH", "PUT"}

    def _cut_short(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Cut, stalled or slowed down as the fault says."""
        fault, done = self.fault, 0
        self._stop(0)
        for piece in pieces:
            at = 0
            while at < len(piece):
                stops = [stop - done for stop in (fault.cut, fault.stall) if stop is not None and stop > done]
                step = min([len(piece) - at, *stops, *([1024] if fault.trickle else [])])
                yield piece[at : at + step]
                at += step
                done += step
                self._stop(done)
                if fault.trickle and self.registry.closing.wait(fault.trickle):
                    raise Cut

    def _stop(self, done: int) -> None:
        if done == self.fault.stall:
            until = self.fault.until
            while not self._client_left() and not self.registry.closing.is_set():
                if until is not None and until.wait(0.01):
                    return
                if until is None:
                    self.registry.closing.wait(0.01)
            raise Cut
        if done == self.fault.cut:
            raise Cut

    def _client_left(self) -> bool:
        poll = select.poll()
        # There may still be something to read from a client that left; where the system tells it apart, use that.
        poll.register(self.connection, getattr(select, "POLLRDHUP", select.POLLHUP))
        return bool(poll.poll(0))

    def read(self) -> bytes:
        return b"".join(self.pieces())

    # --- replies

    def reply(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, *, drain: bool = True
    ) -> None:
        """`drain`: read the rest of the request's body first."""
        fault = self.fault
        if drain and not self.registry.early:
            for _ in self.pieces():
                pass
        body = body if fault.body is None else fault.body
        if fault.corrupt:
            body = bytes(byte ^ 0x55 for byte in body)
        self.head(status, len(body), headers)
        if fault.endless:
            self._send_for_ever()
        elif self.command != "HEAD":
            self.send(iter([body]))
        self._linger()

    def head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        if self.fault.lost:
            raise Cut
        self.seen.status = status
        self.send_response(status)
        sent = {"Content-Type": "application/json"} | (headers or {})
        sent |= (
            {"Transfer-Encoding": "chunked"}
            if self.fault.endless
            else {"Content-Length": str(length + self.fault.extra)}
        )
        for name, value in (sent | dict(self.fault.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def send(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces if self._faulty_body else self._cut_short(pieces):
            self._write(piece)
        if self.fault.extra:
            raise Cut

    def _write(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            self.wfile.write(data[at : at + PIECE])
            self.wfile.flush()
            self.seen.sent += len(data[at : at + PIECE])

    def _send_for_ever(self) -> None:
        piece = f"{PIECE:x}\r\n".encode() + bytes(PIECE) + b"\r\n"
        while not self.registry.closing.is_set():
            self.wfile.write(piece)
            self.seen.sent += PIECE
        raise Cut

    def _linger(self) -> None:
        """After an early answer: nothing but the end may follow, and closing at once would take the answer away from
        a client that still sends."""
        if not self._body_left and not self._chunked:
            return
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            while self.connection.recv(PIECE):
                pass

    def _fail(self) -> None:
        fault = self.fault
        where = {"Location": fault.redirect.format(path=self.path)} if fault.redirect else {}
        body = json.dumps({"errors": [{"code": "FAULT", "message": "told to fail"}]}).encode()
        self.reply(fault.status or 307, body if fault.body is None else fault.body, where, drain=not fault.early)

    def refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.reply(status, json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode(), headers)
