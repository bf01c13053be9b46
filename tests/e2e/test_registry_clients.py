"""Pull and push over HTTP, from one Remuda through a registry to another, with the official client."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest
from docker_registry import docker_registry
from pushing import make_model
from registry import MODEL, Fault, Registry, digest_of

from remuda.config import Config, RegistryConfig, StoreConfig
from remuda.model import parse_name
from remuda.model.manifest import PARAMS, SYSTEM
from remuda.plugins import Plugins
from remuda.testing import LiveServer

WEIGHTS = random.Random(23).randbytes(3_000_000)
LAYERS = [(MODEL, WEIGHTS), (PARAMS, b'{"top_k":9}'), (SYSTEM, b"Be brief.")]


class Remuda:
    """A server with a store of its own."""

    def __init__(self, folder: Path, **registry: Any) -> None:
        config = Config(
            store=StoreConfig(path=str(folder / "models")),
            registry=RegistryConfig(key=str(folder / "id_ed25519"), **registry),
        )
        self.live = LiveServer(config, Plugins())
        self.folder = folder

    @property
    def store(self) -> Any:
        return self.live.pipeline.store

    def lines(self, route: str, **request: Any) -> tuple[int, list[dict[str, Any]]]:
        """The status and the objects of an answer."""
        with httpx.stream("POST", f"{self.live.url}/api/{route}", json=request, timeout=30) as reply:
            lines = list(reply.iter_lines())
            if request.get("stream", True) and reply.status_code == 200:
                assert reply.headers["content-type"] == "application/x-ndjson"
            # A path of this machine must not get into any answer, errors included.
            assert str(self.folder) not in "".join(lines)
            return reply.status_code, [json.loads(line) for line in lines]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Remuda]:
    remuda = Remuda(tmp_path / "here")
    with remuda.live:
        yield remuda


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Remuda]:
    remuda = Remuda(tmp_path / "there")
    with remuda.live:
        yield remuda


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


def test_the_official_client_pushes_and_pulls(here: Remuda, there: Remuda, registry: Registry) -> None:
    name = registry.name("library/tiny:latest")
    manifest = make_model(here.store, name, LAYERS)
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(closing(ollama.Client(host=each.live.url))) for each in (here, there))
        pushed = list(ours.push(name, insecure=True, stream=True))
        assert pushed[0].status == "retrieving manifest"
        assert [line.status for line in pushed[-2:]] == ["pushing manifest", "success"]
        assert registry.manifests["library/tiny:latest"] == manifest
        assert ours.push(name, insecure=True).status == "success"

        pulled = list(theirs.pull(name, insecure=True, stream=True))
        assert pulled[0].status == "pulling manifest"
        assert [line.status for line in pulled if not line.digest][-3:] == [
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ]
        assert theirs.pull(name, insecure=True).status == "success"
        listed = theirs.list().models
        assert [(each.model, each.digest) for each in listed] == [(name, digest_of(manifest)[7:])]
    _check_same(here, there, name)


def test_through_the_registry_of_docker(here: Remuda, there: Remuda, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as registry, ExitStack() as stack:
        name = f"{registry.host}/somebody/model:v1"
        make_model(here.store, name, LAYERS)
        ours, theirs = (stack.enter_context(closing(ollama.Client(host=each.live.url))) for each in (here, there))
        assert [line.status for line in ours.push(name, insecure=True, stream=True)][-1] == "success"
        assert [line.status for line in theirs.pull(name, insecure=True, stream=True)][-1] == "success"
        _check_same(here, there, name)


def test_progress_is_well_formed(here: Remuda, there: Remuda, registry: Registry) -> None:
    name = registry.name("library/tiny:latest")
    make_model(here.store, name, {MODEL: WEIGHTS})
    registry.fail("PATCH upload", Fault(trickle=0.0002))
    registry.fail("GET blob", Fault(trickle=0.0002))
    for remuda, route, verb in ((here, "push", "pushing"), (there, "pull", "pulling")):
        status, lines = remuda.lines(route, model=name, insecure=True)
        assert status == 200
        assert lines[-1] == {"status": "success"}
        told = [line for line in lines if "digest" in line]
        assert sum(line["digest"] == digest_of(WEIGHTS) for line in told) > 3
        for line in told:
            assert line.keys() <= {"status", "digest", "total", "completed"}
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", line["digest"])
            assert line["status"] == f"{verb} {line['digest'][7:19]}"
            assert 0 <= line.get("completed", 0) <= line["total"]


def test_without_a_stream_the_last_line_is_the_answer(here: Remuda, there: Remuda, registry: Registry) -> None:
    name = registry.name("library/tiny:latest")
    make_model(here.store, name, LAYERS)
    assert here.lines("push", name=name, insecure=True, stream=False) == (200, [{"status": "success"}])
    assert there.lines("pull", name=name, insecure=True, stream=False) == (200, [{"status": "success"}])


def test_what_is_missing(here: Remuda, registry: Registry) -> None:
    name = registry.name("library/absent:latest")
    status, lines = here.lines("pull", model=name, insecure=True)
    assert (status, lines) == (
        200,
        [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}],
    )
    status, lines = here.lines("pull", model=name, insecure=True, stream=False)
    assert (status, lines) == (500, [{"error": "pull model manifest: file does not exist"}])

    status, lines = here.lines("push", model=name, insecure=True)
    assert status == 200
    assert lines[:-1] == [{"status": "retrieving manifest"}, {"status": "couldn't retrieve manifest"}]
    assert lines[-1].keys() == {"error"}
    with closing(ollama.Client(host=here.live.url)) as client:
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            client.pull(name, insecure=True)
        with pytest.raises(ollama.ResponseError):
            list(client.push(name, insecure=True, stream=True))


@pytest.mark.parametrize("route", ["pull", "push"])
@pytest.mark.parametrize("name", ["", "   ", "a/b/c/d/e:f", "../../etc/passwd", "x:..", "a//b", "x" * 5_000_000])
def test_names_that_are_none(here: Remuda, route: str, name: str) -> None:
    status, lines = here.lines(route, model=name, insecure=True)
    assert status == 400
    assert len(lines) == 1
    assert lines[0]["error"] in {"invalid model name", "model is required"}


@pytest.mark.parametrize("route", ["pull", "push"])
def test_registries_within_the_network_are_not_asked(here: Remuda, registry: Registry, route: str) -> None:
    with Registry(host="127.0.0.2") as other:
        # Plain http to the loopback address itself is the one exception, and only if the name says so.
        for host, insecure in ((registry.host, False), ("169.254.169.254", True), ("10.0.0.1:80", True)):
            name = f"{host}/library/tiny:latest"
            make_model(here.store, name, LAYERS)
            _, lines = here.lines(route, model=name, insecure=insecure)
            assert "error" in lines[-1]
        assert not registry.requests
        assert not other.requests


@pytest.mark.parametrize("route", ["pull", "push"])
def test_a_registry_that_denies(here: Remuda, route: str) -> None:
    with Registry(auth="token") as registry:
        name = registry.name("library/tiny:latest")
        make_model(here.store, name, LAYERS)
        registry.fail("GET token", Fault(status=401), always=True)
        _, lines = here.lines(route, model=name, insecure=True)
        assert lines[-1]["error"].endswith("unauthorized: access denied")


def test_a_client_that_leaves_ends_the_transfer(here: Remuda, there: Remuda, registry: Registry) -> None:
    name = registry.name("library/tiny:latest")
    make_model(here.store, name, {MODEL: WEIGHTS[:100_000]})
    registry.fail("PATCH upload", Fault(stall=1000))
    _leave(here, "push", name)
    registry.await_left("PATCH upload")

    here.lines("push", model=name, insecure=True)
    registry.fail("GET blob", Fault(stall=1000), always=True)
    _leave(there, "pull", name)
    registry.await_left("GET blob")
    assert there.store.find(parse_name(name)) is None


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry(tls=tmp_path) as registry:
        registry.add_model("library/tiny:latest", LAYERS)
        remuda = Remuda(tmp_path / "remuda", private=("127.0.0.1:*",))
        name = registry.name("library/tiny:latest")
        with remuda.live:
            _, lines = remuda.lines("pull", model=name)
            assert f"the certificate of {registry.host} was refused" in lines[-1]["error"]
            assert registry.count() == 0
            monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))
            _, lines = remuda.lines("pull", model=name)
            assert lines[-1] == {"status": "success"}
            assert remuda.store.find(parse_name(name)).data == registry.manifests["library/tiny:latest"]


def _check_same(here: Remuda, there: Remuda, name: str) -> None:
    ours, theirs = (each.store.find(parse_name(name)) for each in (here, there))
    assert ours.data == theirs.data
    for digest in ours.manifest.digests:
        assert here.store.blob(digest).read_bytes() == there.store.blob(digest).read_bytes()


def _leave(remuda: Remuda, route: str, name: str) -> None:
    """Read until bytes are on their way, and hang up."""
    request = {"model": name, "insecure": True}
    with httpx.stream("POST", f"{remuda.live.url}/api/{route}", json=request, timeout=30) as reply:
        for line in reply.iter_lines():
            if json.loads(line).get("completed"):
                return
