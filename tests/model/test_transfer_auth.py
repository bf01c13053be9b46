"""Who this server is to a registry: challenges, tokens, signatures, stored passwords (O17)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings, strategies as st
from pulling import policy_of, pulled, pulling
from registry import MODEL, Fault, Registry

from remuda.errors import RemudaError
from remuda.model import parse_name
from remuda.model.transfer import RegistryError, Unauthorized
from remuda.model.transfer.auth import Challenge, Login, parse_challenges
from remuda.model.transfer.http import RegistryClient
from remuda.model.transfer.key import load_key, password_for
from remuda.model.transfer.policy import Guard
from remuda.model.transfer.url import Url

_TINY = "library/tiny:latest"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry(auth="token") as registry:
        registry.add_model(_TINY, {MODEL: b"weights"})
        yield registry


def _log_in(monkeypatch: pytest.MonkeyPatch, folder: Path, place: str, password: str) -> None:
    auth = base64.b64encode(f"{Registry.user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {place: {"auth": auth}, "other.example": {}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))


def _client(registry: Registry, folder: Path, **changes: object) -> RegistryClient:
    return RegistryClient(parse_name(registry.name("library/tiny")), policy_of(folder, **changes), insecure=True)


# --- challenges


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ("Basic", [Challenge("basic", {})]),
        ('Basic realm="a, b=c"', [Challenge("basic", {"realm": "a, b=c"})]),
        (
            'BEARER Realm="https://a/t?x=1",service="s" , scope="repository:a:pull repository:b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://a/t?x=1", "service": "s", "scope": "repository:a:pull repository:b:pull,push"},
                )
            ],
        ),
        (
            'Basic realm="x", Bearer realm=https://a/t, service=s',
            [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "https://a/t", "service": "s"})],
        ),
        (r'Bearer realm="a\"b\\c"', [Challenge("bearer", {"realm": r'a"b\c'})]),
        ('Bearer realm="first", realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ('realm="of nothing"', []),
        ('Bearer realm="never closed', [Challenge("bearer", {"realm": ""})]),
    ],
)
def test_challenges(header: str, challenges: list[Challenge]) -> None:
    read = parse_challenges(header)
    assert [(each.scheme, each.parameters) for each in read[: len(challenges)]] == [
        (each.scheme, each.parameters) for each in challenges
    ]


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet='Bearer realm="\\,= \t', max_size=300) | st.text(max_size=300))
def test_no_challenge_is_too_odd(header: str) -> None:
    assert len(parse_challenges(header * 40)) <= 8192


# --- tokens


@pytest.mark.anyio
async def test_a_token_is_asked_for_once_with_a_signature(registry: Registry, tmp_path: Path) -> None:
    async with pulling(tmp_path) as (_, transfers):
        await pulled(transfers, registry.name(_TINY))
    assert [seen.kind for seen in registry.requests] == [
        "GET manifest",
        "GET token",
        "GET manifest",
        "GET blob",
        "GET blob",
    ]
    (asked,) = registry.seen("GET token")
    assert list(asked.query) == sorted(asked.query) == ["nonce", "scope", "service", "ts"]
    assert asked.query["service"] == "here"
    assert asked.query["scope"] == "repository:library/tiny:pull,push"
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", asked.query["nonce"])


@pytest.mark.anyio
async def test_every_scope_is_a_parameter_and_what_the_realm_says_is_kept(registry: Registry, tmp_path: Path) -> None:
    challenge = f'Bearer realm="{registry.url}/token?zone=1",scope="repository:b:pull repository:a:pull"'
    registry.fail("GET manifest", Fault(status=401, headers={"WWW-Authenticate": challenge}))
    registry.fail("GET token", Fault(status=418))
    async with _client(registry, tmp_path) as client:
        with pytest.raises(RegistryError, match="418"):
            await client.request("GET", f"{client.base}/manifests/latest")
    (asked,) = registry.seen("GET token")
    # The server keeps the last of several.
    assert asked.query["scope"] == "repository:a:pull"
    assert asked.query["zone"] == "1"


@pytest.mark.anyio
async def test_a_token_that_ran_out_is_replaced(registry: Registry, tmp_path: Path) -> None:
    registry.token_uses = 1
    async with pulling(tmp_path) as (_, transfers):
        events = await pulled(transfers, registry.name(_TINY))
    assert events[-1].status == "success"
    assert registry.count("GET token") == 3


@pytest.mark.anyio
async def test_the_second_refusal_is_the_last(registry: Registry, tmp_path: Path) -> None:
    registry.token_uses = 0
    async with _client(registry, tmp_path) as client:
        with pytest.raises(Unauthorized, match=r"^unauthorized: access denied$"):
            await client.request("GET", f"{client.base}/manifests/latest")
    assert registry.count("GET manifest") == 2
    assert registry.count("GET token") == 1


@pytest.mark.anyio
async def test_other_names_of_a_token_and_what_is_none(registry: Registry, tmp_path: Path) -> None:
    registry.tokens["t0ken"] = 9
    registry.fail("GET token", Fault(status=200, body=b'{"access_token": "t0ken", "expires_in": 60}'))
    async with _client(registry, tmp_path) as client:
        await client.request("GET", f"{client.base}/manifests/latest")
    for body in (b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nX-Evil: 1"}', b'{"token": "\xff"}'):
        registry.fail("GET token", Fault(status=200, body=body))
        async with _client(registry, tmp_path) as client:
            with pytest.raises(RegistryError, match="gave no token that can be used"):
                await client.request("GET", f"{client.base}/manifests/latest")


@pytest.mark.anyio
async def test_a_realm_elsewhere_is_never_asked(registry: Registry, tmp_path: Path) -> None:
    """O17."""
    with Registry(host="127.0.0.2") as other, Registry() as port:
        for realm, told in (
            (f"{other.url}/token", other.host),
            (f"{port.url}/token", port.host),
            (f"{registry.url}/token".replace("http", "https", 1), registry.host),
        ):
            registry.realm = realm
            async with _client(registry, tmp_path) as client:
                with pytest.raises(RegistryError) as error:
                    await client.request("GET", f"{client.base}/manifests/latest")
            assert error.value.message == f'realm host "{told}" does not match original host "{registry.host}"'
        assert not other.requests
        assert not port.requests
    assert registry.count("GET token") == 0
    assert not (tmp_path / "keys").exists()


@pytest.mark.anyio
async def test_whoever_is_redirected_to_gets_no_login_and_no_answer_to_a_challenge(tmp_path: Path) -> None:
    with Registry(auth="token") as registry, Registry(host="127.0.0.2", auth="token") as other:
        registry.add_model(_TINY, {MODEL: b"weights"})
        async with _client(registry, tmp_path) as client:
            await client.request("GET", f"{client.base}/manifests/latest")
            registry.fail("GET manifest", Fault(redirect=f"{other.url}/v2/library/tiny/manifests/latest"))
            with pytest.raises(Unauthorized):
                await client.request("GET", f"{client.base}/manifests/latest")
        (seen,) = other.requests
        assert "authorization" not in seen.headers


# --- passwords


@pytest.mark.anyio
async def test_basic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry(auth="basic") as registry:
        registry.add_model(_TINY, {MODEL: b"weights"})
        async with pulling(tmp_path) as (_, transfers):
            with pytest.raises(Unauthorized):
                await pulled(transfers, registry.name(_TINY))
            _log_in(monkeypatch, tmp_path, f"http://{registry.host}/v1/", "wrong")
            with pytest.raises(Unauthorized):
                await pulled(transfers, registry.name(_TINY))
            _log_in(monkeypatch, tmp_path, registry.host, registry.password)
            assert (await pulled(transfers, registry.name(_TINY)))[-1].status == "success"


@pytest.mark.anyio
async def test_a_password_takes_the_place_of_the_signature(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _log_in(monkeypatch, tmp_path, registry.host, registry.password)
    async with pulling(tmp_path) as (_, transfers):
        assert (await pulled(transfers, registry.name(_TINY)))[-1].status == "success"
    assert registry.seen("GET token")[0].headers["authorization"].startswith("Basic ")
    assert not (tmp_path / "keys").exists()


@pytest.mark.anyio
async def test_no_password_in_plain_text_because_a_client_wanted_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But on this machine, where nobody listens, and where the operator listed the registry."""
    for host in ("far.example:5000", "known.example", "127.0.0.1:5000"):
        _log_in(monkeypatch, tmp_path, host, "secret")
        for loopback in (True, False):
            policy = policy_of(tmp_path, private=("known.example",), loopback=loopback)
            login = Login(Guard(policy, parse_name(f"{host}/library/tiny"), insecure=True), policy)
            if host == "known.example" or (host == "127.0.0.1:5000" and loopback):
                assert (await login.answer("", "Basic", _no_token)).startswith("Basic ")
            else:
                with pytest.raises(Unauthorized):
                    await login.answer("", "Basic", _no_token)


