"""What `remuda_remote.client` makes of upstreams that refuse, stall, cut, flood, trickle, or speak something else."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from msgspec import structs
from registry_hostile import self_signed
from upstream import Fault, Upstream
from upstream_clients import ASK, KEY, client_of, member_of, read_lines

from remuda_remote.client import UpstreamClient
from remuda_remote.faults import Broke, Fault as Failure, Refused, TooSlow, Unreachable

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """Whose certificate nobody knows."""
    with Upstream(tls=tmp_path_factory.mktemp("tls")) as upstream:
        yield upstream


# --- before the answer


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (Fault(refuse=True), Broke, "closed the connection before it answered"),
        (Fault(garbage=True), Broke, "sent what is no HTTP, or a head that is too long; see its url"),
        (Fault(headers={"X-Long": "x" * 20_000}), Broke, "sent what is no HTTP, or a head that is too long"),
        (Fault(headers={f"X-{number}": "x" for number in range(200)}), Broke, "or a head that is too long"),
        (Fault(redirect="http://10.1.2.3/"), Broke, "redirects, which is not followed; correct its url"),
        (Fault(gzip=True), Broke, "compressed its answer, although it was asked not to"),
        (Fault(cut=0), Broke, "broke off in the middle of its answer"),
        (Fault(cut=0, fin=True), Broke, "broke off in the middle of its answer"),
        (Fault(stall="head"), TooSlow, "did not answer within 0.1 s"),
        (Fault(stall="body"), TooSlow, "did not answer within 0.1 s"),
    ],
)
async def test_before_the_answer(up: Upstream, fault: Fault, kind: type[Failure], text: str) -> None:
    up.fail("POST *", fault)
    async with client_of(up, first_byte_timeout=0.1 if kind is TooSlow else 5.0) as client:
        with pytest.raises(kind) as failed:
            await client.send("POST", "/api/generate", ASK)
        assert str(failed.value).startswith("upstream 'one' ")
        assert text in str(failed.value)
        assert failed.value.__cause__ is None
        await read_lines(client, found := [])
        assert len(found) == 5


async def test_a_refusal_is_a_reply(up: Upstream) -> None:
    up.fail("*", *(Fault(status=status, body=b'{"error":"no"}') for status in (400, 404, 429, 500, 503)))
    async with client_of(up) as client:
        for status in (400, 404, 429, 500, 503):
            reply = await client.send("POST", "/api/generate", ASK)
            assert (reply.status, await reply.read(100)) == (status, b'{"error":"no"}')
            await reply.aclose()


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with client_of(f"http://127.0.0.1:{bound.getsockname()[1]}") as client:
            with pytest.raises(Unreachable, match=r"^upstream 'one' refused the connection$"):
                await client.send("GET", "/api/tags")


async def test_a_name_that_is_none() -> None:
    async with client_of("http://nowhere.invalid:1") as client:
        with pytest.raises(Unreachable, match="cannot be reached: its name could not be resolved") as failed:
            await client.send("GET", "/api/tags")
    assert "nowhere" not in str(failed.value)


async def test_an_address_that_is_none() -> None:
    async with client_of("http://127.1:80") as client:
        with pytest.raises(Unreachable, match="has an address that nothing can be sent to; correct its url"):
            await client.send("GET", "/api/tags")


async def test_connections_that_nobody_takes() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())
        async with client_of(f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout=0.1) as client:
            with pytest.raises(Unreachable, match=r"took no connection within 0.1 s \(its connect_timeout\)"):
                await client.send("GET", "/api/tags")


async def test_an_upstream_dies_and_comes_back() -> None:
    with Upstream() as up:
        async with client_of(up) as client:
            await client.ask("GET", "/api/tags")
            up.stop()
            with pytest.raises(Unreachable, match="refused the connection"):
                await client.send("POST", "/api/generate", ASK)
            up.start()
            await client.ask("GET", "/api/tags")


async def test_asking_is_bounded_as_a_whole(up: Upstream) -> None:
    up.fail("*", Fault(trickle=0.01))
    async with client_of(up) as client:
        with pytest.raises(TooSlow, match=r"did not answer within 0.1 s"):
            await client.ask("GET", "/api/tags", timeout=0.1)
    await up.left()


# --- in the middle of it


@pytest.mark.parametrize(
    ("fault", "lines", "kind", "text"),
    [
        (Fault(cut=2), 2, Broke, "broke off in the middle of its answer"),
        (Fault(cut=2, fin=True), 2, Broke, "broke off in the middle of its answer"),
        (Fault(stall=2), 2, TooSlow, "sent nothing whole for 0.1 s in the middle of its answer"),
        (Fault(trickle=0.005), 0, TooSlow, "sent nothing whole for 0.1 s"),
        (Fault(flood=True), 0, Broke, r"sent a line of more than 100000 bytes (remote.max_line)"),
    ],
)
async def test_in_the_middle(up: Upstream, fault: Fault, lines: int, kind: type[Failure], text: str) -> None:
    up.delay = 0.01
    up.fail("*", fault)
    found: list[bytes] = []
    async with client_of(up, stall_timeout=0.1) as client:
        with pytest.raises(kind) as failed:
            await read_lines(client, found)
    assert text in str(failed.value)
    assert len(found) == lines
    if kind is TooSlow:
        await up.left()


async def test_a_clean_end_is_the_callers_matter(up: Upstream) -> None:
    up.fail("*", Fault(cut=2, clean=True), Fault(close=True))
    async with client_of(up) as client:
        await read_lines(client, early := [])
        await read_lines(client, whole := [])
    assert (len(early), len(whole)) == (2, 5)


async def test_a_slow_reader_is_no_slow_upstream(up: Upstream) -> None:
    up.delay = 0.02
    async with client_of(up, stall_timeout=0.1) as client:
        reply = await client.send("POST", "/api/generate", ASK)
        found = 0
        async for block in reply.lines():
            found += block.count(b"\n")
            await anyio.sleep(0.15 if found == 1 else 0)
        await reply.aclose()
    assert found == 5


async def test_a_steady_trickle_of_pieces_is_well(up: Upstream) -> None:
    """`pieces` knows no lines: what counts is each gap."""
    up.fail("*", Fault(trickle=0.001), Fault(stall=1))
    async with client_of(up, stall_timeout=0.1) as client:
        reply = await client.send("GET", "/api/version")
        begun = time.monotonic()
        assert b"".join([piece async for piece in reply.pieces()]) == b'{"version":"0.12.3"}'
        await reply.aclose()
        reply = await client.send("GET", "/api/version")
        with pytest.raises(TooSlow):
            [piece async for piece in reply.pieces()]
        await reply.aclose()
        assert time.monotonic() - begun > 0.1


# --- lines


@pytest.mark.parametrize("limit", [40, 64, 100_000])
async def test_lines_of_any_make(limit: int) -> None:
    texts = [b"a\n", b"\n", b"x" * 40 + b"\n", b"one\ntwo\nthr", b"ee\nfour", b"y" * 30 + b"\n\n", b"end"]
    wanted = [*b"".join(texts).splitlines(keepends=True)[:-1], b"end\n"]
    with Upstream(kind="openai") as up:
        up.events = list(texts)
        ask = b'{"model":"tiny:latest","messages":[],"stream":true}'
        async with client_of(up, max_line=limit) as client:
            for delay in (0.0, 0.005):
                up.delay = delay
                reply = await client.send("POST", "/v1/chat/completions", ask)
                found = b"".join([block async for block in reply.lines()])
                await reply.aclose()
                assert found.splitlines(keepends=True) == wanted
        async with client_of(up, max_line=39) as client:
            reply = await client.send("POST", "/v1/chat/completions", ask)
            with pytest.raises(Broke, match="a line of more than 39 bytes"):
                [block async for block in reply.lines()]
            await reply.aclose()


# --- TLS


async def test_tls_wants_a_certificate_that_is_known(certificate: Upstream, tmp_path: Path) -> None:
    assert certificate.certificate is not None
    other, _ = self_signed("127.0.0.1", tmp_path)
    for config in ({}, {"ca_file": str(other)}):
        async with client_of(certificate, **config) as client:
            with pytest.raises(Unreachable, match="showed a certificate that is not trusted; see its ca_file"):
                await client.ask("GET", "/api/tags")
    for config in ({"ca_file": str(certificate.certificate)}, {"verify": False}):
        async with client_of(certificate, **config) as client:
            await client.ask("GET", "/api/tags")
            await read_lines(client, found := [])
            assert len(found) == 5
            reply = await client.send("POST", "/api/generate", ASK)
            await reply.aclose()


async def test_tls_wants_the_right_name(tmp_path: Path) -> None:
    with Upstream(tls=tmp_path, named="127.0.0.2") as up:
        async with client_of(up, ca_file=str(up.certificate)) as client:
            with pytest.raises(Unreachable, match="showed a certificate of another server; correct its url"):
                await client.ask("GET", "/api/tags")


async def test_leaving_is_seen_through_tls(certificate: Upstream) -> None:
    before = certificate.gone_away
    certificate.fail("*", Fault(stall=1), Fault(stall="head"))
    async with client_of(certificate, verify=False) as client:
        reply = await client.send("POST", "/api/generate", ASK)
        await reply.aclose()
        await certificate.left(before + 1)
        with anyio.move_on_after(0.05):
            await client.send("POST", "/api/generate", ASK)
        await certificate.left(before + 2)


async def test_http_where_tls_is_spoken_and_the_other_way_round(certificate: Upstream) -> None:
    async with client_of(certificate.url.replace("https:", "http:")) as client:
        with pytest.raises(Broke, match="closed the connection before it answered"):
            await client.ask("GET", "/api/tags")

    async def refuses(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, refuses)
        port = listener.extra(SocketAttribute.local_port)
        async with client_of(f"https://127.0.0.1:{port}") as client:
            with pytest.raises(Unreachable, match="does not speak TLS; if its url should begin with http:, correct it"):
                await client.ask("GET", "/api/tags")
        group.cancel_scope.cancel()


@pytest.mark.parametrize("newest", [True, False])
async def test_tls_with_a_certificate_of_ours(tmp_path: Path, newest: bool) -> None:
    (tmp_path / "client").mkdir()
    ours, key = self_signed("127.0.0.1", tmp_path / "client")
    both = tmp_path / "both.pem"
    both.write_bytes(ours.read_bytes() + key.read_bytes())
    with Upstream(tls=tmp_path, clients=ours, newest=newest) as up:
        trusted = str(up.certificate)
        async with client_of(up, ca_file=trusted, client_cert=str(both)) as client:
            await client.ask("GET", "/api/tags")
        async with client_of(up, ca_file=trusted) as client:
            with pytest.raises((Unreachable, Broke)) as failed:
                await client.ask("GET", "/api/tags")
    # TLS 1.3 lets the client in before it looks at its certificate, and then just closes the connection.
    text = "closed the connection before it answered" if newest else "it may want a certificate (client_cert)"
    assert text in str(failed.value)


async def test_files_that_cannot_be_read(up: Upstream, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name in ("bad.pem", "none.pem"):
        for setting in ("ca_file", "client_cert"):
            async with client_of(up.url.replace("http:", "https:"), **{setting: str(tmp_path / name)}) as client:
                with pytest.raises(Unreachable, match=f"its {setting} cannot be read") as failed:
                    await client.ask("GET", "/api/tags")
                assert str(tmp_path) not in str(failed.value)


# --- the proxy on the way


async def test_a_proxy_of_the_environment(up: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", up.url)
    monkeypatch.setenv("no_proxy", "other.invalid:99")
    up.extra["GET http://far.invalid:99/api/tags"] = (200, {"through": "a proxy"})
    async with client_of("http://far.invalid:99") as client:
        assert await client.ask("GET", "/api/tags") == b'{"through": "a proxy"}'.replace(b": ", b":")
    async with client_of(up) as client:
        await client.ask("GET", "/api/tags")
    assert [seen.path for seen in up.requests] == ["http://far.invalid:99/api/tags", "/api/tags"]
    async with client_of("http://other.invalid:99") as client:
        with pytest.raises(Unreachable, match="its name could not be resolved"):
            await client.ask("GET", "/api/tags")
    async with client_of("https://far.invalid:99") as client:
        monkeypatch.setenv("https_proxy", up.url)
        with pytest.raises(Unreachable, match="the proxy on the way to it answered 404"):
            await client.ask("GET", "/api/tags")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with client_of("http://far.invalid:99") as client:
        with pytest.raises(Unreachable, match="the proxy on the way to it refused the connection"):
            await client.ask("GET", "/api/tags")


# --- what must never be said


async def test_keys_and_addresses_are_never_told(
    up: Upstream, certificate: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = [repr(member_of(up.url))]
    faults = [
        Fault(refuse=True),
        Fault(garbage=True),
        Fault(redirect=up.url),
        Fault(stall="head"),
        Fault(cut=1),
        Fault(flood=True),
        Fault(gzip=True),
        Fault(status=401, body=b"{}"),
    ]
    for url in (up.url, certificate.url, up.url.replace("http:", "https:"), "http://nowhere.invalid"):
        async with client_of(url, first_byte_timeout=0.1) as client:
            told.append(repr(client))
            for fault in faults if url == up.url else faults[:1]:
                up.heal()
                up.fail("*", fault)
                try:
                    await read_lines(client, [])
                    await client.ask("GET", "/api/tags", timeout=0.1)
                except (Failure, Refused) as error:
                    told += [
                        str(error),
                        repr(error),
                        repr(vars(error)),
                        str(error.error()),
                        *traceback.format_exception(error),
                    ]
    told += [record.getMessage() for record in caplog.records]
    assert len(told) > 40
    for text in told:
        assert KEY not in text
        assert "nowhere.invalid" not in text
        assert "127.0.0.1" not in text


async def test_what_is_too_short_to_be_a_key_stays_in_errors(up: Upstream) -> None:
    up.fail("*", Fault(status=400, body=b'{"error":"a bad day"}'))
    client = UpstreamClient(structs.replace(member_of(up.url), headers={"Authorization": "Bearer a"}), max_line=1000)
    with pytest.raises(Refused, match="answered 400: a bad day"):
        await client.ask("GET", "/api/tags")
    await client.close()


async def test_an_upstream_that_repeats_the_key(up: Upstream) -> None:
    up.fail("*", Fault(status=401, body=f'{{"error":"Bearer {KEY} is wrong"}}'.encode()), always=True)
    async with client_of(up) as client:
        with pytest.raises(Refused) as refused:
            await client.ask("GET", "/api/tags")
    assert (refused.value.said, refused.value.body) == ("Bearer *** is wrong", b'{"error":"Bearer *** is wrong"}')


async def test_a_client_says_nothing_of_its_secrets() -> None:
    assert KEY not in repr(UpstreamClient(member_of("http://127.0.0.1:1"), max_line=1))
