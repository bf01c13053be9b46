"""Who this server is to a registry: tokens, the key that signs requests for them, and stored passwords (Ollama API,
"Registry protocol"; for what `WWW-Authenticate` says, RFC 9110 and the distribution project's token specification).

A challenge is only answered to the registry that the model's name names: a realm on another host would make this
server sign, or send a password, for whoever a registry chooses.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import Final
from urllib.parse import parse_qsl, urlencode

import anyio
import msgspec
from msgspec import Struct

from .errors import RegistryError, Unauthorized
from .key import SigningKey, load_key, password_for
from .policy import Guard, TransferPolicy
from .url import Url

__all__ = ["MAX_TOKEN", "Challenge", "Login", "parse_challenges"]

MAX_TOKEN: Final = 64 * 1024
"""Bytes of the reply of a token endpoint."""

_EMPTY: Final = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
_SCHEME: Final = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s|,|$)(?!\s*=)")
_PARAMETER: Final = re.compile(r"""\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))""")
_LONGEST: Final = 8192


class Challenge(Struct, frozen=True):
    """One way to log in that a 401 offers."""

    scheme: str
    """Lower case: `bearer`, `basic`."""
    parameters: dict[str, str]
    """Keys in lower case."""


class Login:
    """What one transfer sends as `Authorization`, and how it gets it. Shared by its clients."""

    def __init__(self, guard: Guard, policy: TransferPolicy) -> None:
        self._guard = guard
        self._policy = policy
        self._lock = anyio.Lock()
        self._tokens: dict[str, str] = {}
        self.header = ""
        """The current value; empty while nothing was asked for."""

    async def answer(self, sent: str, challenges: str, fetch: Callable[[Url, str], Awaitable[bytes]]) -> str:
        """The header to try after a 401 to a request with `sent`.

        `fetch` gets a token endpoint's reply for a URL and an `Authorization`, empty for none. Raises `Unauthorized`,
        or `RegistryError` for a challenge that must not be answered.
        """
        async with self._lock:
            if self.header == sent:
                self.header = await self._obtain(sent, parse_challenges(challenges), fetch)
            return self.header

    async def _obtain(
        self, sent: str, challenges: list[Challenge], fetch: Callable[[Url, str], Awaitable[bytes]]
    ) -> str:
        basic = ""
        if not self._guard.plain or self._guard.trusted:
            basic = await anyio.to_thread.run_sync(password_for, self._guard.registry.authority)
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                scope = challenge.parameters.get("scope", "")
                known = self._tokens.get(scope, "")
                if not known or known == sent:
                    known = self._tokens[scope] = await self._token(self._token_url(challenge), basic, fetch)
                return known
            if challenge.scheme == "basic" and basic and basic != sent:
                return basic
        raise Unauthorized

    def _token_url(self, challenge: Challenge) -> Url:
        realm, registry = Url.parse(challenge.parameters["realm"]), self._guard.registry
        if (realm.host, realm.port, realm.scheme) != (registry.host, registry.port, registry.scheme):
            # Said of the hosts as the protocol says it, also where only the scheme or the port differ.
            raise RegistryError(f'realm host "{realm.authority}" does not match original host "{registry.authority}"')
        scopes = challenge.parameters.get("scope", "").split()
        service = challenge.parameters.get("service", "")
        return _with_query(realm, [("service", service), *(("scope", scope) for scope in scopes)])

    async def _token(self, url: Url, basic: str, fetch: Callable[[Url, str], Awaitable[bytes]]) -> str:
        """As the header is to be."""
        if basic:
            return f"Bearer {_decode(await fetch(url, basic), url)}"
        nonce = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        url = _with_query(url, [("nonce", nonce), ("ts", str(int(time.time())))])
        key = await anyio.to_thread.run_sync(load_key, self._policy.key)
        return f"Bearer {_decode(await fetch(url, _signed(key, url)), url)}"


def parse_challenges(header: str) -> list[Challenge]:
    """Of a `WWW-Authenticate`, or several joined by commas. What cannot be read is left out."""
    found: list[Challenge] = []
    text, at = header[:_LONGEST], 0
    while at < len(text):
        if parameter := _PARAMETER.match(text, at):
            if found:
                value = re.sub(r"\\(.)", r"\1", parameter[2]) if parameter[2] is not None else parameter[3]
                found[-1].parameters.setdefault(parameter[1].lower(), value)
            at = parameter.end()
        elif scheme := _SCHEME.match(text, at):
            found.append(Challenge(scheme[1].lower(), {}))
            at = scheme.end()
        else:
            at += 1
    return found


class _TokenReply(Struct):
    token: str = ""
    access_token: str = ""


def _with_query(url: Url, more: list[tuple[str, str]]) -> Url:
    """Sorted by key, as what is signed must be."""
    path, _, query = url.target.partition("?")
    pairs = sorted([*parse_qsl(query, keep_blank_values=True), *more], key=itemgetter(0))
    return msgspec.structs.replace(url, target=f"{path}?{urlencode(pairs)}")


def _signed(key: SigningKey, url: Url) -> str:
    return f"{key.public}:{base64.b64encode(key.sign(f'GET,{url},{_EMPTY}'.encode())).decode()}"


def _decode(reply: bytes, url: Url) -> str:
    try:
        read = msgspec.json.decode(reply, type=_TokenReply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        read = _TokenReply()
    token = read.token or read.access_token
    # What is sent as a header must be one.
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise RegistryError(f"{url.authority} gave no token that can be used")
    return token
