"""Pushing to registries that fail, lie and refuse: what is sent again, what is given up, and what never leaves."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest
from cutting import cutting_proxy
from pushing import make_model, policy_for, push_lines
from registry import MODEL, Fault, Registry, digest_of

from remuda.errors import LoadFailed, RemudaError
from remuda.model.digest import parse_digest
from remuda.model.store import Store
from remuda.model.transfer import RegistryError, Unauthorized, retry, upload

pytestmark = pytest.mark.anyio

WEIGHTS = random.Random(7).randbytes(3_000_000)
CONFIGURATION = b'{"model_format":"gguf"}'
KINDS = ["HEAD blob", "POST uploads", "PATCH upload", "PUT upload", "PUT manifest"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


class Pushing:
    """A model and where it shall go."""

    def __init__(self, store: Store, registry: Registry, folder: Path) -> None:
        self.store, self.registry, self.folder = store, registry, folder
        self.name = registry.name("library/tiny:latest")
        self.manifest = make_model(store, self.name, {MODEL: WEIGHTS}, config=CONFIGURATION)

    async def run(self, **policy: object) -> None:
        await push_lines(self.store, policy_for(self.folder, **policy), self.name)

    def check(self) -> None:
        """That all of it arrived."""
        assert self.registry.manifests["library/tiny:latest"] == self.manifest
        assert self.registry.blobs[digest_of(WEIGHTS)] == WEIGHTS
        assert self.registry.blobs[digest_of(CONFIGURATION)] == CONFIGURATION


@pytest.mark.parametrize("cut", [0, 2, 65_536, 1_000_000, 2_999_999])
@pytest.mark.parametrize("forgets", [False, True])
async def test_a_cut_connection_is_made_up_for(store: Store, tmp_path: Path, cut: int, forgets: bool) -> None:
    with Registry() as registry:
        registry.forgets = forgets
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("PATCH upload", Fault(cut=cut))
        await pushing.run()
        pushing.check()
        again = registry.seen("PATCH upload")[1].headers["content-range"]
        kept = cut > 1 and not forgets
        assert again == f"{cut if kept else 0}-{len(WEIGHTS) - 1}"


async def test_ten_cuts_cost_little_more_than_the_size(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        chance = random.Random(3)
        registry.fail("PATCH upload", *[Fault(cut=chance.randrange(2, 250_000)) for _ in range(10)])
        await pushing.run(retries=10)
        pushing.check()
        assert registry.count("POST uploads") == 2
        assert registry.received("PATCH upload") <= 1.1 * len(WEIGHTS)


async def test_a_registry_that_always_cuts_is_given_up(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("PATCH upload", Fault(cut=2), always=True)
        with pytest.raises(RegistryError, match=f"the connection to {registry.host} was cut"):
            await pushing.run(retries=4)
        # Two bytes more each time are not progress enough to begin counting anew.
        assert registry.count("PATCH upload") == 5
        assert not registry.manifests


@pytest.mark.parametrize("kind", KINDS)
async def test_three_failures_of_any_request_are_made_up_for(store: Store, tmp_path: Path, kind: str) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail(kind, Fault(status=500), Fault(status=503), Fault(cut=-1))
        await pushing.run()
        pushing.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_failures_without_end_are_given_up(store: Store, tmp_path: Path, kind: str) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail(kind, Fault(status=500, body=b"out of space"), always=True)
        with pytest.raises(RegistryError, match=r"^500: (out of space|internal server error)$"):
            await pushing.run(retries=2)
        assert registry.count(kind) == 3
        assert not registry.manifests


@pytest.mark.parametrize("kind", KINDS)
async def test_refusals_are_not_asked_again(store: Store, tmp_path: Path, kind: str) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail(kind, Fault(status=403, body=b"not yours"), always=True)
        with pytest.raises(RegistryError, match=r"^403: (not yours|forbidden)$"):
            await pushing.run()
        assert registry.count(kind) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_waits_as_long_as_the_registry_says(
    store: Store, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(retry.anyio, "sleep", sleep)
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail(kind, Fault(status=429, headers={"Retry-After": "7"}))
        await pushing.run()
        pushing.check()
    assert waited == [7.0]


@pytest.mark.parametrize("kind", ["PATCH upload", "PUT upload", "PUT manifest"])
async def test_a_reply_that_is_lost_is_no_reason_to_send_anything_again(
    store: Store, tmp_path: Path, kind: str
) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail(kind, Fault(lost=True))
        await pushing.run()
        pushing.check()
        assert registry.received("PATCH upload") == len(WEIGHTS) + len(CONFIGURATION)


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_registry_that_restarts_is_waited_for(
    store: Store, tmp_path: Path, forgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.05)
    with Registry() as registry:
        registry.forgets = forgets
        async with cutting_proxy(registry.host, [1_000_000], away=0.3) as host:
            # Locations name the registry itself otherwise, past the proxy.
            registry.relative = True
            name = f"{host}/library/tiny:latest"
            make_model(store, name, {MODEL: WEIGHTS})
            await push_lines(store, policy_for(tmp_path), name)
        assert registry.blobs[digest_of(WEIGHTS)] == WEIGHTS
        assert registry.count("POST uploads") == (3 if forgets else 2)


async def test_a_stalled_connection_is_given_up_and_made_up_for(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("PATCH upload", Fault(stall=1_000_000))
        await pushing.run(stall_timeout=0.3)
        pushing.check()
        assert registry.count("PATCH upload") == 3


@pytest.mark.parametrize("uses", [1, 2, 3])
@pytest.mark.parametrize("early", [False, True])
async def test_a_token_that_expires_midway_is_renewed(
    store: Store, tmp_path: Path, uses: int, early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "SMALLEST_PART", 500_000)
    with Registry(auth="token") as registry:
        registry.token_uses, registry.early = uses, early
        pushing = Pushing(store, registry, tmp_path)
        await pushing.run()
        pushing.check()
        assert registry.count("GET token") > 2


@pytest.mark.parametrize("auth", ["token", "basic"])
async def test_who_may_not_push_is_told_so(store: Store, tmp_path: Path, auth: str) -> None:
    with Registry(auth="token" if auth == "token" else "basic") as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("GET token", Fault(status=401), always=True)
        with pytest.raises(Unauthorized, match=r"^unauthorized: access denied$"):
            await pushing.run()
        assert registry.received("PATCH upload") == 0


async def test_no_token_is_sent_to_another_host(store: Store, tmp_path: Path) -> None:
    with Registry(auth="token") as registry, Registry(host="127.0.0.2") as other:
        registry.realm = f"{other.url}/token"
        pushing = Pushing(store, registry, tmp_path)
        with pytest.raises(RegistryError, match="does not match original host"):
            await pushing.run(private=("127.0.0.*",))
        assert not other.requests


async def test_uploads_do_not_go_where_the_policy_forbids(store: Store, tmp_path: Path) -> None:
    with Registry() as registry, Registry(host="127.0.0.2") as other:
        pushing = Pushing(store, registry, tmp_path)
        registry.redirect_uploads, other.uploads = other.url, registry.uploads
        with pytest.raises(RemudaError, match=r"127\.0\.0\.2 has no public address"):
            await pushing.run()
        with pytest.raises(RemudaError, match=r"127\.0\.0\.2, which is not among those that registry\.redirects lists"):
            await pushing.run(private=("127.0.0.*",), redirects=("127.0.0.1",))
        assert not other.requests


@pytest.mark.parametrize("kind", ["POST uploads", "PATCH upload"])
@pytest.mark.parametrize(
    "location", ["http://127.0.0.2:1/", "http://169.254.169.254/x", "ftp://127.0.0.1/", "http://[", "file:///x"]
)
async def test_hostile_locations_are_refused(store: Store, tmp_path: Path, kind: str, location: str) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail(kind, Fault(headers={"Location": location}))
        with pytest.raises(RemudaError):
            await pushing.run()
        assert not registry.manifests


async def test_a_redirect_or_a_session_to_nowhere_is_an_error(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("PATCH upload", Fault(status=307))
        with pytest.raises(RegistryError, match="does not say where to"):
            await pushing.run()
        registry.fail("POST uploads", Fault(status=202))
        with pytest.raises(RegistryError, match="does not say where to upload to"):
            await pushing.run()


async def test_redirected_parts_are_tried_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "SMALLEST_PART", 500_000)
    with Registry() as registry, Registry(host="127.0.0.2") as other:
        registry.redirect_uploads, other.uploads = other.url, registry.uploads
        pushing = Pushing(store, registry, tmp_path)
        other.fail("PUT part", Fault(status=500), Fault(cut=100_000), Fault(lost=True), Fault(status=429))
        registry.fail("PATCH upload", Fault(), Fault(status=500), Fault(cut=-1))
        await pushing.run(private=("127.0.0.*",))
        pushing.check()
        assert registry.count("POST uploads") == 2

        registry.links.clear()
        other.fail("PUT part", Fault(status=500), always=True)
        with pytest.raises(RegistryError, match=r"^500: "):
            await pushing.run(private=("127.0.0.*",), retries=2)


@pytest.mark.parametrize("told", ["0-99999999999999999999", "0-9000000", "5-10", "x", "0--1", "", "bytes=0-1999999"])
async def test_what_a_session_says_of_itself_is_not_believed_blindly(store: Store, tmp_path: Path, told: str) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("PATCH upload", Fault(cut=1_000_000))
        registry.fail("GET upload", Fault(headers={"Range": told}))
        await pushing.run()
        pushing.check()
        # One for each blob: nothing was committed that had not arrived.
        assert registry.count("PUT upload") == 2


@pytest.mark.parametrize("status", [400, 404, 416])
async def test_a_session_that_is_gone_is_begun_anew_but_not_for_ever(store: Store, tmp_path: Path, status: int) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("PUT upload", Fault(status=status), Fault(status=status))
        await pushing.run()
        pushing.check()

        registry.links.clear()
        registry.requests.clear()
        registry.fail("PUT upload", Fault(status=status), always=True)
        with pytest.raises(RegistryError):
            await pushing.run(retries=3)
        # Once more, because all of it arrived the first time, which counts as progress.
        assert registry.count("POST uploads") == 4


async def test_a_refused_manifest_is_an_error(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("PUT manifest", Fault(status=400, body=b'{"errors":[{"code":"MANIFEST_INVALID"}]}'))
        with pytest.raises(RegistryError, match=r"^400: .*MANIFEST_INVALID"):
            await pushing.run()


async def test_a_blob_that_decayed_is_not_sent(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        blob = store.blob(parse_digest(digest_of(WEIGHTS)))
        blob.write_bytes(b"X" + WEIGHTS[1:])
        with pytest.raises(LoadFailed):
            await pushing.run()
        assert registry.received() == 0
        with pytest.raises(LoadFailed, match="is not complete"):
            await pushing.run()


async def test_a_registry_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{free.getsockname()[1]}/library/tiny:latest"
        make_model(store, name, {MODEL: WEIGHTS})
        with pytest.raises(RegistryError, match=r"127\.0\.0\.1:\d+ cannot be reached: connection refused"):
            await push_lines(store, policy_for(tmp_path), name)


async def test_endless_and_packed_replies_are_not_read(store: Store, tmp_path: Path) -> None:
    with Registry() as registry:
        pushing = Pushing(store, registry, tmp_path)
        registry.fail("POST uploads", Fault(endless=True))
        with pytest.raises(RegistryError, match="more than 8192 bytes"):
            await pushing.run(retries=0)
        registry.fail("POST uploads", Fault(headers={"Content-Encoding": "gzip"}))
        with pytest.raises(RegistryError, match="compressed"):
            await pushing.run(retries=0)
