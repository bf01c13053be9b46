"""Deeds on several upstreams at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from managing import Server, cleared
from upstream import Fault, Upstream

from remuda.errors import BadRequest, EngineError, Forbidden, NotFound, RemudaError, Unavailable, UpstreamError
from remuda.remote import Deed, DeedKind
from remuda.wire import ProgressResponse
from remuda_remote.manage import manage

pytestmark = pytest.mark.anyio

PULLED = [
    "pulling manifest",
    *("pulling " for _ in range(3)),
    "verifying sha256 digest",
    "writing manifest",
    "success",
]


BROKE_OFF = (
    "upstream 'b' ended its progress before the work was done; try again, or see `remuda upstreams` for how it is"
)


@pytest.fixture(scope="module")
def scripted() -> Iterator[list[Upstream]]:
    with Upstream() as a, Upstream() as b, Upstream() as c:
        yield [a, b, c]


class Herd:
    def __init__(self, scripted: list[Upstream]) -> None:
        self.settings: dict[str, dict[str, Any]] = {}
        self.routes: dict[str, tuple[str, ...]] = {}
        self.refreshed: list[str] = []
        self._scripted = scripted
        self.a, self.b, self.c = self.servers = [Server(*each) for each in zip("abc", scripted, strict=True)]

    def set(self, name: str, **settings: Any) -> None:
        self.servers.append(Server(name, self._scripted["abc".index(name)], **settings))
        setattr(self, name, self.servers[-1])

    def do(self, kind: DeedKind, to: str = "abc", **body: Any) -> AsyncGenerator[ProgressResponse, None]:
        return self.send(kind, json.dumps(body).encode(), to)

    def send(self, kind: DeedKind, body: bytes, to: str = "abc") -> AsyncGenerator[ProgressResponse, None]:
        async def done(server: Server) -> None:
            self.refreshed.append(server.member.name)

        deed = Deed(kind=kind, body=body, upstreams=tuple(to), request_id="r1")
        servers = [self.a, self.b, self.c]
        return manage(deed, servers, route=lambda name: self.routes.get(str(name), ()), done=done)


@pytest.fixture
async def herd(scripted: list[Upstream]) -> AsyncGenerator[Herd, None]:
    for each in scripted:
        cleared(each)
    herd = Herd(scripted)
    yield herd
    for server in herd.servers:
        await server.client.close()


async def lines(deed: AsyncGenerator[ProgressResponse, None]) -> list[ProgressResponse]:
    return [line async for line in deed]


async def failed(deed: AsyncGenerator[ProgressResponse, None]) -> tuple[list[ProgressResponse], RemudaError]:
    """The lines that came, and what was raised then."""
    came: list[ProgressResponse] = []
    try:
        async for line in deed:
            came.append(line)  # noqa: PERF401  those before the error are wanted, too
    except RemudaError as error:
        return came, error
    raise AssertionError(f"nothing failed: {came}")


def of(name: str, came: list[ProgressResponse]) -> list[str]:
    return [line.status for line in came if line.upstream == name]


def like(statuses: list[str]) -> list[str]:
    """Without the digests in them."""
    return ["pulling " if each.startswith("pulling ") and "manifest" not in each else each for each in statuses]


async def test_a_pull_at_all_of_them(herd: Herd) -> None:
    came = await lines(herd.do("pull", model="new", insecure=True, stream=False))
    assert {line.upstream for line in came} == {"a", "b", "c"}
    for name in "abc":
        assert like(of(name, came)) == PULLED
    sizes = [(line.total, line.completed) for line in came if line.upstream == "b" and line.digest]
    assert sizes == [(1000, 0), (1000, 640), (1000, 1000)]
    assert sorted(herd.refreshed) == ["a", "b", "c"]
    for server in (herd.a, herd.b, herd.c):
        assert "new:latest" in server.scripted.models
        [seen] = server.scripted.requests
        asked = {key: value for key, value in seen.json().items() if value is not None}
        assert (seen.kind, asked) == ("POST /api/pull", {"model": "new", "insecure": True, "stream": True})
        assert seen.headers["x-request-id"] == "r1"


@pytest.mark.parametrize(
    ("kind", "body", "method"),
    [
        ("push", {"name": "tiny"}, "POST"),
        ("create", {"model": "mine", "from": "tiny"}, "POST"),
        ("copy", {"source": "tiny", "destination": "mine"}, "POST"),
        ("delete", {"name": "Tiny"}, "DELETE"),
    ],
)
async def test_every_deed(herd: Herd, kind: DeedKind, body: dict[str, str], method: str) -> None:
    came = await lines(herd.do(kind, "ac", **body))
    silent = kind in {"copy", "delete"}
    for server in (herd.a, herd.c):
        statuses = of(server.member.name, came)
        assert statuses.count("success") == 1
        assert statuses[-1] == "success"
        assert (len(statuses) == 1) == silent
        assert server.scripted.count(f"{method} /api/{kind}") == 1
        assert ("mine:latest" in server.scripted.models) == ("mine" in body.values())
        assert ("tiny:latest" in server.scripted.models) == (kind != "delete")
    assert herd.b.scripted.requests == []
    assert sorted(herd.refreshed) == ["a", "c"]


async def test_a_success_is_told_after_the_list_is_fresh(herd: Herd) -> None:
    async for line in herd.do("pull", "ab", model="new"):
        assert line.status != "success" or line.upstream in herd.refreshed


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (Fault(status=404, body=b'{"error":"model \'x\' not found"}'), NotFound, "upstream 'b': model 'x' not found"),
        (Fault(status=400, body=b'{"error":"no such field"}'), BadRequest, "upstream 'b': no such field"),
        (Fault(status=418, body=b"{"), UpstreamError, "upstream 'b' answered 418"),
        (Fault(error_line="disk full", after=2), EngineError, "upstream 'b' failed: disk full"),
        (Fault(error_line="x" * 9999), EngineError, f"upstream 'b' failed: {'x' * 2000}"),
        (Fault(cut=3, clean=True), UpstreamError, BROKE_OFF),
    ],
)
async def test_one_fails_and_the_others_go_on(herd: Herd, fault: Fault, error: type[RemudaError], text: str) -> None:
    herd.b.scripted.fail("POST /api/pull", fault)
    came, raised = await failed(herd.do("pull", model="new"))
    assert type(raised) is error
    assert raised.message == f"{text}; it is done on a, c"
    assert like(of("a", came)) == like(of("c", came)) == PULLED
    assert "success" not in of("b", came)
    assert sorted(herd.refreshed) == ["a", "c"]


async def test_the_only_one_fails(herd: Herd) -> None:
    herd.a.scripted.fail("*", Fault(status=503, headers={"Retry-After": "7"}, body=b'{"error":"busy"}'))
    came, raised = await failed(herd.do("pull", "a", model="new"))
    assert came == []
    assert isinstance(raised, Unavailable)
    assert (raised.message, raised.retry_after) == ("upstream 'a': busy", 7)


async def test_one_dies_one_refuses_and_one_is_slow(herd: Herd) -> None:
    herd.a.scripted.fail("*", Fault(cut=4))
    herd.b.scripted.stop()
    herd.c.scripted.delay = 0.02
    came, raised = await failed(herd.do("pull", model="new"))
    assert like(of("a", came)) == PULLED[:4]
    assert of("b", came) == []
    assert like(of("c", came)) == PULLED
    assert type(raised) is UpstreamError
    assert raised.message.count("upstream 'a' ") == raised.message.count("upstream 'b' ") == 1
    assert raised.message.endswith("; it is done on c")


async def test_a_line_that_makes_no_sense(herd: Herd) -> None:
    herd.a.scripted.extra = {"POST /api/pull": (200, [1])}
    _, raised = await failed(herd.do("pull", "a", model="new"))
    assert raised.message.startswith("upstream 'a' sent a line of progress that makes no sense")


async def test_what_breaks_after_the_success_is_no_failure(herd: Herd) -> None:
    herd.a.scripted.fail("POST /api/pull", Fault(cut=7))
    assert like(of("a", await lines(herd.do("pull", "a", model="new")))) == PULLED


async def test_a_slow_one_holds_back_nobody_and_leaving_closes_all(herd: Herd) -> None:
    herd.a.scripted.fail("*", Fault(stall=2))
    herd.b.scripted.fail("*", Fault(stall="head"))
    async with aclosing(herd.do("pull", model="new")) as deed:
        async for line in deed:
            if (line.upstream, line.status) == ("c", "success"):
                break
    await herd.a.scripted.left()
    await herd.b.scripted.left()
    assert herd.refreshed == ["c"]


async def test_cancelling_closes_all(herd: Herd) -> None:
    herd.a.scripted.fail("*", Fault(stall=1))
    herd.b.scripted.fail("*", Fault(stall="body"))
    work = asyncio.create_task(lines(herd.do("pull", "ab", model="new")))
    await herd.a.scripted.requested("POST /api/pull")
    await herd.b.scripted.requested("POST /api/pull")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await herd.a.scripted.left()
    await herd.b.scripted.left()


class Chatter:
    """A reply that never ends, and counts the lines that were taken from it."""

    upstream, status = "a", 200

    def __init__(self) -> None:
        self.taken = 0

    async def send(self, *_: Any, **__: Any) -> Chatter:
        return self

    async def lines(self) -> AsyncGenerator[bytes, None]:
        while True:
            self.taken += 1
            yield b'{"status":"pulling"}\n'

    async def aclose(self) -> None:
        pass


async def test_lines_wait_for_the_reader(herd: Herd, monkeypatch: pytest.MonkeyPatch) -> None:
    chatter = Chatter()
    monkeypatch.setattr(herd.a, "client", chatter)
    async with aclosing(herd.do("pull", "a", model="new")) as deed:
        await anext(deed)
        for _ in range(100):
            await asyncio.sleep(0)
        assert chatter.taken < 20


async def test_each_upstream_has_its_own_names(herd: Herd) -> None:
    herd.set("a", models={"public": "there:7b"})
    herd.set("b", models={"Public:latest": "elsewhere"}, deny=("*",))
    await lines(herd.do("pull", model="PUBLIC"))
    assert [server.bodies[0]["model"] for server in (herd.a, herd.b, herd.c)] == ["there:7b", "elsewhere", "PUBLIC"]
    await lines(herd.do("copy", "a", source="public", destination="public"))
    await lines(herd.do("create", "a", name="mine", **{"from": "Public:latest"}))
    await lines(herd.do("delete", "a", name="other", model="public:latest"))
    known = [{key: value for key, value in body.items() if value is not None} for body in herd.a.bodies[1:]]
    assert known == [
        {"source": "there:7b", "destination": "there:7b"},
        {"model": "mine", "from": "there:7b", "stream": True},
        {"model": "there:7b"},
    ]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("pull", b'{"model":"secret"}'),
        ("pull", b'{"model":"tiny","MODEL":"secret"}'),
        ("pull", b'{"name":"secret:local"}'),
        ("create", b'{"model":"mine","from":"Secret:latest"}'),
        ("create", b'{"model":"hidden","from":"tiny"}'),
        ("copy", b'{"source":"secret","destination":"mine"}'),
        ("copy", b'{"source":"tiny","Destination":"routed"}'),
        ("delete", b'{"model":"hidden:latest"}'),
        ("pull", b'{"model":"no name at all"}'),
        ("pull", b'{"model":""}'),
        ("copy", b'{"source":"tiny"}'),
        ("delete", b"[]"),
        ("push", b""),
    ],
)
async def test_what_one_must_not_be_given_reaches_none(herd: Herd, kind: DeedKind, body: bytes) -> None:
    herd.set("b", deny=("secret:*",), models={"public": "hidden"})
    herd.routes["routed:latest"] = ("a", "c")
    _, raised = await failed(herd.send(kind, body))
    assert isinstance(raised, BadRequest)
    assert [len(server.scripted.requests) for server in (herd.a, herd.b, herd.c)] == [0, 0, 0]


async def test_a_second_spelling_that_only_the_upstream_would_see_is_left_out(herd: Herd) -> None:
    herd.set("a", deny=("secret:*",))
    await lines(herd.send("copy", '{"source":"tiny","destination":"mine","\u017fource":"secret"}'.encode(), "a"))
    assert herd.a.bodies == [{"source": "tiny", "destination": "mine"}]


async def test_the_cloud_is_not_asked_for(herd: Herd) -> None:
    _, raised = await failed(herd.do("pull", model="big:cloud"))
    assert isinstance(raised, Forbidden)


async def test_one_that_left_the_configuration(herd: Herd) -> None:
    _, raised = await failed(herd.do("pull", "az", model="new"))
    assert raised.message == "there is no upstream 'z' any more; `remuda upstreams` lists them"
    assert herd.a.scripted.requests == []
