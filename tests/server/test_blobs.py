"""Uploads of blobs over real sockets: what is stored, what is refused, and what is left of an upload that was cut."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from remuda import failpoints
from remuda.model import Digest
from remuda.model.store import Incoming
from remuda.server import exchange

MB = 1024 * 1024
DATA = b"weights" * 1000


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def files_under(rig: Any) -> dict[str, bytes]:
    """Every file of the store but those that it keeps for itself."""
    root: Path = rig.standin.store.root
    return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.parent != root}


def blob_name(data: bytes) -> str:
    return digest_of(data).replace(":", "-")


def head(digest: str, *headers: str) -> bytes:
    lines = (f"POST /api/blobs/{digest} HTTP/1.1", "Host: localhost", *headers, "", "")
    return "\r\n".join(lines).encode()


def test_a_blob_is_created_once(rig: Any) -> None:
    url = f"/api/blobs/{digest_of(DATA)}"
    missing = rig.http.head(url)
    assert (missing.status_code, missing.content) == (404, b"")
    created = rig.http.post(url, content=DATA)
    assert (created.status_code, created.content) == (201, b"")
    assert "content-type" not in created.headers
    assert created.headers["x-request-id"]
    assert files_under(rig) == {blob_name(DATA): DATA}
    there = rig.http.head(url)
    assert (there.status_code, there.content) == (200, b"")
    again = rig.http.post(url, content=DATA)
    assert (again.status_code, again.content) == (200, b"")
    assert "content-type" not in again.headers


def test_one_connection_does_it_all(rig: Any) -> None:
    """A body is read to its end whatever becomes of it, so that the next request is understood."""
    url = f"/api/blobs/{digest_of(DATA)}"
    steps = [("HEAD", 404), ("POST", 201), ("HEAD", 200), ("POST", 200), ("HEAD", 200)]
    with rig.raw() as client:
        ports: set[int] = set()
        for method, status in steps:
            body = DATA if method == "POST" else b""
            client.send(f"{method} {url} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            reply = client.send(body).until(b"\r\n\r\n")
            assert int(reply.split(b" ", 2)[1]) == status, reply
            assert b"connection: close" not in reply.lower()
            ports.add(client.sock.getsockname()[1])
        assert len(ports) == 1


@pytest.mark.parametrize("written", ["sha256:{}", "sha256-{}", "sha256%3A{}"])
@pytest.mark.parametrize("upper", [False, True])
def test_spellings_of_one_digest(rig: Any, written: str, upper: bool) -> None:
    hex = hashlib.sha256(DATA).hexdigest()
    url = "/api/blobs/" + written.format(hex.upper() if upper else hex)
    assert rig.http.post(url, content=DATA).status_code == 201
    assert rig.http.head(f"/api/blobs/{digest_of(DATA)}").status_code == 200


HEX = "a" * 64
BAD = [
    *("x", "sha256:", "sha256", f"sha256:{HEX[1:]}", f"sha256:{HEX}a", f"SHA256:{HEX}", f"md5:{HEX}"),
    *("..", "%2e%2e", "..%2f..%2fx", "sha256:../../x", "../../../etc/passwd", f"sha256:{HEX}/", f"sha256:{HEX}%00"),
    *(f"sha256:{HEX[1:]}g", f"sha256:{HEX}%0a", f"sha256:{HEX}/../../x", f"%20sha256:{HEX}", "%ff"),
    "sha256:" + "%2e%2e%2f" * 20,
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("method", ["POST", "HEAD", "GET"])
def test_what_is_no_digest_touches_nothing(rig: Any, tmp_path: Path, method: str, bad: str) -> None:
    body = b"x" * 100 if method == "POST" else b""
    request = f"{method} /api/blobs/{bad} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    status, data = rig.ask(request.encode() + body)
    assert status == 400
    assert data.endswith(b'{"error":"invalid digest format"}') or method == "HEAD"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["/api/blobs", "/api/blobs/", "/api/blob/x", f"/api/blobs%2fsha256:{HEX}x"])
def test_other_paths_are_other_routes(rig: Any, path: str) -> None:
    assert rig.http.post(path).status_code in {307, 400, 404}
    assert not rig.standin.store.root.exists()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(rig: Any, method: str) -> None:
    reply = rig.http.request(method, f"/api/blobs/{digest_of(DATA)}")
    assert (reply.status_code, reply.json()) == (405, {"error": "method not allowed"})
    assert sorted(reply.headers["allow"].split(", ")) == ["HEAD", "POST"]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 131073, 5 * MB])
def test_sizes_in_one_piece_and_in_chunks(rig: Any, size: int) -> None:
    data = os.urandom(size)
    url = f"/api/blobs/{digest_of(data)}"
    assert rig.http.post(url, content=data).status_code == 201
    pieces = (data[at : at + 100_000] for at in range(0, size, 100_000))
    assert rig.http.post(url, content=pieces).status_code == 200
    other = data + b"!"
    pieces = (other[at : at + 9999] for at in range(0, len(other), 9999))
    assert rig.http.post(f"/api/blobs/{digest_of(other)}", content=pieces).status_code == 201
    assert files_under(rig) == {blob_name(data): data, blob_name(other): other}


def test_only_the_disk_bounds_a_blob(make_rig: Any) -> None:
    rig = make_rig(max_body=1024)
    data = os.urandom(MB)
    assert rig.http.post(f"/api/blobs/{digest_of(data)}", content=data).status_code == 201
    assert rig.http.post("/api/generate", content=data).status_code == 413


def test_wrong_bytes_are_refused_and_nothing_is_left(rig: Any) -> None:
    wanted, got = digest_of(DATA), digest_of(b"other")
    reply = rig.http.post(f"/api/blobs/{wanted}", content=b"other")
    assert reply.status_code == 400
    assert reply.json() == {"error": f'digest mismatch, expected "{wanted}", got "{got}"'}
    assert files_under(rig) == {}
    assert rig.http.head(f"/api/blobs/{wanted}").status_code == 404
    rig.assert_alive()


def cut_by(client: Any, how: str) -> None:
    if how == "half-close":
        client.sock.shutdown(socket.SHUT_WR)
    elif how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if how != "half-close":
        client.sock.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("kind", ["Content-Length: 9999999", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("sent", [0, 10, 500_000])
def test_a_cut_upload_leaves_nothing(rig: Any, how: str, kind: str, sent: int) -> None:
    data = os.urandom(sent)
    with rig.raw() as client:
        client.send(head(digest_of(data), kind))
        if sent:
            client.send(b"%x\r\n" % sent + data if "chunked" in kind else data)
        cut_by(client, how)
        rig.wait_idle()
    assert files_under(rig) == {}
    rig.assert_alive()


def test_an_upload_that_stops_coming_is_given_up(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_GAP", 0.2)
    status, data = rig.ask(head(digest_of(DATA), f"Content-Length: {len(DATA)}") + DATA[:100])
    assert status == 408
    assert b"stopped" in data
    rig.wait_idle()
    assert files_under(rig) == {}


def test_two_uploads_of_one_blob(rig: Any) -> None:
    data = os.urandom(3 * MB)
    barrier = threading.Barrier(4)

    def upload() -> int:
        def pieces() -> Iterator[bytes]:
            yield data[:MB]
            barrier.wait(10)  # all are at it by now
            yield data[MB:]

        with httpx.Client(base_url=rig.server.url, timeout=10) as http:
            return http.post(f"/api/blobs/{digest_of(data)}", content=pieces()).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(each.result() for each in [pool.submit(upload) for _ in range(4)])
    assert statuses == [200, 200, 200, 201]
    assert files_under(rig) == {blob_name(data): data}


class Gate:
    """Holds every write of a blob, as a slow disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        write = Incoming.write

        def held(incoming: Incoming, data: bytes) -> None:
            self.reached.set()
            assert self.open.wait(20)
            write(incoming, data)

        monkeypatch.setattr(Incoming, "write", held)


