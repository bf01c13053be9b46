"""The upstreams that the configuration names, each address one of them, with keys read and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from remuda.config import Config, UpstreamConfig, dotted
from remuda.errors import ConfigError

__all__ = ["KINDS", "Member", "members"]

KINDS: Final = ("ollama", "openai")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
"""Headers that belong to the exchange itself."""


class Member(Struct, frozen=True, kw_only=True):
    """One server. Its `repr` shows no secret."""

    name: str
    group: str
    """The name in the configuration, which several servers that are alike share."""
    kind: str
    url: str
    """Without a slash at its end."""
    config: UpstreamConfig
    headers: dict[str, str]
    """To be sent with every request, the key among them. Never shown or logged."""

    def __repr__(self) -> str:
        return f"Member({self.name!r}, {self.kind!r})"


def members(config: Config, environ: Mapping[str, str] | None = None) -> list[Member]:
    """In the order of the configuration. Reads key files. Raises `ConfigError` that names the setting."""
    environ = os.environ if environ is None else environ
    found = [member for name, each in config.upstreams.items() for member in _members(name, each, environ)]
    names = [member.name for member in found]
    for name in names:
        if names.count(name) > 1 or (
            name in config.upstreams and name not in {m.name for m in found if m.group == name}
        ):
            raise ConfigError(f"upstreams.{name}: another upstream with several addresses has a server of that name")
    return found


def _members(name: str, config: UpstreamConfig, environ: Mapping[str, str]) -> Iterator[Member]:
    key = dotted(("upstreams", name))
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{key}: a name has letters, digits and `_.-`, at most 64, and begins with a letter or digit")
    if config.kind not in KINDS:
        raise ConfigError(f"{key}.kind is {config.kind!r}: it must be one of {', '.join(KINDS)}")
    if bool(config.url) == bool(config.urls):
        raise ConfigError(f"{key}: give it either `url` or `urls`")
    headers = _headers(key, config, environ)
    addresses = config.urls or (config.url,)
    for number, url in enumerate(addresses, 1):
        yield Member(
            name=f"{name}-{number}" if config.urls else name,
            group=name,
            kind=config.kind,
            url=_url(f"{key}.urls[{number - 1}]" if config.urls else f"{key}.url", url),
            config=config,
            headers=headers,
        )


def _url(key: str, text: str) -> str:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, good = SplitResult("", "", "", "", ""), False
    if not good or parts.query or parts.fragment or parts.username is not None or not text.isprintable() or " " in text:
        raise ConfigError(
            f"{key}: it must be an address such as http://10.0.0.5:11434, without a user, a query or a fragment"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _headers(key: str, config: UpstreamConfig, environ: Mapping[str, str]) -> dict[str, str]:
    for name, value in config.headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS:
            raise ConfigError(f"{key}.headers: {name!r} is no header that can be set")
        if not _VALUE.fullmatch(value):
            raise ConfigError(f"{key}.headers.{name}: its value cannot stand in a header")
    secret = _secret(key, config, environ)
    return {**({"Authorization": f"Bearer {secret}"} if secret else {}), **config.headers}


def _secret(key: str, config: UpstreamConfig, environ: Mapping[str, str]) -> str:
    if config.key_env and config.key_file:
        raise ConfigError(f"{key}: give it either `key_env` or `key_file`")
    if config.key_env:
        where, secret = f"{key}.key_env: the variable {config.key_env}", environ.get(config.key_env, "")
    elif config.key_file:
        where = f"{key}.key_file: the file"
        try:
            secret = Path(config.key_file).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise ConfigError(f"{where} cannot be read") from None
    else:
        return ""
    secret = secret.strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ConfigError(f"{where} is empty, or holds what is no key")
    return secret
