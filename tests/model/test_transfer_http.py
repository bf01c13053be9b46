"""The client: caps, redirects, addresses, errors, retries (O15, O18, S38)."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pulling import policy_of
from registry import MODEL, Fault, Registry, gzip_bomb

from remuda.errors import Forbidden, RemudaError
from remuda.model import parse_name
from remuda.model.transfer import NotInRegistry, RegistryError, network, retry
from remuda.model.transfer.errors import Unreachable
from remuda.model.transfer.http import RegistryClient

_TINY = "library/tiny:latest"

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        registry.add_model(_TINY, {MODEL: b"weights"})
        yield registry


@pytest.fixture
async def client(registry: Registry, tmp_path: Path) -> AsyncIterator[RegistryClient]:
    async with _client(registry.host, tmp_path) as client:
        yield client


def _client(host: str, folder: Path, *, insecure: bool = True, **changes: Any) -> RegistryClient:
    return RegistryClient(parse_name(f"{host}/library/tiny"), policy_of(folder, **changes), insecure=insecure)


async def _manifest(client: RegistryClient, **arguments: Any) -> bytes:
    return (await client.request("GET", f"{client.base}/manifests/latest", **arguments)).body


# --- what is sent


async def test_who_asks_and_that_nothing_be_compressed(client: RegistryClient, registry: Registry) -> None:
    assert await _manifest(client) == registry.manifests[_TINY]
    headers = registry.requests[0].headers
    assert re.fullmatch(r"remuda/\S+ \(\w+ \w+\) Python/3\.\d+\.\d+", headers["user-agent"])
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == registry.host


async def test_bodies_are_given_anew(client: RegistryClient, registry: Registry) -> None:
    """Here after a redirect; a 401 goes the same way."""
    location = f"{registry.url}/v2/library/tiny/blobs/uploads/"
    registry.fail("POST uploads", Fault(redirect=location + "?again=1"))
    given = 0

    async def content() -> AsyncIterator[bytes]:
        nonlocal given
        given += 1
        yield b"some"
        yield b"thing"

    reply = await client.request("POST", location, content=content, expect=(202,))
    assert reply.status == 202
    assert given == 2
    assert reply.headers["location"].startswith(registry.url)


# --- what comes back


async def test_refusals(client: RegistryClient, registry: Registry) -> None:
    with pytest.raises(NotInRegistry, match=r"^file does not exist$"):
        await client.request("GET", f"{client.base}/manifests/none")
    registry.fail("GET manifest", Fault(status=418, body=b"short\r\n\x1b[31mand   stout"))
    with pytest.raises(RegistryError, match=r"^418: short \[31mand stout$"):
        await _manifest(client)
    registry.fail("GET manifest", Fault(status=409, body=b""))
    with pytest.raises(RegistryError, match=r"^409: conflict$"):
        await _manifest(client)
    registry.fail("GET manifest", Fault(status=204, body=b""))
    with pytest.raises(RegistryError, match="unexpected status 204"):
        await _manifest(client)


@pytest.mark.parametrize("status", [200, 400, 401])
async def test_no_body_is_too_long(client: RegistryClient, registry: Registry, status: int) -> None:
    """O15: what is said to be small is read as far as it is small."""
    registry.fail("GET manifest", Fault(status=status, endless=True), always=True)
    with pytest.raises(RemudaError) as error:
        await _manifest(client, limit=100_000)
    assert len(error.value.message) < 500
    assert registry.sent("GET manifest") < 16 * 1024 * 1024
    registry.fail("GET manifest", Fault(status=200, body=bytes(100_001)))
    with pytest.raises(RegistryError, match="more than 100000 bytes, the most that is read"):
        await _manifest(client, limit=100_000)


async def test_nothing_compressed_is_unpacked(client: RegistryClient, registry: Registry) -> None:
    bomb = gzip_bomb(64 * 1024 * 1024)
    for coding in ("gzip", "x-gzip", "br, gzip"):
        registry.fail("GET manifest", Fault(status=200, body=bomb, headers={"Content-Encoding": coding}))
        with pytest.raises(RegistryError, match="sent a compressed reply, which was not asked for"):
            await _manifest(client)
    # Without the header it is a file like any other.
    registry.fail("GET manifest", Fault(status=200, body=bomb))
    assert await _manifest(client, limit=len(bomb)) == bomb


async def test_a_token_endpoint_is_no_way_round_the_caps(tmp_path: Path) -> None:
    with Registry(auth="token") as registry:
        for fault in (Fault(status=200, endless=True), Fault(status=200, body=bytes(70_000))):
            registry.fail("GET token", fault)
            async with _client(registry.host, tmp_path) as client:
                with pytest.raises(RegistryError, match="more than 65536 bytes"):
                    await _manifest(client)


# --- redirects


async def test_redirects_are_followed_with_an_end(client: RegistryClient, registry: Registry) -> None:
    there = f"{registry.url}/v2/library/tiny/manifests/latest"
    registry.fail("GET manifest", *(Fault(redirect=f"{there}?{n}") for n in range(10)))
    assert await _manifest(client) == registry.manifests[_TINY]
    registry.fail("GET manifest", *(Fault(redirect=f"{there}?{n}") for n in range(11)))
    with pytest.raises(RegistryError, match="redirects for ever"):
        await _manifest(client)
    assert registry.count("GET manifest") == 22


async def test_loops_are_seen_at_once(client: RegistryClient, registry: Registry) -> None:
    registry.fail("GET manifest", Fault(redirect="{path}"), always=True)
    with pytest.raises(RegistryError, match="redirects for ever"):
        await _manifest(client)
    assert registry.count("GET manifest") == 1


@pytest.mark.parametrize(
    "location",
    ["", "ftp://a.example/", "http://", "http://user:pass@a.example/", "//[::1", "gopher://x", "http://a b/"],
)
async def test_redirects_to_nowhere(client: RegistryClient, registry: Registry, location: str) -> None:
    registry.fail("GET manifest", Fault(status=307, redirect=location))
    with pytest.raises(RegistryError):
        await _manifest(client)
    assert registry.count() == 1


async def test_redirects_that_are_expected_are_not_followed(client: RegistryClient, registry: Registry) -> None:
    registry.fail("GET manifest", Fault(redirect="https://a.example/"))
    reply = await client.request("GET", f"{client.base}/manifests/latest", expect=(307,))
    assert reply.headers["location"] == "https://a.example/"


# --- addresses (O18)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "2130706433:{port}",
        "0x7f000001:{port}",
        "0177.0.0.1:{port}",
        "127.1:{port}",
        "0:{port}",
        "169.254.169.254",
    ],
)
@pytest.mark.parametrize("insecure", [True, False])
async def test_inward_addresses_are_not_connected_to(
    registry: Registry, tmp_path: Path, host: str, insecure: bool
) -> None:
    port = registry.host.partition(":")[2]
    async with _client(host.format(port=port), tmp_path, insecure=insecure, private=()) as client:
        with pytest.raises(Forbidden, match=r"no public address.*registry\.private"):
            await _manifest(client)
    assert not registry.requests


async def test_names_are_judged_by_their_addresses_and_resolved_once(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the second answer would be another one."""
    port = int(registry.host.partition(":")[2])
    answers = [["127.0.0.1"], ["::ffff:127.0.0.1", "10.0.0.1"], ["10.255.255.1", "127.0.0.1"]]
    asked: list[str] = []
    genuine = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **more: Any) -> list[Any]:
        if host != "rebound.example.org":
            return genuine(host, *rest, **more)
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in answers.pop(0)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for _ in range(2):
        async with _client(f"rebound.example.org:{port}", tmp_path, private=()) as client:
            with pytest.raises(Forbidden):
                await _manifest(client)
    assert not registry.requests

    def admit(self: object, host: str, port: int, addresses: Any) -> list[Any]:
        return [each for each in addresses if str(each) == "127.0.0.1"]

    monkeypatch.setattr(network.Guard, "admit", admit)
    async with _client(f"rebound.example.org:{port}", tmp_path, private=()) as client:
        assert await _manifest(client) == registry.manifests[_TINY]
    assert len(asked) == 3
    assert registry.requests[0].headers["host"] == f"rebound.example.org:{port}"