def test_a_slow_disk_holds_back_the_client(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    data = os.urandom(30 * MB)
    sent = 0
    stuck, done = threading.Event(), threading.Event()
    with rig.raw() as client:
        client.send(head(digest_of(data), f"Content-Length: {len(data)}"))
        client.sock.settimeout(1)

        def send() -> None:
            nonlocal sent
            while sent < len(data):
                try:
                    sent += client.sock.send(data[sent : sent + 65536])
                except TimeoutError:
                    stuck.set()
            done.set()

        thread = threading.Thread(target=send)
        thread.start()
        assert gate.reached.wait(10)
        assert stuck.wait(10)
        assert sent < 12 * MB  # the kernel's buffers on both sides, and a few pieces
        assert rig.http.get("/api/version").status_code == 200
        gate.open.set()
        assert done.wait(20)
        thread.join()
        client.sock.settimeout(10)
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 201")
    assert files_under(rig) == {blob_name(data): data}


def test_a_client_that_leaves_a_slow_disk(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that writes is through before its file is taken away."""
    gate = Gate(monkeypatch)
    with rig.raw() as client:
        client.send(head(digest_of(DATA), f"Content-Length: {10 * len(DATA)}") + DATA)
        assert gate.reached.wait(10)
    gate.open.set()
    rig.wait_idle()
    assert files_under(rig) == {}


def test_the_servers_end_ends_an_upload(make_rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig(drain_timeout=0.1)
    gate = Gate(monkeypatch)
    gate.open.set()
    with rig.raw() as client:
        client.send(head(digest_of(DATA), f"Content-Length: {len(DATA)}") + DATA[:100])
        assert gate.reached.wait(10)
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(rig.server.stop)
            assert client.until(b"}").startswith(b"HTTP/1.1 503")
            client.sock.close()
            stopping.result()
    assert files_under(rig) == {}


@pytest.mark.parametrize("place", ["blob.write", "blob.fsync", "blob.rename"])
def test_a_full_disk_says_so_without_a_path(rig: Any, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    data = os.urandom(5 * MB)
    with monkeypatch.context() as patch:
        patch.setitem(failpoints._ACTIONS, place, "enospc")
        reply = rig.http.post(f"/api/blobs/{digest_of(data)}", content=data)
    assert reply.status_code == 500
    assert "the disk is full" in reply.json()["error"]
    assert not re.search(r"/\w", reply.json()["error"])
    rig.wait_idle()
    assert files_under(rig) == {}
    assert rig.http.post(f"/api/blobs/{digest_of(data)}", content=data).status_code == 201


def test_a_folder_that_may_not_be_written_to_says_so_without_a_path(rig: Any) -> None:
    rig.standin.store.root.parent.joinpath("models").write_bytes(b"a file where the folder should be")
    reply = rig.http.post(f"/api/blobs/{digest_of(DATA)}", content=DATA)
    assert reply.status_code == 500
    assert "the models' folder" in reply.json()["error"]
    assert not re.search(r"/\w", reply.json()["error"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Host: evil.example"], 403),
        (["Host: localhost", "Origin: http://evil.example"], 403),
    ],
)
def test_the_same_guards_as_everywhere(rig: Any, headers: list[str], status: int) -> None:
    lines = [f"POST /api/blobs/{digest_of(DATA)} HTTP/1.1", *headers, f"Content-Length: {len(DATA)}", "", ""]
    got, data = rig.ask("\r\n".join(lines).encode() + DATA)
    assert got == status
    assert b"x-request-id" in data.lower()
    assert not rig.standin.store.root.exists()


def test_a_blob_that_is_there_is_not_read_again(rig: Any) -> None:
    """The reply comes at once; what is sent nevertheless is dropped, however much it is."""
    rig.http.post(f"/api/blobs/{digest_of(DATA)}", content=DATA)
    with rig.raw() as client:
        client.send(head(digest_of(DATA), f"Content-Length: {40 * MB}"))
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        client.send(b"x" * (40 * MB))
        client.send(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.until(b"}").startswith(b"HTTP/1.1 200")
    assert files_under(rig) == {blob_name(DATA): DATA}


SERVER = """
import sys, time
from pathlib import Path
from typing import cast
from remuda.config import Config, ServerConfig
from remuda.model.store import Incoming, Store
from remuda.pipeline import Pipeline
from remuda.plugins import Plugins
from remuda.server import create_app, run_server

class StandIn:
    front = None
    store = Store(Path(sys.argv[1]))
    def start(self): pass
    async def close(self): pass

write = Incoming.write
def slow(self, data):
    time.sleep(0.0002)
    write(self, data)
Incoming.write = slow
config = Config(server=ServerConfig(port=0))
app = create_app(config, Plugins(), cast(Pipeline, StandIn()))
sys.exit(run_server(config, Plugins(), lambda url: print(url, flush=True), app=app))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat(tmp_path: Path) -> None:
    """200 MB through a slow disk."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "models")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        with httpx.Client(base_url=server.stdout.readline().strip(), timeout=60) as http:
            warm = b"warm"
            assert http.post(f"/api/blobs/{digest_of(warm)}", content=warm).status_code == 201
            before = peak_kilobytes(server.pid)
            piece = os.urandom(MB)
            whole = hashlib.sha256()
            for _ in range(200):
                whole.update(piece)
            reply = http.post(f"/api/blobs/sha256:{whole.hexdigest()}", content=(piece for _ in range(200)))
            assert reply.status_code == 201
            assert peak_kilobytes(server.pid) - before < 30 * 1024
    finally:
        server.terminate()
        assert server.wait(20) == 0
        if server.stdout is not None:
            server.stdout.close()


def peak_kilobytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def test_a_digest_is_what_the_store_calls_it(rig: Any) -> None:
    rig.http.post(f"/api/blobs/{digest_of(DATA)}", content=DATA)
    assert rig.standin.store.blob(Digest.of(DATA)).read_bytes() == DATA