async def _no_token(url: Url, header: str) -> bytes:
    raise AssertionError((url, header))


def test_dockers_configuration_is_read_with_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert password_for("a.example") == ""
    for text in (
        "",
        "[]",
        '{"auths": 7}',
        '{"auths": {"a.example": 7}}',
        "\xff",
        '{"auths": {"a.example": {"auth": "*"}}}',
    ):
        (tmp_path / "config.json").write_text(text, encoding="latin-1")
        assert password_for("a.example") == ""
    _log_in(monkeypatch, tmp_path, "https://A.example/v2/", "secret")
    assert password_for("a.example") == f"Basic {base64.b64encode(b'someone:secret').decode()}"
    assert password_for("b.a.example") == password_for("a.example:5000") == ""


# --- the key


def test_a_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "id_ed25519"
    with ThreadPoolExecutor(8) as threads:
        keys = {key.public for key in threads.map(load_key, [path] * 8)}
    assert len(keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.with_name("id_ed25519.pub").read_text() == f"ssh-ed25519 {keys.pop()}\n"
    assert sorted(each.name for each in path.parent.iterdir()) == ["id_ed25519", "id_ed25519.pub"]


def test_keys_that_cannot_be_used_are_errors_without_paths(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    path = tmp_path / "key"
    for content in (b"", b"rubbish", b"\xff" * 100, other):
        path.write_bytes(content)
        with pytest.raises(RemudaError, match="the key that signs requests") as error:
            load_key(path)
        assert str(tmp_path) not in error.value.message
    (tmp_path / "file").write_text("")
    with pytest.raises(RemudaError, match="cannot be read"):
        load_key(tmp_path / "file" / "key")