async def test_each_hop_is_judged(registry: Registry, tmp_path: Path) -> None:
    with Registry(host="127.0.0.2") as other:
        other.add_model(_TINY, {MODEL: b"other"})
        target = Fault(redirect=f"{other.url}/v2/library/tiny/manifests/latest")
        only = policy_of(tmp_path, private=(registry.host,), redirects=("*",))
        registry.fail("GET manifest", target, target)
        async with RegistryClient(parse_name(registry.name("library/tiny")), only, insecure=True) as client:
            with pytest.raises(Forbidden, match=r"127\.0\.0\.2 has no public address"):
                await _manifest(client)
        async with _client(registry.host, tmp_path, redirects=("*.example.org",)) as client:
            with pytest.raises(RegistryError, match=r"redirects to 127\.0\.0\.2, which is not among"):
                await _manifest(client)
        assert not other.requests
        registry.fail("GET manifest", target)
        async with _client(registry.host, tmp_path) as client:
            assert await _manifest(client) == other.manifests[_TINY]


async def test_urls_that_a_registry_gave_are_judged_as_redirects(client: RegistryClient, tmp_path: Path) -> None:
    with Registry() as other:
        async with _client("127.0.0.1:1", tmp_path, redirects=("127.0.0.2",)) as strict:
            with pytest.raises(RegistryError, match="redirects to"):
                await strict.request("GET", f"{other.url}/v2/")
        assert not other.requests
        assert (await client.request("GET", f"{other.url}/v2/")).status == 200


