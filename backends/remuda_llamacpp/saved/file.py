"""One stored state as a file.

    magic, version, length of the header  -  12 bytes, little-endian
    header                                -  msgpack
    tokens                                -  int32, little-endian
    state                                 -  what the engine gave

The name is `MODEL-CONTENT.state`, of hashes only. `MODEL` lets a runner pass over other models' files without opening
them. `CONTENT` is a hash of model, namespace and tokens: whoever saves the same tokens writes the same file, and a
file whose header or tokens are damaged does not fit its name. The state itself has a checksum, because files are not
forced to the disk: `fsync` would make running streams share the disk's time for something that may be lost, and a
file that a power failure left incomplete is found out when it is read.

Tokens are compared and kept as the bytes that are in the file ("packed").
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from ..cache_folder import Kind

__all__ = [
    "STATES",
    "Damaged",
    "Header",
    "model_hash",
    "model_prefix",
    "name_of",
    "namespace_hash",
    "pack",
    "read_state",
    "read_tokens",
    "size_of",
    "touch",
    "write_state",
]

_VERSION: Final = 1
_START: Final = struct.Struct("<8sHH")
_MAGIC: Final = b"rmdstate"
STATES: Final = Kind(
    kept=re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}\.state"),
    temporary=re.compile(r"[0-9a-f]{24}\.state-tmp"),
    used=lambda found: found.st_mtime_ns,
)
"""Of all models."""
_HASH_BYTES: Final = 16


class Damaged(Exception):
    """What is there is not the file that its name promises."""


class Header(Struct, frozen=True, array_like=True):
    """What a file says of itself, besides its tokens."""

    model: bytes
    namespace: bytes
    tokens: Annotated[int, Meta(ge=1, le=2**22)]
    state: Annotated[int, Meta(ge=1)]
    """Length in bytes."""
    checksum: int
    """CRC-32 of the state: of 50 MB in 26 ms, where BLAKE2b takes 75. It is there for accidents; nobody else may
    write here."""


def model_hash(key: str) -> bytes:
    """Of another version of this format, another model."""
    return _hash(f"{_VERSION}\0{key}".encode(errors="surrogatepass"))


def namespace_hash(namespace: str) -> bytes:
    return _hash(namespace.encode(errors="surrogatepass"))


def pack(tokens: NDArray[np.int32]) -> bytes:
    return tokens.astype("<i4", copy=False).tobytes()


def model_prefix(model: bytes) -> str:
    """How the names of a model's files begin."""
    return f"{model[:8].hex()}-"


def name_of(model: bytes, namespace: bytes, packed: bytes) -> str:
    return f"{model_prefix(model)}{_hash(model + namespace + packed).hex()}.state"


def touch(path: Path) -> bool:
    """Note that it is used now. Whether it is there."""
    try:
        os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:  # it goes a little sooner than it should
        pass
    return True


def size_of(packed: bytes, state: int) -> int:
    """Of the file, in bytes; at most a little more than it will be."""
    return _START.size + 64 + len(packed) + state


def read_tokens(path: Path, most: int) -> tuple[Header, bytes]:
    """The header and the packed tokens of a file of at most `most` bytes. Raises `OSError` and `Damaged`."""
    with _opened(path, most) as (_, header, packed):
        return header, packed


def read_state(path: Path, most: int) -> tuple[Header, NDArray[np.uint8]]:
    """The header and the state, checked. Raises `OSError`, `Damaged` and `MemoryError`."""
    with _opened(path, most) as (file, header, _):
        state = np.empty(header.state, np.uint8)
        if file.readinto(state.data) != header.state or zlib.crc32(state.data) != header.checksum:
            raise Damaged("the state is not the one that was written")
        return header, state


def write_state(path: Path, model: bytes, namespace: bytes, packed: bytes, state: NDArray[np.uint8]) -> None:
    """Appears at `path` whole or not at all, readable by its owner only. Raises `OSError`."""
    checksum = zlib.crc32(state.data)
    header = msgspec.msgpack.encode(Header(model, namespace, len(packed) // 4, state.size, checksum))
    temporary = path.with_name(f"{secrets.token_hex(12)}.state-tmp")
    try:
        with open(temporary, "xb", opener=_for_owner) as file:
            file.write(_START.pack(_MAGIC, _VERSION, len(header)) + header + packed)
            file.write(state.data)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def _opened(path: Path, most: int) -> Generator[tuple[BufferedReader, Header, bytes], None, None]:
    """At the beginning of the state. Nothing is allocated by a number that the file's own size does not bear out."""
    # A link is not followed, and a pipe not waited for.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Damaged("a link") from None
        raise
    try:
        found = os.fstat(descriptor)
        # llama.cpp believes what a state says of itself: none is taken that another user has put here.
        if found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "somebody else's file")
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            raise Damaged("no file, or too large a one")
        with open(descriptor, "rb", closefd=False) as file:
            header = _read_header(file, found.st_size)
            packed = file.read(4 * header.tokens)
            if path.name != name_of(header.model, header.namespace, packed):
                raise Damaged("another file's content")
            yield file, header, packed
    finally:
        os.close(descriptor)


def _read_header(file: BufferedReader, size: int) -> Header:
    start = file.read(_START.size)
    if len(start) != _START.size:
        raise Damaged("cut short")
    magic, version, length = _START.unpack(start)
    if (magic, version) != (_MAGIC, _VERSION):
        raise Damaged("not of this format")
    try:
        header = msgspec.msgpack.decode(file.read(length), type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Damaged("no header") from None
    if size != _START.size + length + 4 * header.tokens + header.state:
        raise Damaged("not of the length that it should have")
    return header


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_HASH_BYTES).digest()
