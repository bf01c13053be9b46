"""A server for the tests that speaks as Ollama does, or as OpenAI does, says what it is told to, and fails on command.

It runs in a thread of its own on a true socket. Its methods may be called from any thread; those that wait block, so on
an event loop they belong in `anyio.to_thread.run_sync`, or use `left` and `requested`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self, TypeVar

import anyio.to_thread
import upstream_ollama
import upstream_openai
from registry_hostile import self_signed
from upstream_http import NONE, Connection, Fault, Reply, Seen

__all__ = ["Fault", "Seen", "Upstream"]

T = TypeVar("T")
_PATIENCE = 10.0
_KINDS = {"ollama": upstream_ollama, "openai": upstream_openai}


class Upstream:
    """Use it as a context manager; its attributes may be changed at any time and hold for the next request."""

    def __init__(
        self,
        models: Sequence[str] = ("tiny:latest",),
        kind: str = "ollama",
        *,
        loaded: Sequence[str] = (),
        key: str = "",
        tls: Path | None = None,
        named: str = "127.0.0.1",
        clients: Path | None = None,
        newest: bool = True,
    ) -> None:
        """`key` must come as a bearer token. `tls`: a folder for a certificate that it signs itself, for the address
        `named`. `clients`: a file of certificates of which a client must show one. Without `newest`, TLS 1.2."""
        self.models, self.loaded, self.kind, self.key = list(models), list(loaded), kind, key
        self.words: list[str] = ["Once", " upon", " a", " time"]
        """What every answer says, one line or event each."""
        self.thinking: list[str] = []
        """What it says before that, where the request has it think."""
        self.tool_calls: list[dict[str, Any]] = []
        """`{"function": {"name": ..., "arguments": {...}}}`, which an answer to a request with tools ends with."""
        self.delay = 0.0
        """Seconds before each word; a reply in one piece takes as long as all of them."""
        self.events: list[dict[str, Any] | str | bytes] | None = None
        """OpenAI: instead of the usual data of a stream. Bytes are sent as they are, a string as one `data:` line;
        `[DONE]` follows unless the last are bytes."""
        self.whole: dict[str, Any] | None = None
        """OpenAI: instead of the usual reply to a request that does not stream."""
        self.owned_by = "library"
        self.refuses: dict[str, str] = {}
        """Fields of a request that get a 400, and what that says."""
        self.extra: dict[str, tuple[int, Any]] = {}
        """More routes: `{"GET /props": (200, {...})}`, which come before the usual ones."""
        self.headers: dict[str, str] = {}
        """Sent with every reply."""
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Seen] = []
        self.running = 0
        """Requests that it is answering now."""
        self.gone_away = 0
        """Requests whose client left before the end of the reply."""
        self.stale_turns = 0
        """So many next requests on connections kept from earlier ones find them closed, without a reply."""
        self.connections = 0
        """Connections accepted so far."""
        self._failures: list[BaseException] = []
        self._faults: list[tuple[str, Fault, bool]] = []
        self._changed = threading.Condition()
        self._open: set[Connection] = set()
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self.certificate: Path | None = None
        self._tls = self._context(tls, named, clients) if tls is not None else None
        if self._tls is not None and not newest:
            self._tls.maximum_version = ssl.TLSVersion.TLSv1_2
        self._bound = _bound(0)
        self.port: int = self._bound.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def _context(self, folder: Path, named: str, clients: Path | None) -> ssl.SSLContext:
        self.certificate, key = self_signed(named, folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    # --- its life

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._odd)
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"upstream-{self.port}", daemon=True)
        self._thread.start()
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        self._run(self._cancelled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()
        self._bound.close()
        if self._failures and kind is None:
            raise self._failures[0]

    def start(self) -> None:
        """Accept connections, at the same address as ever."""
        if self._server is None:
            self._run(self._started())

    def stop(self) -> None:
        """As if it had died: connections are closed where they stand, and new ones refused."""
        if self._server is not None:
            self._run(self._stopped())

    async def _started(self) -> None:
        self._server = await self._loop.create_server(lambda: Connection(self), sock=self._bound, ssl=self._tls)

    async def _stopped(self) -> None:
        server, self._server = self._server, None
        assert server is not None
        server.close()
        for connection in list(self._open):
            connection.abort()
        while self._open:
            await asyncio.sleep(0)
        self._bound = _bound(self.port)  # keeps the port for `start`, and refuses whoever comes until then

    async def _cancelled(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)
        await self._loop.shutdown_asyncgens()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def _odd(self, _: object, context: dict[str, Any]) -> None:
        """A handshake that failed is the client's matter; anything else is a mistake of the tests."""
        error = context.get("exception")
        if error is not None and not isinstance(error, OSError):
            self._failures.append(error)

    # --- what tests say and ask

    def fail(self, kind: str, *faults: Fault, always: bool = False) -> None:
        """`kind` is a method and a path, `*` allowed; each fault is for one request, or with `always` for all."""
        self._faults += [(kind, fault, always) for fault in faults]

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def close_idle(self) -> None:
        """Close all connections on which there is no request, as servers do after a while."""
        self._loop.call_soon_threadsafe(lambda: [each.abort() for each in self._open if each.work is None])

    def count(self, kind: str = "*") -> int:
        return sum(fnmatchcase(seen.kind, kind) for seen in list(self.requests))

    def await_request(self, kind: str = "*", n: int = 1, timeout: float = _PATIENCE) -> Seen:
        """The nth request of that kind, once it is there with its body."""
        self._await(lambda: self.count(kind) >= n, f"{n} requests {kind}", timeout)
        return [seen for seen in self.requests if fnmatchcase(seen.kind, kind)][n - 1]

    def await_left(self, n: int = 1, timeout: float = _PATIENCE) -> None:
        """Until the clients of n requests have left before the end."""
        self._await(lambda: self.gone_away >= n, f"{n} clients that leave", timeout)

    def await_running(self, n: int, timeout: float = _PATIENCE) -> None:
        """Until exactly so many requests are being answered."""
        self._await(lambda: self.running == n, f"{n} running requests", timeout)

    async def requested(self, kind: str = "*", n: int = 1, timeout: float = _PATIENCE) -> Seen:
        return await anyio.to_thread.run_sync(self.await_request, kind, n, timeout)

    async def left(self, n: int = 1, timeout: float = _PATIENCE) -> None:
        await anyio.to_thread.run_sync(self.await_left, n, timeout)

    def _await(self, true: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(true, timeout):
                raise AssertionError(
                    f"no {what} within {timeout:g} s; {self.running} running, {self.gone_away} left, "
                    f"requests: {[seen.kind for seen in self.requests]}"
                )

    # --- upstream_http.House, in the thread of the server

    def number(self, connection: Connection) -> int:
        self._open.add(connection)
        self.connections = next(self._numbers)
        return self.connections

    def gone(self, connection: Connection) -> None:
        self._open.discard(connection)

    def stale(self, seen: Seen) -> bool:
        if seen.turn == 0 or self.stale_turns == 0:
            return False
        self.stale_turns -= 1
        return True

    def saw(self, seen: Seen) -> None:
        with self._changed:
            self.requests.append(seen)
            self.running += 1
            self._changed.notify_all()

    def fault(self, seen: Seen) -> Fault:
        for each in self._faults:
            kind, fault, always = each
            if fnmatchcase(seen.kind, kind):
                if not always:
                    self._faults.remove(each)
                return fault
        return NONE

    def error_line(self, text: str) -> bytes:
        return _KINDS[self.kind].error_line(text)

    def ended(self, *, left: bool, failure: BaseException | None) -> None:
        with self._changed:
            self.running -= 1
            self.gone_away += left
            if failure is not None:
                self._failures.append(failure)
            self._changed.notify_all()

    async def answer(self, seen: Seen) -> Reply:
        reply = await _KINDS[self.kind].answer(self, seen)
        reply.headers |= self.headers
        return reply


def _bound(port: int) -> socket.socket:
    with contextlib.ExitStack() as undo:
        bound = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        undo.pop_all()
    return bound