# --- faults (S38)


async def test_transient_refusals_are_tried_again(client: RegistryClient, registry: Registry) -> None:
    registry.fail("GET manifest", *[Fault(status=500)] * 3, Fault(cut=10), Fault(cut=0), Fault(status=503))
    assert await _manifest(client) == registry.manifests[_TINY]
    assert registry.count("GET manifest") == 7


async def test_there_is_an_end_to_it(client: RegistryClient, registry: Registry) -> None:
    registry.fail("GET manifest", Fault(status=502, body=b"tired"), always=True)
    with pytest.raises(RegistryError, match=r"^502: tired$"):
        await _manifest(client)
    assert registry.count("GET manifest") == 7


async def test_only_what_repeats_nothing_is_tried_again(client: RegistryClient, registry: Registry) -> None:
    registry.fail("POST uploads", Fault(status=500), Fault(status=500))
    url = f"{client.base}/blobs/uploads/"
    with pytest.raises(RegistryError, match="500"):
        await client.request("POST", url, expect=(202,))
    assert registry.count() == 1
    await client.request("POST", url, expect=(202,), retry=True)
    assert registry.count() == 3


async def test_retry_after(client: RegistryClient, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(retry.anyio, "sleep", sleep)
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    registry.fail(
        "GET manifest", *(Fault(status=429, headers={"Retry-After": after}) for after in ("7", "0", date, "soon"))
    )
    await _manifest(client)
    assert slept[0] == 7
    assert max(slept[1:]) < 1
    registry.fail("GET manifest", Fault(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(RegistryError, match="429"):
        await _manifest(client)
    assert len(slept) == 4


async def test_silence_has_an_end(registry: Registry, tmp_path: Path) -> None:
    registry.fail("GET manifest", Fault(stall=0), Fault(stall=20))
    async with _client(registry.host, tmp_path, stall_timeout=0.2, retries=1) as client:
        with pytest.raises(RegistryError, match=r"was silent for 0\.2 seconds"):
            await _manifest(client)
        registry.fail("GET manifest", Fault(stall=20))
        assert await _manifest(client)


async def test_dripping_has_an_end(registry: Registry, tmp_path: Path) -> None:
    registry.add_manifest(_TINY, bytes(1_000_000))
    registry.fail("GET manifest", Fault(trickle=0.1))
    async with _client(registry.host, tmp_path, stall_timeout=0.2, retries=0) as client:
        with pytest.raises(RegistryError, match="did not answer in time"):
            await _manifest(client, limit=10**7)


@pytest.mark.parametrize("status", [200, 401, 403])
async def test_dripping_refusals_have_an_end(tmp_path: Path, status: int) -> None:
    """Each byte in time, and far too many of them."""
    with Registry(auth="token") as registry:
        kind = "GET token" if status == 200 else "GET manifest"
        registry.fail(kind, Fault(status=status, body=bytes(8000), trickle=0.15), always=True)
        async with _client(registry.host, tmp_path, stall_timeout=0.2, retries=0) as client:
            with pytest.raises(RegistryError, match="did not answer in time"):
                await _manifest(client)


async def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{nobody.getsockname()[1]}"
        async with _client(host, tmp_path) as client:
            with pytest.raises(Unreachable) as error:
                await _manifest(client)
    assert error.value.message == f"{host} cannot be reached: connection refused"


async def test_no_such_host(tmp_path: Path) -> None:
    async with _client("registry.invalid", tmp_path) as client:
        with pytest.raises(Unreachable, match=r"^the name registry\.invalid could not be resolved: "):
            await _manifest(client)


async def test_not_http(tmp_path: Path) -> None:
    async def talk(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 smtp.example.org ESMTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with _client(host, tmp_path, retries=0) as client:
            with pytest.raises(RegistryError, match=f"^{re.escape(host)} does not speak HTTP as it should$"):
                await _manifest(client)
