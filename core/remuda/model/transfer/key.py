"""The key that signs requests for tokens, and the passwords that `docker login` keeps."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from msgspec import Struct, field

from .errors import RegistryError

__all__ = ["SigningKey", "load_key", "password_for"]

_log = logging.getLogger("remuda.registry")
_MAX_FILE: Final = 1024 * 1024


class SigningKey(Struct, frozen=True):
    public: str
    """The public key's blob as OpenSSH writes it: base64."""
    sign: Callable[[bytes], bytes]


def load_key(path: Path) -> SigningKey:
    """Read the key, or make one that only this user can read. Blocks. Raises `RegistryError`."""
    try:
        if not path.exists():
            _make(path)
        key = load_ssh_private_key(_read(path), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        # The text of the error could hold the path.
        _log.warning("the key %s cannot be read or made", path, exc_info=True)
        raise RegistryError("the key that signs requests to registries cannot be read; see the server's log") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise RegistryError("the key that signs requests to registries must be an ed25519 key")
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return SigningKey(public.split()[1].decode(), key.sign)


def password_for(registry: str) -> str:
    """The `Basic ...` header that Docker's configuration holds for a registry (`host` or `host:port`), else empty.

    Blocks. A file that cannot be read is as good as none: most machines have none.
    """
    folder = os.environ.get("DOCKER_CONFIG", "")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    try:
        read = msgspec.json.decode(_read(path), type=_DockerConfig)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, msgspec.DecodeError):
        _log.warning("Docker's configuration, which may hold passwords for registries, cannot be read")
        return ""
    for place, entry in read.auths.items():
        host = place.partition("://")[2] or place
        if host.partition("/")[0].lower() == registry and (header := _basic(entry.get("auth"))):
            return header
    return ""


class _DockerConfig(Struct):
    auths: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


def _basic(auth: object) -> str:
    try:
        pair = base64.b64decode(str(auth or ""), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"Basic {base64.b64encode(pair).decode()}" if b":" in pair else ""


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_FILE)


def _make(path: Path) -> None:
    """Whoever comes first makes it; a half-written key is never seen."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private)
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
        except OSError:
            # A file system without hard links.
            fresh.replace(path)
        path.with_name(f"{path.name}.pub").write_bytes(public)
    finally:
        fresh.unlink(missing_ok=True)
