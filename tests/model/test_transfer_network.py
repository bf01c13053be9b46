"""Certificates and proxies, on real sockets."""

from __future__ import annotations

import base64
import socket
import socketserver
import threading
from pathlib import Path
from typing import Any, BinaryIO, Self

import pytest
from pulling import policy_of, pulled, pulling
from registry import MODEL, Registry
from registry_hostile import self_signed

from remuda.errors import Forbidden
from remuda.model import parse_name
from remuda.model.transfer import RegistryError
from remuda.model.transfer.errors import Unreachable
from remuda.model.transfer.http import RegistryClient

_TINY = "library/tiny:latest"
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_VARIABLES, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def _client(host: str, folder: Path, *, insecure: bool = False, **changes: Any) -> RegistryClient:
    return RegistryClient(parse_name(f"{host}/library/tiny"), policy_of(folder, **changes), insecure=insecure)


async def _manifest(client: RegistryClient) -> bytes:
    return (await client.request("GET", f"{client.base}/manifests/latest")).body


# --- TLS


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with Registry(tls=tmp_path) as registry:
        async with _client(registry.host, tmp_path) as client:
            with pytest.raises(Unreachable) as error:
                await _manifest(client)
        assert error.value.message == f"the certificate of {registry.host} was refused: self-signed certificate"
        assert not registry.requests


async def test_a_certificate_that_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry(tls=tmp_path) as registry:
        registry.add_model(_TINY, {MODEL: b"weights"})
        monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))
        port = registry.host.partition(":")[2]
        async with pulling(tmp_path) as (_, transfers):
            for host in (registry.host, f"localhost:{port}"):
                assert (await pulled(transfers, f"{host}/{_TINY}", insecure=False))[-1].status == "success"


async def test_a_certificate_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.self_signed", lambda _, folder: self_signed("192.0.2.7", folder))
    with Registry(tls=tmp_path) as registry:
        monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))
        async with _client(registry.host, tmp_path) as client:
            with pytest.raises(Unreachable, match=r"the certificate of .* was refused: .*mismatch"):
                await _manifest(client)
        assert not registry.requests


async def test_a_registry_without_tls(tmp_path: Path) -> None:
    with Registry() as registry:
        async with _client(registry.host, tmp_path) as client:
            with pytest.raises(Unreachable, match="does not speak TLS as it should; a registry without TLS needs"):
                await _manifest(client)


# --- proxies


class _Proxy:
    """Whatever host it is asked for, it connects to `target`."""

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(":")
        self._target = host, int(port)
        self.heads: list[str] = []
        self.refuse = b""
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer._serve(self.rfile, self.connection)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, lines: BinaryIO, client: socket.socket) -> None:
        head = b"".join(iter(lines.readline, b"\r\n")) + b"\r\n"
        self.heads.append(head.decode())
        if self.refuse:
            client.sendall(self.refuse)
            return
        with socket.create_connection(self._target) as there:
            if head.startswith(b"CONNECT "):
                client.sendall(b"HTTP/1.1 200 Go on\r\n\r\n")
            else:
                there.sendall(head)
            back = threading.Thread(target=_copy, args=(there, client))
            back.start()
            _copy(client, there)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
async def test_plain_requests_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """It resolves the name: nobody here could."""
    with Registry() as registry:
        registry.add_model("library/tiny:latest", {MODEL: b"weights"})
        proxy = _Proxy(registry.host)
        with proxy:
            monkeypatch.setenv(variable, proxy.url.replace("http://", "http://me:secret@"))
            async with pulling(tmp_path, private=()) as (_, transfers):
                events = await pulled(transfers, f"registry.invalid/{_TINY}")
    assert events[-1].status == "success"
    assert proxy.heads[0].startswith("GET http://registry.invalid/v2/library/tiny/manifests/latest HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:secret').decode()}\r\n" in proxy.heads[0]
    assert registry.requests[0].headers["host"] == "registry.invalid"


async def test_tls_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.self_signed", lambda _, folder: self_signed("192.0.2.7", folder))
    with Registry(tls=tmp_path) as registry:
        registry.add_model(_TINY, {MODEL: b"weights"})
        proxy = _Proxy(registry.host)
        with proxy:
            monkeypatch.setenv("https_proxy", proxy.url.partition("://")[2])
            async with _client("192.0.2.7", tmp_path, private=("192.0.2.7",)) as client:
                with pytest.raises(Unreachable, match="certificate"):
                    await _manifest(client)
            monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))
            async with _client("192.0.2.7", tmp_path, private=("192.0.2.7",)) as client:
                assert await _manifest(client) == registry.manifests[_TINY]
    assert all(head.startswith("CONNECT 192.0.2.7:443 HTTP/1.1\r\n") for head in proxy.heads)
    assert "authorization" not in "".join(proxy.heads).lower()


async def test_what_is_not_asked_of_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry() as registry:
        registry.add_model(_TINY, {MODEL: b"weights"})
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        async with _client(registry.host, tmp_path, insecure=True) as client:
            assert await _manifest(client) == registry.manifests[_TINY]
        monkeypatch.setenv("no_proxy", "other.example,registry.invalid")
        async with _client("registry.invalid", tmp_path, insecure=True) as client:
            with pytest.raises(Unreachable, match=r"the name registry\.invalid could not be resolved"):
                await _manifest(client)


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1:5000", "0xa9fea9fe"])
async def test_a_proxy_is_not_asked_for_addresses_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with _client(host, tmp_path, insecure=True, private=()) as client:
        with pytest.raises(Forbidden):
            await _manifest(client)


async def test_proxies_that_do_not_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = _Proxy("127.0.0.1:1")
    proxy.refuse = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with _client("registry.invalid", tmp_path) as client:
            with pytest.raises(Unreachable, match=r"proxy did not connect to registry\.invalid: 407 Proxy Auth"):
                await _manifest(client)
    for wrong in ("socks5://127.0.0.1:1", "http://", "http://[::1", "http://a:b:c"):
        monkeypatch.setenv("https_proxy", wrong)
        async with _client("registry.invalid", tmp_path) as client:
            with pytest.raises(RegistryError, match="the proxy that the environment names must be an http://"):
                await _manifest(client)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    async with _client("registry.invalid", tmp_path) as client:
        with pytest.raises(Unreachable, match=r"cannot be reached: connection refused"):
            await _manifest(client)
